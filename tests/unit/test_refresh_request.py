"""What a refresh of reference tables is asked to do, and what is refused."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from include import catalog
from include.errors import BadRequest
from include.replication.refresh import DEFAULTS, RefreshRequest, read_refresh, span_of
from include.windows import WHOLE, Window

TODAY = date(2025, 11, 2)
DATES = {"full_table": False, "start_date": "2025-10-05", "end_date": "2025-10-20"}
DAYS = Window(date(2025, 10, 5), date(2025, 10, 21))
DATED, UNDATED = "APP_4_EODLOG", "APP_4_ITEM"


def request(**values: Any) -> RefreshRequest:
    return read_refresh(values, catalog.load(), TODAY)


def refusal(**values: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        request(**values)
    return str(refused.value)


def test_all_reference_tables_are_refreshed_the_smallest_first() -> None:
    tables = request().tables
    assert {table.name for table in tables} == {table.name for table in catalog.load().group("reference")}
    sizes = [table.rows for table in tables]
    assert sizes == sorted(sizes)
    assert tables[-1].name == "APP_4_POINTRECORD"


def test_the_order_of_the_names_does_not_matter() -> None:
    found = request(tables=["APP_4_CUSTOMER", "LOCATION_DETAIL", "APP_4_ITEM"])
    assert [table.name for table in found.tables] == ["LOCATION_DETAIL", "APP_4_ITEM", "APP_4_CUSTOMER"]


@pytest.mark.parametrize("table", [DATED, UNDATED])
def test_without_dates_every_table_is_replaced_whole(table: str) -> None:
    assert request(tables=[table]).span_of(catalog.load()[table]) == WHOLE


def test_dates_are_meant_for_tables_that_have_one() -> None:
    found = request(**DATES, tables=[DATED, UNDATED])
    assert found.window == DAYS
    assert {table.name: found.span_of(table) for table in found.tables} == {DATED: DAYS, UNDATED: WHOLE}


@pytest.mark.parametrize("values", [{"start_date": "2025-10-05", "end_date": "2025-10-20"}, {"end_date": "2025-10-20"}])
@pytest.mark.parametrize("full", [{}, {"full_table": True}])
def test_a_whole_table_with_dates_is_refused(values: dict[str, Any], full: dict[str, Any]) -> None:
    told = refusal(**values, **full)
    assert told == "start_date and end_date are a filter: set full_table to false, or leave them out"


def test_a_filter_without_dates_is_refused() -> None:
    assert refusal(full_table=False) == "full_table is false: give start_date and end_date"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"end_date": None}, "start_date without end_date: give both, or neither"),
        ({"start_date": None}, "end_date without start_date: give both, or neither"),
        ({"start_date": "2025-10-21"}, "start_date 2025-10-21 is after end_date 2025-10-20"),
        ({"end_date": "2025-11-03"}, "end_date 2025-11-03 is in the future, today is 2025-11-02"),
        ({"start_date": "05/10/2025"}, "start_date: not a date: '05/10/2025', expected YYYY-MM-DD"),
    ],
)
def test_days_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    assert refusal(**{**DATES, **values}) == message


@pytest.mark.parametrize("table", ["APP_4_SALES", "APP_4_ORDER"])
def test_a_table_of_the_night_is_refused(table: str) -> None:
    assert refusal(tables=[table]).startswith(f"not reference tables: {table}; choose from ")


def test_parameters_that_nobody_reads_are_refused() -> None:
    assert refusal(date="2025-10-05") == f"unknown parameters: date; known are {', '.join(DEFAULTS)}"


@pytest.mark.parametrize("name", ["full_table", "allow_empty", "force", "export"])
@pytest.mark.parametrize("value", [0, "false", None])
def test_a_flag_is_true_or_false(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == f"{name}: expected true or false, found {value!r}"


@pytest.mark.parametrize("name", ["allow_empty", "force", "export"])
def test_a_flag_is_false_until_it_is_set_and_then_set_alone(name: str) -> None:
    set_flags = {each for each in ("allow_empty", "force", "export") if getattr(request(**{name: True}), each)}
    assert set_flags == {name}


def test_the_defaults_are_a_request() -> None:
    assert request(**DEFAULTS) == request()


def test_a_request_survives_the_way_to_the_other_tasks() -> None:
    sent = json.loads(json.dumps(request(**DATES, tables=[DATED, UNDATED], allow_empty=True).as_dict()))
    assert sent == {
        "tables": [UNDATED, DATED],
        "spans": {UNDATED: "whole", DATED: "2025-10-05/2025-10-21"},
        "window": "2025-10-05/2025-10-21",
        "verify": "checksum",
        "allow_empty": True,
        "force": False,
        "export": False,
    }
    assert [span_of(sent, catalog.load()[name]) for name in (UNDATED, DATED)] == [WHOLE, DAYS]
    assert request().as_dict()["window"] is None
