"""What every engine has to do when single rows are repaired or a table is refreshed whole, at either end."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from include.catalog import Table
from include.engines.base import Level
from include.errors import EmptySource
from include.replication.progress import rows_of_run
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.replication.run import Report
from include.replication.sweep import read_marks, sweep
from include.windows import UNDATED, WHOLE, Window
from tests.engines.conftest import Pair
from tests.engines.test_engines import OCTOBER, SALE, assert_equal, filled, load_all, sale, version
from tests.integration.helpers import Watch

#: Days 30 to 60 of the quarter are October: row 40 is of the 11th.
DAYS = Window(date(2025, 10, 11), date(2025, 10, 16))


def check(pair: Pair, table: Table, window: Window = DAYS, run_id: str = "fix", **options: Any) -> Report:
    return reconcile(pair.run(run_id), table, window, Watch(), **options)


def counts(report: Report) -> tuple[int | None, ...]:
    return (report.rows_inserted, report.rows_updated, report.rows_deleted, report.rows_unchanged)


def change_days(pair: Pair, table: Table) -> None:
    """Mend row 40, delete 41, move 42 to another month without rows yet, add 2000."""
    pair.source.update(table, 40, {"AMOUNT": Decimal("0.5"), "V": version(5000)})
    pair.source.delete(table, 41)
    pair.source.update(table, 42, {"DAY": date(2026, 3, 1), "V": version(5001)})
    pair.source.insert(table, [sale(2000, DAYS.start, V=version(5002))])


def test_only_the_rows_that_differ_are_repaired(pair: Pair) -> None:
    table = filled(pair)
    load_all(pair, table)
    change_days(pair, table)
    assert counts(check(pair, table)) == (1, 2, 1, 2)
    assert pair.source_rows(table) == pair.warehouse_rows(table)
    again = check(pair, table, run_id="again")
    assert (counts(again), again.unchanged, again.rows_read) == ((0, 0, 0, 4), True, 0)
    (row,) = rows_of_run(pair.run().warehouse.metadata(), "fix", table.name)
    assert (row["phase"], row["status"], row["rows_updated"]) == ("fix", "verified", 2)
    assert pair.warehouse.staging_names() == []


def test_rows_that_moved_into_the_days_leave_the_others(pair: Pair) -> None:
    table = filled(pair)
    load_all(pair, table)
    for key in (1, 80, 1000):
        pair.source.update(table, key, {"DAY": DAYS.start, "V": version(6000 + key)})
    assert counts(check(pair, table)) == (0, 3, 0, 5)
    assert_equal(pair, table)


def test_a_row_that_lost_its_date_is_kept(pair: Pair) -> None:
    table = filled(pair)
    load_all(pair, table)
    pair.source.update(table, 40, {"DAY": None, "V": version(7000)})
    assert counts(check(pair, table)) == (0, 1, 0, 4)
    assert_equal(pair, table)


def test_an_empty_copy_is_filled_and_an_empty_source_empties_it(pair: Pair) -> None:
    table = filled(pair)
    assert counts(check(pair, table)) == (5, 0, 0, 0)
    for key in range(40, 45):
        pair.source.delete(table, key)
    assert counts(check(pair, table, run_id="second")) == (0, 0, 5, 0)
    assert pair.warehouse_rows(table) == []


def test_values_are_compared_where_there_is_no_rowversion(pair: Pair) -> None:
    table = filled(pair).model_copy(update={"rowversion": None})
    load_all(pair, table)
    change_days(pair, table)
    pair.source.update(table, 43, {"NAME": "another"})
    assert counts(check(pair, table)) == (1, 3, 1, 1)
    assert pair.source_rows(table) == pair.warehouse_rows(table)


def test_days_are_replaced_where_there_is_no_key(pair: Pair) -> None:
    table = pair.table(SALE, key=[], rowversion="V")
    rows = [sale(n % 2, DAYS.start + timedelta(days=n), V=version(n)) for n in range(5)]
    pair.source.insert(table, [*rows, *rows])
    two_months = Window(OCTOBER.start - timedelta(days=1), OCTOBER.end)
    report = check(pair, table, two_months)
    assert (report.window, report.rows_published, report.unchanged) == (two_months.name, 10, False)
    assert len(pair.warehouse_rows(table)) == 10
    assert pair.source_rows(table) == pair.warehouse_rows(table)
    assert check(pair, table, two_months, run_id="again").unchanged


def test_keys_of_several_columns_and_text_are_found(pair: Pair) -> None:
    columns = {"STORE": "varchar(10)", "NO": "bigint", "DAY": "date", "NAME": "nvarchar(20)", "V": "rowversion"}
    table = pair.table(columns, key=["STORE", "NO"], rowversion="V")
    rows = [
        {"STORE": store, "NO": number, "DAY": DAYS.start, "NAME": "a", "V": version(number)}
        for store in ("it's", "b")
        for number in range(3)
    ]
    pair.source.insert(table, rows)
    replicate(pair.run("load"), table, OCTOBER, Watch())
    pair.source.insert(table, [{**rows[0], "STORE": "c", "V": version(99)}])
    assert counts(check(pair, table)) == (1, 0, 0, 6)
    assert pair.source_rows(table) == pair.warehouse_rows(table)


def test_a_sweep_finds_what_changed_late_whatever_its_date(pair: Pair) -> None:
    table = filled(pair)
    load_all(pair, table)
    warehouse = pair.run().warehouse
    sweep(pair.run("first"), table, Watch())
    pair.source.update(table, 3, {"NAME": "late", "V": version(8000)})
    pair.source.insert(table, [sale(3000, date(2026, 2, 1), V=version(8001)), sale(3001, None, V=version(8002))])
    found = sweep(pair.run("second"), table, Watch())
    assert counts(found)[:3] == (2, 1, 0)
    assert pair.source_rows(table) == pair.warehouse_rows(table)
    marks = read_marks(warehouse.metadata(), table)
    assert marks is not None
    assert marks.high == version(8002)
    assert counts(sweep(pair.run("third"), table, Watch()))[:3] == (0, 0, 0)


def test_a_table_is_refreshed_whole(pair: Pair) -> None:
    table = pair.table(SALE, strategy="refresh", date=None, rowversion="V")
    pair.source.insert(table, [sale(n, None if n % 3 else OCTOBER.start) for n in range(50)])
    first = replicate(pair.run("first"), table, WHOLE, Watch())
    assert (first.status, first.rows_published) == ("verified", 50)
    assert replicate(pair.run("second"), table, WHOLE, Watch()).status == "unchanged"
    pair.source.update(table, 7, {"NAME": "changed", "V": version(900)})
    pair.source.delete(table, 8)
    third = replicate(pair.run("third"), table, WHOLE, Watch())
    assert (third.rows_inserted, third.rows_updated, third.rows_deleted) == (0, 1, 1)
    assert pair.source_rows(table) == pair.warehouse_rows(table)


def test_an_empty_source_empties_no_table_unless_that_is_right(pair: Pair) -> None:
    table = pair.table(SALE, strategy="refresh", date=None, rowversion="V")
    pair.source.insert(table, [sale(1, None)])
    replicate(pair.run("first"), table, WHOLE, Watch())
    pair.source.delete(table, 1)
    with pytest.raises(EmptySource, match="the copy keeps its 1 rows"):
        replicate(pair.run("second"), table, WHOLE, Watch())
    assert len(pair.warehouse_rows(table)) == 1
    replicate(pair.run("third", allow_empty=True), table, WHOLE, Watch())
    assert pair.warehouse_rows(table) == []


def test_what_may_not_leave_the_source_does_not(pair: Pair) -> None:
    columns = {**SALE, "SECRET": "varchar(40)"}
    table = pair.table(columns, rowversion="V", policies={"SECRET": "null"})
    pair.source.insert(table, [{**sale(n, OCTOBER.start), "SECRET": "hidden"} for n in range(3)])
    replicate(pair.run(), table, OCTOBER, Watch())
    assert {row[-1] for row in pair.warehouse_rows(table)} == {None}
    assert {row[-1] for row in pair.source_rows(table)} == {"hidden"}
    assert check(pair, table, OCTOBER, level=Level.CHECKSUM).unchanged
    assert replicate(pair.run("undated"), table, UNDATED, Watch()).status == "verified"
