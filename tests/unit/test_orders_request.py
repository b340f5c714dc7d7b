"""What a run of the orders sync is asked for makes sense, or is refused by the parameter's name."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from include.errors import BadRequest
from include.orders_sync.pipelines import TD, UC, Pipeline, Scope, SyncGroup
from include.orders_sync.request import ProfileRequest, SyncRequest, read_profile, read_sync
from include.windows import Window

TODAY = date(2026, 1, 11)


def profile(**values: Any) -> ProfileRequest:
    return read_profile(values, "prod", 4)


def sync(pipeline: Pipeline = TD, **values: Any) -> SyncRequest:
    return read_sync({"store_codes": ["A123"], **values}, pipeline, TODAY, "prod")


def test_the_profiler_looks_at_all_stores_by_default() -> None:
    assert profile() == ProfileRequest((SyncGroup.TD, SyncGroup.UC), 90, 1, 4, False, None, "prod")


def test_the_profiler_takes_what_is_given() -> None:
    found = profile(sync_group="td", window_days=30, overlap_days=0, max_workers=2, force=True, store_code=" A1 ")
    assert found == ProfileRequest((SyncGroup.TD,), 30, 0, 2, True, "A1", "prod")
    assert profile(run_env="dev").run_env == "dev"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sync_group": "XX"}, "sync_group: 'XX' is none, use TD, UC or ALL"),
        ({"window_days": 0}, "window_days: 0 is not a whole number from 1 on"),
        ({"overlap_days": -1}, "overlap_days: -1 is not a whole number from 0 on"),
        ({"max_workers": 5}, "max_workers: 5 is not a whole number from 1 to 4"),
        ({"force": "yes"}, "force: expected true or false, found 'yes'"),
        ({"run_env": "x" * 33}, "run_env: 'x+' is not a name of 1 to 32 characters"),
        ({"from_date": "2026-01-01"}, "unknown parameters: from_date"),
    ],
)
def test_the_profiler_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        profile(**values)


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [
        ({}, "2025-10-14", "2026-01-11"),
        ({"to_date": "2025-12-31"}, "2025-10-03", "2025-12-31"),
        ({"from_date": "2026-01-11"}, "2026-01-11", "2026-01-11"),
        ({"from_date": "2025-01-01", "to_date": "2025-01-31"}, "2025-01-01", "2025-01-31"),
    ],
)
def test_a_pipeline_takes_the_last_90_days_or_what_is_named(values: dict[str, Any], first: str, last: str) -> None:
    assert sync(**values).window == Window.inclusive(date.fromisoformat(first), date.fromisoformat(last))


def test_a_long_time_is_cut_into_windows_of_90_days() -> None:
    windows = [item.window.days for item in sync(from_date="2025-01-01").windows]
    assert windows == [90, 90, 90, 90, 16]


def test_the_scope_is_what_was_asked_for() -> None:
    assert [sync(**{name: True}).scope for name in ("orders_only", "sales_only")] == [
        Scope.ORDERS_ONLY,
        Scope.SALES_ONLY,
    ]
    assert sync().scope is Scope.FULL
    assert [report.code for report in TD.reports(Scope.FULL)] == ["td_orders", "td_sales"]
    assert [report.code for report in TD.reports(Scope.SALES_ONLY)] == ["td_sales"]
    assert [report.code for report in TD.reports(Scope.ORDERS_ONLY)] == ["td_orders"]
    assert [report.code for report in UC.reports(Scope.FULL)] == ["uc_gst"]


@pytest.mark.parametrize(
    ("pipeline", "values", "message"),
    [
        (TD, {"from_date": "2026-01-10", "to_date": "2026-01-01"}, "from_date: 2026-01-10 is after to_date 2026-01-01"),
        (TD, {"to_date": "2026-01-12"}, "to_date: 2026-01-12 has not come yet, today is 2026-01-11"),
        (TD, {"from_date": "01/01/2026"}, "from_date: not a date"),
        (TD, {"orders_only": True, "sales_only": True}, "orders_only, sales_only: give one of them"),
        (UC, {"orders_only": True}, "orders_only: uc_orders_sync pulls one report only"),
        (TD, {"store_codes": []}, "store_codes: name at least one store"),
        (TD, {"store_codes": "A123"}, "store_codes: expected a list of names"),
        (TD, {"force": True}, "unknown parameters: force"),
    ],
)
def test_a_pipeline_refuses(pipeline: Pipeline, values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        sync(pipeline, **values)
