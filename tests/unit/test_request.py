"""What a run is asked to do, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include import catalog
from include.errors import BadRequest
from include.replication.request import (
    DEFAULTS,
    OnFailure,
    Request,
    interval_window,
    month_before,
    read_request,
)
from include.replication.verify import Verify
from include.windows import Window

KUALA_LUMPUR = ZoneInfo("Asia/Kuala_Lumpur")
TODAY = date(2025, 12, 5)
OCTOBER = Window.of_month(date(2025, 10, 1))
DATES = {"start_date": "2025-10-01", "end_date": "2025-11-30"}


def request(fallback: Window | None = OCTOBER, **values: Any) -> Request:
    return read_request(values, fallback, catalog.load(), TODAY)


def refusal(fallback: Window | None = OCTOBER, **values: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        request(fallback, **values)
    return str(refused.value)


def test_dates_are_inclusive() -> None:
    assert request(**DATES).window == Window(date(2025, 10, 1), date(2025, 12, 1))


def test_a_day_is_a_window() -> None:
    assert request(start_date="2025-10-31", end_date="2025-10-31").window.days == 1


def test_today_is_no_future() -> None:
    assert request(start_date="2025-12-01", end_date=str(TODAY)).window.last_day == TODAY


def test_a_request_is_cut_into_months_for_each_table() -> None:
    names = [window.name for window in request(start_date="2025-10-15", end_date="2025-12-05").months]
    assert names == ["2025-10-15..2025-10-31", "2025-11", "2025-12-01..2025-12-05"]


def test_without_dates_the_fallback_is_meant() -> None:
    assert request(OCTOBER).window == OCTOBER
    assert request(OCTOBER, start_date=None, end_date=None).window == OCTOBER


def test_without_dates_and_fallback_the_dates_are_missing() -> None:
    assert refusal(None) == "start_date and end_date are missing"


def test_dates_win_over_the_fallback() -> None:
    assert request(OCTOBER, start_date="2025-11-01", end_date="2025-11-01").window.start == date(2025, 11, 1)


@pytest.mark.parametrize(("given", "missing"), [("start_date", "end_date"), ("end_date", "start_date")])
def test_one_date_without_the_other_is_refused(given: str, missing: str) -> None:
    assert refusal(**{given: "2025-10-01"}) == f"{given} without {missing}: give both, or neither"


def test_a_start_after_the_end_is_refused() -> None:
    told = refusal(start_date="2025-11-01", end_date="2025-10-31")
    assert told == "start_date 2025-11-01 is after end_date 2025-10-31"


def test_a_date_in_the_future_is_refused() -> None:
    told = refusal(start_date="2025-12-01", end_date="2025-12-06")
    assert told == "end_date 2025-12-06 is in the future, today is 2025-12-05"


@pytest.mark.parametrize("name", ["start_date", "end_date"])
@pytest.mark.parametrize("value", ["01/10/2025", "2025-02-30", "", "today", 20251001, "2025-10-01T00:00:00"])
def test_a_date_in_another_form_is_refused_by_its_name(name: str, value: Any) -> None:
    assert refusal(**{**DATES, name: value}).startswith(f"{name}: not a date: {str(value)!r}")


def test_parameters_that_nobody_reads_are_refused() -> None:
    told = refusal(**DATES, from_date="2025-10-01", until="2025-10-31")
    assert told.startswith("unknown parameters: from_date, until; known are start_date, end_date, tables")


def test_the_defaults_are_a_request() -> None:
    found = request(**DEFAULTS)
    assert found == request()
    assert found.tables == tuple(catalog.load().group("sales"))
    assert (found.export, found.verify, found.on_failure, found.force) == (
        *(False, Verify.CHECKSUM, OnFailure.CONTINUE, False),
    )


@pytest.mark.parametrize("empty", [[], (), None])
def test_no_tables_means_all_of_them(empty: Any) -> None:
    assert len(request(tables=empty).tables) == 10


def test_tables_are_put_into_the_order_of_the_run() -> None:
    found = request(tables=["APP_4_PAYMENT", "APP_4_SALES"])
    assert [table.name for table in found.tables] == ["APP_4_SALES", "APP_4_PAYMENT"]


@pytest.mark.parametrize("value", ["APP_4_SALES", [1], {"APP_4_SALES": True}, True, [["APP_4_SALES"]]])
def test_tables_are_a_list_of_names(value: Any) -> None:
    assert refusal(tables=value) == f"tables: expected a list of names, found {value!r}"


def test_a_table_of_another_group_is_refused() -> None:
    assert refusal(tables=["APP_4_ITEM"]).startswith("not sales tables: APP_4_ITEM; choose from APP_4_EPAYMENTLOG, ")


def test_another_group_can_be_asked_for() -> None:
    found = read_request({"tables": ["APP_4_ORDER"]}, OCTOBER, catalog.load(), TODAY, group="nightly")
    assert [table.name for table in found.tables] == ["APP_4_ORDER"]


@pytest.mark.parametrize("name", ["export", "force"])
@pytest.mark.parametrize("value", [1, "true", None, []])
def test_a_flag_is_true_or_false(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == f"{name}: expected true or false, found {value!r}"


@pytest.mark.parametrize(("name", "expected"), [("verify", "none, counts, checksum"), ("on_failure", "continue, stop")])
@pytest.mark.parametrize("value", ["", "Checksum", None, True, ["checksum"]])
def test_a_choice_names_what_there_is(name: str, expected: str, value: Any) -> None:
    assert refusal(**{name: value}) == f"{name}: {value!r}, expected one of {expected}"


@pytest.mark.parametrize("verify", list(Verify))
@pytest.mark.parametrize("on_failure", list(OnFailure))
def test_every_choice_is_understood(verify: Verify, on_failure: OnFailure) -> None:
    found = request(verify=verify.value, on_failure=on_failure.value)
    assert (found.verify, found.on_failure) == (verify, on_failure)


def test_a_request_survives_the_way_to_the_other_tasks() -> None:
    found = request(**DATES, tables=["APP_4_SALES"], export=True, verify="counts", on_failure="stop", force=True)
    assert json.loads(json.dumps(found.as_dict())) == {
        "tables": ["APP_4_SALES"],
        "windows": ["2025-10-01/2025-11-01", "2025-11-01/2025-12-01"],
        "export": True,
        "verify": "counts",
        "on_failure": "stop",
        "force": True,
    }


def midnight(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=KUALA_LUMPUR).astimezone(UTC)


def test_a_month_of_the_schedule_is_a_month_of_the_business() -> None:
    start, end = midnight(2025, 10, 1), midnight(2025, 11, 1)
    assert (start.day, start.hour) == (30, 16)
    assert interval_window(start, end, KUALA_LUMPUR) == OCTOBER


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(1, 400))
def test_an_interval_keeps_its_days(first: date, days: int) -> None:
    last = first + timedelta(days=days)
    bounds = (midnight(*day.timetuple()[:3]) for day in (first, last))
    assert interval_window(*bounds, KUALA_LUMPUR) == Window(first, last)


def test_days_of_a_zone_with_summer_time_are_whole() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2025, 10, 1, tzinfo=berlin).astimezone(UTC)
    end = datetime(2025, 11, 1, tzinfo=berlin).astimezone(UTC)
    assert end - start != timedelta(days=31)
    assert interval_window(start, end, berlin) == OCTOBER


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(2025, 10, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC)),
        (midnight(2025, 10, 1) + timedelta(hours=2), midnight(2025, 11, 1)),
        (midnight(2025, 10, 1), midnight(2025, 11, 1) + timedelta(minutes=1)),
        (midnight(2025, 10, 1), midnight(2025, 11, 1) - timedelta(seconds=1)),
        (midnight(2025, 10, 1), midnight(2025, 11, 1) + timedelta(microseconds=1)),
        (midnight(2025, 10, 1), midnight(2025, 10, 1)),
        (midnight(2025, 11, 1), midnight(2025, 10, 1)),
    ],
)
def test_an_interval_that_is_no_span_of_days_is_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(BadRequest, match="is no span of days in Asia/Kuala_Lumpur"):
        interval_window(start, end, KUALA_LUMPUR)


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (datetime(2025, 10, 31, 23, 30, tzinfo=UTC), "2025-10"),
        (datetime(2025, 10, 31, 16, 0, tzinfo=UTC), "2025-10"),
        (datetime(2025, 10, 31, 15, 59, 59, tzinfo=UTC), "2025-09"),
        (datetime(2025, 11, 1, 2, 0, tzinfo=KUALA_LUMPUR), "2025-10"),
        (datetime(2025, 11, 30, 23, 59, tzinfo=KUALA_LUMPUR), "2025-10"),
        (datetime(2026, 1, 1, 0, 0, tzinfo=KUALA_LUMPUR), "2025-12"),
        (datetime(2025, 12, 31, 16, 0, tzinfo=UTC), "2025-12"),
        (datetime(2024, 3, 15, 12, 0, tzinfo=UTC), "2024-02"),
    ],
)
def test_the_month_before_is_that_of_the_zone(moment: datetime, month: str) -> None:
    assert month_before(moment, KUALA_LUMPUR).name == month
