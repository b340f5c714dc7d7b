"""A run is summed up from its plan and its rows of the log, and says of each window what became of it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from include.orders_sync.planner import Planned, Reason
from include.orders_sync.summary import Key, Left, LogRow, Summary, summarise
from include.windows import Window

FIRST = date(2026, 1, 1)
DAYS = [
    Planned(Window.inclusive(FIRST + timedelta(days=n), FIRST + timedelta(days=n)), Reason.BACKFILL) for n in range(4)
]
TD = "td_orders_sync"


KEYS: list[Key] = [(TD, "A1", item.window.start, item.window.last_day) for item in DAYS]


def summary(*statuses: str | None, left: Left | None = None, **counts: int) -> Summary:
    """Sum up a store whose first windows have these statuses in the log; None has no row."""
    rows = {key: LogRow(status, 1, None, counts) for key, status in zip(KEYS, statuses, strict=False) if status}
    return summarise("run", {TD: {"A1": DAYS[: len(statuses)]}}, rows, left or Left())


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("success", "success"), "success"),
        (("success", "partial"), "partial"),
        (("partial", "failed"), "failed"),
        (("running",), "failed"),
        ((None,), "failed"),
        (("partial", None), "partial"),
        ((), "success"),
    ],
)
def test_the_status_is_that_of_the_worst_window(statuses: tuple[str | None, ...], expected: str) -> None:
    assert summary(*statuses).status == expected


def test_windows_after_a_failed_one_are_not_run_and_name_it() -> None:
    found = summary("success", "failed", None, "success").windows
    assert [(window.status, window.stopped_by) for window in found] == [
        ("success", None),
        ("failed", None),
        ("not_run", "2026-01-02..2026-01-02"),
        ("success", None),
    ]


def test_what_another_run_did_is_skipped_and_no_failure() -> None:
    found = summary(None, "partial", None, None, left=Left(elsewhere={KEYS[0], KEYS[3]}))
    assert [window.status for window in found.windows] == ["skipped", "partial", "not_run", "skipped"]
    assert found.windows[0].error == "done by another run meanwhile"
    assert found.status == "partial"


def test_a_store_that_could_not_be_begun_is_failed_with_the_reason() -> None:
    found = summary(None, None, None, left=Left({"A1": ("failed", "no connection")}, {KEYS[1]}))
    assert [window.status for window in found.windows] == ["failed", "skipped", "failed"]
    assert (found.status, found.windows[0].error) == ("failed", "no connection")


def test_a_store_that_was_locked_is_skipped() -> None:
    found = summary(None, left=Left({"A1": ("skipped", "locked by another run")}))
    assert (found.status, [window.status for window in found.windows]) == ("success", ["skipped"])


def test_windows_of_an_earlier_plan_are_kept_and_fail_nothing() -> None:
    rows = {
        key: LogRow(status, 1, "no", {}) for key, status in zip(KEYS, ("success", "failed", "success"), strict=False)
    }
    found = summarise("run", {TD: {"A1": DAYS[2:3]}}, rows, Left())
    assert [(window.reason, window.status) for window in found.windows] == [
        ("earlier", "success"),
        ("earlier", "skipped"),
        ("backfill", "success"),
    ]
    assert found.windows[1].error == "not planned again; it ended as failed: no"
    assert found.status == "success"


def test_a_run_that_could_not_be_planned_tells_what_it_did_and_is_failed() -> None:
    rows = {KEYS[0]: LogRow("success", 1, None, {})}
    found = summarise("run", {TD: {"A1": DAYS[:1]}}, rows, Left(), "no plan")
    assert (found.status, found.changed) == ("failed", True)
    assert found.text == "no plan\ntd_orders_sync: 1 success, 0 partial, 0 failed, 0 skipped, 0 not run"
    assert summarise("run", {}, {}, Left(), "no plan").text == "no plan"


def test_the_text_counts_by_pipeline_and_names_what_failed() -> None:
    assert summary().text == "nothing to do"
    assert summary("success", "running", None).text == (
        "td_orders_sync: 1 success, 0 partial, 1 failed, 0 skipped, 1 not run\n"
        "td_orders_sync A1 2026-01-02..2026-01-02: failed: its process died"
    )


@pytest.mark.parametrize(
    ("counts", "changed"),
    [
        ({"orders_inserted": 1}, True),
        ({"sales_updated": 1}, True),
        ({"orders_downloaded": 7, "orders_ingested": 7}, False),
    ],
)
def test_a_run_has_news_if_rows_came_or_changed(counts: dict[str, int], changed: bool) -> None:
    assert summary("success", **counts).changed is changed
    assert summary("failed").changed
    assert not summary().changed


def test_the_record_has_every_window_and_the_totals() -> None:
    record = summary("success", "success", orders_inserted=3).as_dict()
    assert [window["from_date"] for window in record["windows"]] == ["2026-01-01", "2026-01-02"]
    assert record["totals"]["orders_inserted"] == 6
