"""The fix check makes the days of a window equal to the source, and touches nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.catalog import Table
from include.demo.changes import hard_delete, late_arrival, late_fix, move_date, void
from include.engines.base import Level
from include.replication.observe import Step
from include.replication.progress import Phase, Status
from include.replication.reconcile import reconcile
from include.replication.run import Report
from include.windows import Window
from tests.integration.conftest import OCTOBER, Stage, Stages
from tests.integration.helpers import (
    CATALOG,
    SALES,
    Watch,
    assert_same_rows,
    doubled_keys,
    load,
    load_all,
    one,
    progress_rows,
    replica_of,
    source_of,
    source_rows,
    staging_tables,
    warehouse_rows,
)

TEXT_DATED = CATALOG["APP_4_SALESQUANTITIES"]
UNVERSIONED = SALES.model_copy(update={"rowversion": None})
KEYLESS = SALES.model_copy(update={"key": ()})


def day(month: int, number: int, year: int = 2025) -> Window:
    return Window(first := date(year, month, number), first + timedelta(days=1))


DAY, OTHER_DAY, NEVER = day(10, 15), day(10, 22), day(5, 5, 2031)

SEPTEMBER = Window.of_month(date(2025, 9, 1))

Change = Callable[[psycopg.Connection[Any]], object]
Counts = tuple[int | None, int | None, int | None]


def check(stage: Stage, window: Window = DAY, table: Table = SALES, run_id: str = "check", **options: Any) -> Report:
    return reconcile(stage.run(run_id), table, window, Watch(), **options)


def change(stage: Stage, *changes: Change) -> None:
    with stage.connect_source() as connection:
        for made in changes:
            assert made(connection)


def counts(report: Report) -> Counts:
    return report.rows_inserted, report.rows_updated, report.rows_deleted


def assert_nothing_to_do(stage: Stage, window: Window = DAY, table: Table = SALES, **options: Any) -> None:
    watch = Watch()
    report = reconcile(stage.run("again"), table, window, watch, **options)
    assert report.unchanged
    assert (report.rows_read, report.bytes_read) == (0, 0)
    assert Step.READING not in watch.steps
    assert report.rows_published == source_rows(stage, table, window).total()


def in_warehouse(stage: Stage, statement: str, *values: Any) -> int:
    with stage.connect_warehouse() as connection:
        query = sql.SQL(statement).format(replica_of(SALES))  # type: ignore[arg-type]
        return connection.execute(query, values or None).rowcount


def undate(connection: psycopg.Connection[Any]) -> int:
    """Take the date of three sales of the day away."""
    query = sql.SQL(
        'UPDATE {0} SET "DATETIME__SALES_DATE" = NULL WHERE "ID" IN'
        ' (SELECT "ID" FROM {0} WHERE "DATETIME__SALES_DATE" = %s ORDER BY "ID" LIMIT 3)'
    )
    return connection.execute(query.format(source_of(SALES)), (DAY.start,)).rowcount


def reuse_key(connection: psycopg.Connection[Any]) -> int:
    """Delete a sale of the day, and give its key to a copy of a sale of another day."""
    columns = sql.SQL(", ").join(
        sql.Identifier(name) for name in SALES.columns if name not in (*SALES.key, SALES.rowversion)
    )
    names = {"t": source_of(SALES), "columns": columns}
    gone = one(
        connection,
        sql.SQL(
            'DELETE FROM {t} WHERE "ID" = (SELECT max("ID") FROM {t} WHERE "DATETIME__SALES_DATE" = %s) RETURNING "ID"'
        ).format(**names),
        DAY.start,
    )
    query = sql.SQL(
        'INSERT INTO {t} ("ID", {columns}) SELECT %s, {columns} FROM {t}'
        ' WHERE "ID" = (SELECT min("ID") FROM {t} WHERE "DATETIME__SALES_DATE" = %s)'
    )
    return connection.execute(query.format(**names), (gone, OTHER_DAY.start)).rowcount


def moved(window: Window, to: date, rows: int = 3) -> Change:
    return lambda connection: move_date(connection, SALES, window, rows, 1, to=to)


@pytest.mark.parametrize(
    ("change_of", "expected"),
    [
        pytest.param(lambda c: late_fix(c, SALES, DAY, 3, 1), (0, 3, 0), id="late update"),
        pytest.param(lambda c: void(c, SALES, DAY, 3, 1), (0, 3, 0), id="void"),
        pytest.param(lambda c: hard_delete(c, SALES, DAY, 3, 1), (0, 0, 3), id="hard delete"),
        pytest.param(lambda c: late_arrival(c, SALES, DAY, 3, 1), (3, 0, 0), id="late insert"),
        pytest.param(moved(OTHER_DAY, DAY.start), (0, 3, 0), id="moved into the day"),
        pytest.param(moved(day(8, 12), DAY.start), (0, 3, 0), id="moved into the day from another month"),
        pytest.param(moved(DAY, OTHER_DAY.start), (0, 3, 0), id="moved out of the day"),
        pytest.param(moved(DAY, date(2025, 9, 3)), (0, 3, 0), id="moved to another month"),
        pytest.param(moved(DAY, date(2025, 12, 24)), (0, 3, 0), id="moved to a month without partition"),
        pytest.param(undate, (0, 3, 0), id="moved to no date"),
        pytest.param(moved(DAY, DAY.start), (0, 3, 0), id="moved nowhere"),
        pytest.param(reuse_key, (0, 1, 0), id="key reused on another day"),
    ],
)
@pytest.mark.parametrize("table", [SALES, UNVERSIONED], ids=["rowversion", "no rowversion"])
def test_what_changed_on_a_day_is_repaired_and_nothing_else(
    stages: Stages, table: Table, change_of: Change, expected: Counts
) -> None:
    stage = stages.loaded(table)
    old = source_rows(stage, SALES, DAY)
    change(stage, change_of)
    untouched = (old & source_rows(stage, SALES, DAY)).total()
    report = check(stage, table=table)
    assert (report.status, report.unchanged) == (Status.VERIFIED, False)
    assert counts(report) == expected
    assert report.rows_unchanged == untouched
    assert report.rows_source == assert_same_rows(stage, SALES, DAY) > 0
    assert_same_rows(stage, SALES)
    assert doubled_keys(stage, SALES) == []
    assert staging_tables(stage) == []
    assert_nothing_to_do(stage, table=table)


def test_all_kinds_of_change_at_once_are_repaired_together(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(
        stage,
        lambda c: late_fix(c, SALES, DAY, 2, 1),
        lambda c: hard_delete(c, SALES, DAY, 1, 2),
        lambda c: late_arrival(c, SALES, DAY, 4, 3),
        moved(OTHER_DAY, DAY.start, 2),
    )
    report = check(stage)
    assert report.rows_inserted == 4
    assert report.rows_deleted == 1
    assert report.rows_read > 4
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage)


def test_only_the_rows_that_differ_are_read(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    report = check(stage, OCTOBER)
    assert report.rows_read == 2
    assert report.rows_unchanged == report.rows_source - 2


@pytest.mark.parametrize("to", [date(2025, 9, 29), date(2025, 10, 2)], ids=["backward", "forward"])
def test_several_days_over_the_end_of_a_month_are_repaired_at_once(stages: Stages, to: date) -> None:
    days = Window.inclusive(date(2025, 9, 28), date(2025, 10, 3))
    inner = Window.inclusive(date(2025, 9, 30), date(2025, 10, 1))
    stage = stages.loaded(SALES)
    change(
        stage,
        lambda c: hard_delete(c, SALES, day(9, 28), 1, 1),
        lambda c: late_arrival(c, SALES, day(10, 3), 1, 1),
        moved(inner, to),
    )
    report = check(stage, days)
    assert counts(report) == (1, 3, 1)
    assert report.rows_read == 4
    assert report.rows_source == assert_same_rows(stage, SALES, days)
    assert_same_rows(stage, SALES)
    assert doubled_keys(stage, SALES) == []
    assert_nothing_to_do(stage, days)


def test_a_day_that_is_empty_at_the_source_is_emptied(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    rows = source_rows(stage, SALES, DAY).total()
    change(stage, lambda c: hard_delete(c, SALES, DAY, rows, 1))
    report = check(stage)
    assert (report.rows_source, counts(report)) == (0, (0, 0, rows))
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage)


def test_a_day_that_is_empty_in_the_copy_is_filled(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    rows = in_warehouse(stage, 'DELETE FROM {} WHERE "DATETIME__SALES_DATE" = %s', DAY.start)
    report = check(stage)
    assert counts(report) == (rows, 0, 0)
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage)


def test_a_day_that_is_empty_on_both_sides_is_equal(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    before = warehouse_rows(stage, SALES)
    assert check(stage, NEVER).unchanged
    assert_nothing_to_do(stage, NEVER)
    assert warehouse_rows(stage, SALES) == before


def test_a_check_may_be_the_first_run_ever(stage: Stage) -> None:
    days = Window.inclusive(date(2025, 9, 29), date(2025, 10, 2))
    rows = source_rows(stage, SALES, days).total()
    report = check(stage, days)
    assert (counts(report), report.rows_unchanged) == ((rows, 0, 0), 0)
    assert assert_same_rows(stage, SALES, days) == warehouse_rows(stage, SALES).total() > 0
    assert_nothing_to_do(stage, days)
    load_all(stage.run("load"), SALES)
    assert_same_rows(stage, SALES)


@pytest.mark.parametrize(
    "change_of",
    [
        pytest.param(lambda c: late_fix(c, TEXT_DATED, OCTOBER, 2, 1), id="late update"),
        pytest.param(lambda c: hard_delete(c, TEXT_DATED, OCTOBER, 2, 1), id="hard delete"),
        pytest.param(lambda c: late_arrival(c, TEXT_DATED, OCTOBER, 2, 1), id="late insert"),
        pytest.param(lambda c: move_date(c, TEXT_DATED, OCTOBER, 2, 1, to=date(2025, 9, 30)), id="moved out"),
        pytest.param(lambda c: move_date(c, TEXT_DATED, SEPTEMBER, 2, 1, to=DAY.start), id="moved in"),
        pytest.param(lambda c: move_date(c, TEXT_DATED, OCTOBER, 2, 1, to=DAY.start), id="moved inside"),
    ],
)
def test_a_table_with_dates_as_text_is_repaired_too(stages: Stages, change_of: Change) -> None:
    stage = stages.loaded(TEXT_DATED)
    change(stage, change_of)
    report = check(stage, OCTOBER, TEXT_DATED)
    assert (report.unchanged, sum(filter(None, counts(report)))) == (False, 2)
    assert_same_rows(stage, TEXT_DATED, OCTOBER)
    assert_same_rows(stage, TEXT_DATED)
    assert_nothing_to_do(stage, OCTOBER, TEXT_DATED)


def test_a_table_without_key_has_the_window_replaced_where_it_differs(stages: Stages) -> None:
    stage = stages.loaded(KEYLESS)
    assert_nothing_to_do(stage, table=KEYLESS)
    change(stage, lambda c: late_fix(c, SALES, DAY, 1, 1), lambda c: hard_delete(c, SALES, DAY, 1, 2))
    report = check(stage, table=KEYLESS)
    rows = source_rows(stage, SALES, DAY).total()
    assert (report.rows_read, report.rows_published, report.rows_replaced) == (rows, rows, rows + 1)
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage, table=KEYLESS)
    assert {row["status"] for row in progress_rows(stage, phase="fix")} == {"verified"}


def test_content_changed_under_the_same_rowversion_is_found_by_all_values_only(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    one_of_day = '"ID" = (SELECT min("ID") FROM {0} WHERE "DATETIME__SALES_DATE" = %s)'
    assert in_warehouse(stage, f"UPDATE {{0}} SET \"BILL_REMARK\" = 'by hand' WHERE {one_of_day}", DAY.start) == 1
    assert check(stage).unchanged
    report = check(stage, level=Level.CHECKSUM)
    assert counts(report) == (0, 1, 0)
    assert report.checksum is not None
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage, level=Level.CHECKSUM)


@pytest.mark.parametrize("window", [DAY, OTHER_DAY, OCTOBER], ids=["right day", "wrong day", "both"])
def test_a_date_changed_in_the_warehouse_is_set_right_from_either_day(stages: Stages, window: Window) -> None:
    stage = stages.loaded(SALES)
    query = 'UPDATE {} SET "DATETIME__SALES_DATE" = %s WHERE "DATETIME__SALES_DATE" = %s'
    rows = in_warehouse(stage, query, OTHER_DAY.start, DAY.start)
    assert counts(check(stage, window)) == (0, rows, 0)
    assert_same_rows(stage, SALES)


@pytest.mark.parametrize("window", [DAY, day(9, 10)], ids=["right day", "wrong day"])
def test_a_row_that_is_in_the_copy_twice_is_never_taken_for_two(stages: Stages, window: Window) -> None:
    stage = stages.loaded(SALES)
    columns = ", ".join(f"'{day(9, 10).start}'::date" if name == SALES.date else f'"{name}"' for name in SALES.columns)
    doubled = f'INSERT INTO {{0}} SELECT {columns} FROM {{0}} WHERE "DATETIME__SALES_DATE" = %s'
    assert in_warehouse(stage, doubled, DAY.start) > 0
    check(stage, window)
    assert_same_rows(stage, SALES, window)
    check(stage, day(9, 10), run_id="wrong day")
    assert_same_rows(stage, SALES)


def test_a_check_is_recorded_beside_the_load_of_the_same_run(stage: Stage) -> None:
    load(stage.run("run"), SALES, OCTOBER)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1), lambda c: hard_delete(c, SALES, DAY, 1, 2))
    report = check(stage, run_id="run")
    assert counts(report)[2] == 1
    loaded, fixed = progress_rows(stage, run_id="run")
    assert (loaded["phase"], loaded["window_name"]) == ("load", "2025-10")
    assert (fixed["phase"], fixed["status"], fixed["attempt"]) == (Phase.FIX, "verified", 1)
    assert (fixed["window_name"], fixed["from_date"], fixed["to_date"]) == ("2025-10-15", DAY.start, DAY.start)
    assert {name: fixed[name] for name in report.as_record()} == report.as_record()
    assert fixed["seconds_waiting"] > 0
    assert fixed["started_at"] <= fixed["published_at"] <= fixed["finished_at"]
    assert fixed["error"] is None


def test_a_check_that_finds_nothing_publishes_nothing(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    report = check(stage)
    (row,) = progress_rows(stage, phase="fix")
    assert (row["status"], row["published_at"], row["rows_unchanged"]) == ("verified", None, report.rows_source)
    assert counts(report) == (0, 0, 0)
