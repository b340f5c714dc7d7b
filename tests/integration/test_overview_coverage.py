"""The heat map tells how each month is, and its numbers are those of the run record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from include.metadata import etl_progress, replica_audit, replica_fixes
from include.overview import days
from include.overview.coverage import coverage
from include.windows import UNDATED, WHOLE, Span, Window, parse_span
from tests.integration.conftest import Stage
from tests.integration.helpers import CATALOG, PAYMENTS, SALES

TODAY, ZONE = date(2025, 11, 5), ZoneInfo("Asia/Kuala_Lumpur")
BEGAN = datetime(2025, 11, 1, tzinfo=UTC)
OCTOBER, NOVEMBER = "2025-10", "2025-11"


class Record:
    """Writes rows of the run record, each an hour after the one before."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.hours = 0

    def tick(self) -> datetime:
        self.hours += 1
        return BEGAN + timedelta(hours=self.hours)

    def window(self, text: str, status: str = "verified", table: str = SALES.name, **values: Any) -> None:
        span, at = _span(text), self.tick()
        finished = at + timedelta(minutes=1) if status != "running" else None
        row = {
            "run_id": f"run {self.hours}",
            "table_name": table,
            "window_name": span.name,
            "from_date": span.start if isinstance(span, Window) else None,
            "to_date": span.last_day if isinstance(span, Window) else None,
            "status": status,
            "attempt": 1,
            "started_at": at,
            "finished_at": finished,
            "published_at": finished,
            "rows_published": 100,
            "bytes_read": 5000,
            "seconds_loading": 1.5,
            "seconds_verifying": 0.5,
            **values,
        }
        self.write(etl_progress, row)

    def fix(self, text: str, *, inserted: int = 0, updated: int = 0, deleted: int = 0, **values: Any) -> None:
        self.window(text, phase="fix", rows_inserted=inserted, rows_updated=updated, rows_deleted=deleted, **values)

    def audit(self, text: str, *, equal: bool, repaired: bool = False, table: str = SALES.name) -> None:
        span = _span(text)
        assert isinstance(span, Window)
        row = {
            "run_id": f"run {self.hours + 1}",
            "table_name": table,
            "window_name": span.name,
            "from_date": span.start,
            "to_date": span.last_day,
            "rows_source": 100,
            "rows_warehouse": 100,
            "equal": equal,
            "found_by": "checksum",
            "repaired": repaired,
            "audited_at": self.tick(),
        }
        self.write(replica_audit, row)

    def write(self, table: sa.Table, row: dict[str, Any]) -> None:
        with self.engine.connect() as connection:
            connection.execute(table.insert().values(row))

    def cells(self, table: str = SALES.name) -> dict[str, list[Any]]:
        found = coverage(self.engine, CATALOG, TODAY, ZONE)
        json.dumps(found)
        of_table = next(row for row in found["tables"] if row["name"] == table)
        return {found["months"][cell[0]]: cell[1:] for cell in of_table["cells"]}

    def letter(self, month: str = OCTOBER) -> str:
        letter: str = self.cells()[month][0]
        return letter


def _span(text: str) -> Span:
    """Read a month, a day, two days with dots between, or a name."""
    if ".." in text:
        first, last = map(date.fromisoformat, text.split(".."))
        return Window.inclusive(first, last)
    if len(text) == len(OCTOBER) and text[:4].isdigit():
        return Window.of_month(date.fromisoformat(f"{text}-01"))
    return Window.inclusive(*[date.fromisoformat(text)] * 2) if text[:4].isdigit() else parse_span(text)


@pytest.fixture
def record(stage: Stage) -> Iterator[Record]:
    return Record(stage.warehouse.metadata())


def test_a_verified_month_has_the_numbers_of_its_run(record: Record) -> None:
    record.window(OCTOBER, checksum="00ff00ff00ff00ff")
    at = int((BEGAN + timedelta(hours=1, minutes=1)).timestamp())
    assert record.cells() == {OCTOBER: ["v", 100, 5000, 2.0, "00ff00ff00ff00ff", at, 0]}
    found = coverage(record.engine, CATALOG, TODAY, ZONE)
    assert (found["months"], found["runs"], found["counts"]) == ([OCTOBER, NOVEMBER], ["run 1"], {"v": 1})
    assert found["totals"] == [[0, 100, 5000, 1, 1]]
    sales = found["tables"][0]
    assert (sales["name"], sales["group"], sales["dag"]) == (SALES.name, "sales", "sales_replication")
    assert (sales["rows"], sales["bytes"], sales["undated"]) == (100, 5000, None)


def test_a_month_that_was_not_compared_is_only_published(record: Record) -> None:
    record.window(OCTOBER, "published")
    assert record.letter() == "p"
    record.window(OCTOBER)
    assert record.letter() == "v"


def test_a_running_month_runs_whatever_it_was(record: Record) -> None:
    record.window(OCTOBER)
    record.window(OCTOBER, "running")
    assert record.letter() == "r"


def test_a_failed_month_says_why_until_it_is_verified(record: Record) -> None:
    record.window(OCTOBER)
    record.window(OCTOBER, "failed", error="x" * 300)
    letter, rows, *_, run, note = record.cells()[OCTOBER]
    assert (letter, rows, run, note) == ("f", 100, 0, "x" * 200)
    record.window(OCTOBER)
    assert record.letter() == "v"


def test_an_old_month_that_is_loaded_again_under_the_id_of_its_first_run_is_no_failure(record: Record) -> None:
    record.window(OCTOBER, finished_at=BEGAN + timedelta(days=30))
    record.window(OCTOBER, "failed", error="earlier")
    assert record.letter() == "v"


@pytest.mark.parametrize("days_of_fix", ["2025-10-30", "2025-10-28..2025-10-30"])
def test_a_repair_after_the_load_changed_the_month(record: Record, days_of_fix: str) -> None:
    record.window(OCTOBER)
    record.fix(days_of_fix)
    assert record.letter() == "v"
    record.fix(days_of_fix, inserted=3, deleted=1)
    letter, rows, *_, note = record.cells()[OCTOBER]
    assert (letter, rows, note) == ("c", 102, "3 inserted, 1 deleted")
    record.window(OCTOBER)
    assert record.letter() == "v"


def test_a_repair_across_months_changed_the_month_of_the_day_alone(record: Record) -> None:
    for month in ("2025-09", OCTOBER):
        record.window(month)
    record.fix("2025-09-30..2025-10-02")
    fix = {"run_id": "run 3", "table_name": SALES.name, "day": date(2025, 10, 1)}
    counts = {"rows_inserted": 1, "rows_updated": 0, "rows_deleted": 0}
    record.write(replica_fixes, {**fix, **counts, "fixed_at": record.tick()})
    assert {month: cell[0] for month, cell in record.cells().items()} == {"2025-09": "v", OCTOBER: "c"}


def test_a_difference_that_an_audit_found_is_a_change_until_it_is_repaired(record: Record) -> None:
    record.window(OCTOBER)
    record.audit("2025-10-07", equal=False)
    assert (record.letter(), record.cells()[OCTOBER][-1]) == ("c", "an audit found differences from 2025-10-07 on")
    record.audit("2025-10-07", equal=False, repaired=True)
    assert record.letter() == "v"
    record.audit("2025-10-07", equal=False)
    record.audit("2025-10-01..2025-10-20", equal=True)
    assert record.letter() == "v"


def test_an_audit_that_finds_all_of_a_month_equal_proves_it_again(record: Record) -> None:
    record.window(OCTOBER, "published")
    record.fix("2025-10-30", updated=1)
    record.audit(OCTOBER, equal=True)
    assert record.letter() == "v"


def test_the_days_of_nights_make_a_month(record: Record) -> None:
    for day in ("2025-11-01", "2025-11-02", "2025-11-03"):
        record.window(day)
    assert record.cells()[NOVEMBER][:3] == ["p", 300, 15000]
    assert record.cells()[NOVEMBER][-1] == "1 days are missing"
    record.window("2025-11-04", "failed", error="no source")
    assert (record.letter(NOVEMBER), record.cells()[NOVEMBER][-1]) == ("f", "no source")
    record.fix("2025-11-04", inserted=100)
    assert record.letter(NOVEMBER) == "c"
    record.window("2025-11-04")
    record.window("2025-11-05", "running")
    assert record.letter(NOVEMBER) == "r"


def test_days_of_a_window_count_once(record: Record) -> None:
    for text in ("2025-11-01..2025-11-03", "2025-11-02", "2025-11-02", "2025-11-04"):
        record.window(text)
    assert record.letter(NOVEMBER) == "v"


def test_a_table_is_missing_between_its_first_month_and_the_last_one_that_ended(record: Record) -> None:
    record.window("2025-07", table=PAYMENTS.name)
    record.window("2025-08")
    record.window(OCTOBER)
    found = coverage(record.engine, CATALOG, TODAY, ZONE)
    assert found["counts"] == {"v": 3, "m": 4}
    assert [row[3:] for row in found["totals"]] == [[1, 1], [1, 2], [0, 2], [1, 2]]


def test_a_table_that_the_source_has_not_is_not_exposed(record: Record) -> None:
    record.window(OCTOBER)
    record.window(UNDATED.name, "not_exposed", table=PAYMENTS.name)
    cells = record.cells(PAYMENTS.name)
    assert {month: cell[0] for month, cell in cells.items()} == {OCTOBER: "n", NOVEMBER: "n"}


def test_the_rows_without_a_date_are_apart(record: Record) -> None:
    record.window(OCTOBER)
    record.window(UNDATED.name, rows_published=7)
    sales = coverage(record.engine, CATALOG, TODAY, ZONE)["tables"][0]
    assert (sales["undated"][:3], sales["rows"]) == ([None, "v", 7], 100)


def test_a_refreshed_table_is_shown_where_windows_of_it_were_loaded(record: Record) -> None:
    name = "APP_4_POINTRECORD"
    record.window(WHOLE.name, table=name)
    assert name not in {table["name"] for table in coverage(record.engine, CATALOG, TODAY, ZONE)["tables"]}
    record.window("2025-10-01..2025-10-31", table=name)
    shown = {table["name"]: table["dag"] for table in coverage(record.engine, CATALOG, TODAY, ZONE)["tables"]}
    assert shown[name] == "reference_tables"


def test_a_warehouse_without_a_run_has_no_cells(record: Record) -> None:
    found = coverage(record.engine, CATALOG, TODAY, ZONE)
    assert (found["months"], found["counts"], found["totals"]) == ([NOVEMBER], {}, [])


def test_a_day_is_how_the_newest_window_left_it(record: Record) -> None:
    record.window(OCTOBER)
    record.fix("2025-10-30", inserted=2, updated=1, rows_source=40)
    record.window("2025-10-31", "failed", error="no source")
    record.audit("2025-10-07", equal=False)
    found = days.month(record.engine, SALES.name, OCTOBER)
    json.dumps(found)
    by_day = {row["day"][-2:]: row for row in found["days"]}
    assert {day: row["status"] for day, row in by_day.items() if row["status"] != "v"} == {
        "07": "c",
        "30": "c",
        "31": "f",
    }
    assert (len(by_day), by_day["31"]["error"], by_day["31"]["run"]) == (31, "no source", "run 3")
    fixed = by_day["30"]
    assert [fixed[name] for name in ("inserted", "updated", "deleted", "rows_source", "equal")] == [2, 1, 0, 40, True]
    assert [row["window"] for row in found["windows"]] == ["2025-10-31", "2025-10-30", OCTOBER]
