"""What a nightly run is asked to do, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from include import catalog
from include.errors import BadRequest
from include.replication.nightly import DEFAULTS, MOST_FIX_DAYS, NightlyRequest, day_before, read_nightly
from include.windows import Window

KUALA_LUMPUR = ZoneInfo("Asia/Kuala_Lumpur")
YESTERDAY, TODAY = date(2025, 11, 1), date(2025, 11, 2)


def request(**values: Any) -> NightlyRequest:
    return read_nightly(values, YESTERDAY, catalog.load(), TODAY)


def refusal(**values: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        request(**values)
    return str(refused.value)


def days(**values: Any) -> tuple[str | None, str]:
    """Return what a request loads, and what it checks."""
    found = request(**values)
    return found.load.name if found.load else None, found.fix.name


def test_yesterday_is_loaded_and_the_day_before_checked() -> None:
    assert days() == ("2025-11-01", "2025-10-31")


def test_a_named_day_is_loaded_and_the_day_before_it_checked() -> None:
    assert days(date="2025-03-01") == ("2025-03-01", "2025-02-28")


def test_today_is_no_future() -> None:
    assert days(date=str(TODAY))[0] == "2025-11-02"


def test_a_range_is_loaded_with_both_its_ends_and_the_day_before_it_checked() -> None:
    assert days(start="2025-10-05", end="2025-10-20") == ("2025-10-05..2025-10-20", "2025-10-04")


@pytest.mark.parametrize(
    ("named", "checked"),
    [
        ({}, "2025-10-29..2025-10-31"),
        ({"date": "2025-10-20"}, "2025-10-17..2025-10-19"),
        ({"start": "2025-10-20", "end": "2025-10-25"}, "2025-10-17..2025-10-19"),
    ],
    ids=["yesterday", "day", "range"],
)
def test_the_days_that_are_checked_end_before_what_is_loaded(named: dict[str, Any], checked: str) -> None:
    assert days(**named, fix_days=3)[1] == checked


@pytest.mark.parametrize(
    ("named", "checked"),
    [
        ({}, "2025-10-31"),
        ({"fix_days": 2}, "2025-10-30..2025-10-31"),
        ({"date": "2025-10-20"}, "2025-10-20"),
        ({"date": "2025-10-20", "fix_days": 3}, "2025-10-18..2025-10-20"),
        ({"start": "2025-10-20", "end": "2025-10-20"}, "2025-10-20"),
        ({"start": "2025-10-05", "end": "2025-10-20"}, "2025-10-05..2025-10-20"),
        ({"start": "2025-10-05", "end": "2025-10-20", "fix_days": 3}, "2025-10-05..2025-10-20"),
    ],
)
def test_check_fixes_only_loads_nothing_and_checks_the_named_days(named: dict[str, Any], checked: str) -> None:
    assert days(**named, check_fixes_only=True) == (None, checked)


@pytest.mark.parametrize("sweep", [True, False])
@pytest.mark.parametrize("only", [True, False])
def test_a_sweep_belongs_to_a_run_that_loads(only: bool, sweep: bool) -> None:
    assert request(check_fixes_only=only, sweep=sweep).sweep is (sweep and not only)


@pytest.mark.parametrize("fix_days", [1, 2, MOST_FIX_DAYS])
def test_as_many_days_are_checked_as_asked_for(fix_days: int) -> None:
    found = request(fix_days=fix_days).fix
    assert (found.days, found.end) == (fix_days, YESTERDAY)


@pytest.mark.parametrize("value", [0, -1, 367, True, False, "3", 1.0, None, [1]])
def test_fix_days_are_a_number_from_one_to_a_year(value: Any) -> None:
    assert refusal(fix_days=value) == f"fix_days: expected a number of days from 1 to 366, found {value!r}"


@pytest.mark.parametrize("bounds", [{"start": "2025-10-01"}, {"end": "2025-10-01"}, {"start": "x", "end": "y"}])
def test_a_day_beside_a_range_is_refused(bounds: dict[str, Any]) -> None:
    assert refusal(date="2025-10-01", **bounds) == "date beside start and end: give one day, or a range"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"date": "2025-11-03"}, "date 2025-11-03 is in the future, today is 2025-11-02"),
        ({"start": "2025-11-01", "end": "2025-11-03"}, "end 2025-11-03 is in the future, today is 2025-11-02"),
        ({"start": "2025-10-02", "end": "2025-10-01"}, "start 2025-10-02 is after end 2025-10-01"),
        ({"start": "2025-10-01"}, "start without end: give both, or neither"),
        ({"end": "2025-10-01"}, "end without start: give both, or neither"),
    ],
)
def test_days_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    assert refusal(**values) == message


@pytest.mark.parametrize("only", [True, False])
@pytest.mark.parametrize("name", ["date", "start"])
@pytest.mark.parametrize("value", ["01/10/2025", "2025-02-30", "", "yesterday", 20251001])
def test_a_day_in_another_form_is_refused_by_its_name(name: str, value: Any, only: bool) -> None:
    beside = {"end": "2025-10-01"} if name == "start" else {}
    told = refusal(**{name: value}, **beside, check_fixes_only=only)
    assert told.startswith(f"{name}: not a date: {str(value)!r}")


def test_parameters_that_nobody_reads_are_refused() -> None:
    told = refusal(start_date="2025-10-01", day="2025-10-01")
    assert told == f"unknown parameters: day, start_date; known are {', '.join(DEFAULTS)}"


@pytest.mark.parametrize("name", ["check_fixes_only", "sweep", "export"])
@pytest.mark.parametrize("value", [1, "true", None, []])
@pytest.mark.parametrize("only", [True, False])
def test_a_flag_is_true_or_false(name: str, value: Any, only: bool) -> None:
    told = refusal(**{"check_fixes_only": only, name: value})
    assert told == f"{name}: expected true or false, found {value!r}"


@pytest.mark.parametrize("empty", [[], None])
def test_no_tables_means_all_of_the_night_in_the_order_of_the_catalog(empty: Any) -> None:
    assert request(tables=empty).tables == tuple(catalog.load().group("nightly"))


def test_tables_are_put_into_the_order_of_the_run() -> None:
    found = request(tables=["APP_4_ORDER", "APP_4_SALES"])
    assert [table.name for table in found.tables] == ["APP_4_SALES", "APP_4_ORDER"]


def test_a_reference_table_is_refused() -> None:
    assert refusal(tables=["APP_4_STOCK"]).startswith("not nightly tables: APP_4_STOCK; choose from ")


def test_the_defaults_are_a_request() -> None:
    assert request(**DEFAULTS) == request()


def test_a_request_survives_the_way_to_the_other_tasks() -> None:
    found = request(date="2025-10-31", tables=["APP_4_VOUCHER"], export=True, fix_days=2)
    assert json.loads(json.dumps(found.as_dict())) == {
        "tables": ["APP_4_VOUCHER"],
        "load": "2025-10-31/2025-11-01",
        "fix": "2025-10-29/2025-10-31",
        "sweep": True,
        "verify": "checksum",
        "export": True,
        "force": False,
    }
    assert Window.parse(found.as_dict()["fix"]) == found.fix
    assert request(check_fixes_only=True).as_dict()["load"] is None


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2025, 10, 31, 15, 59, 59, tzinfo=UTC), date(2025, 10, 30)),
        (datetime(2025, 10, 31, 16, 0, tzinfo=UTC), date(2025, 10, 31)),
        (datetime(2025, 10, 31, 18, 0, tzinfo=UTC), date(2025, 10, 31)),
        (datetime(2025, 11, 1, 0, 0, tzinfo=UTC), date(2025, 10, 31)),
        (datetime(2025, 11, 1, 23, 59, tzinfo=KUALA_LUMPUR), date(2025, 10, 31)),
        (datetime(2025, 12, 31, 16, 0, tzinfo=UTC), date(2025, 12, 31)),
        (datetime(2024, 3, 1, 2, 0, tzinfo=KUALA_LUMPUR), date(2024, 2, 29)),
    ],
)
def test_the_day_before_is_that_of_the_zone(moment: datetime, day: date) -> None:
    assert day_before(moment, KUALA_LUMPUR) == day
