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
from include.errors import ConnectionLost, CountMismatch, LockHeld, TransientError
from include.replication.observe import Step
from include.replication.prepare import prepare
from include.replication.progress import Phase, Status
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.replication.run import Report
from include.windows import Window
from tests.integration.conftest import OCTOBER, Stage, Stages
from tests.integration.helpers import (
    CATALOG,
    SALES,
    Watch,
    assert_same_rows,
    doubled_keys,
    end_lock_session,
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


@pytest.mark.parametrize("step", [Step.COMPARING, Step.STAGED])
def test_a_source_that_changes_during_the_check_is_followed_by_the_next(stages: Stages, step: Step) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))

    def meanwhile() -> None:
        change(stage, lambda c: hard_delete(c, SALES, DAY, 1, 7), lambda c: late_arrival(c, SALES, DAY, 1, 8))
        change(stage, lambda c: late_fix(c, SALES, DAY, 2, 9), moved(DAY, OTHER_DAY.start, 1))

    report = reconcile(stage.run(), SALES, DAY, Watch(at={step: meanwhile}))
    assert counts(report) == (0, 2, 0)
    assert source_rows(stage, SALES, DAY) != warehouse_rows(stage, SALES, DAY)
    check(stage)
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage)


def end_source_sessions(stage: Stage) -> None:
    query = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with stage.connect_source() as connection:
        assert {done for (done,) in connection.execute(query)} == {True}


@pytest.mark.parametrize("step", [Step.COMPARING, Step.READING])
def test_a_source_that_is_lost_in_the_middle_leaves_the_copy_as_it_was(stages: Stages, step: Step) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1), lambda c: hard_delete(c, SALES, DAY, 1, 2))
    before = warehouse_rows(stage, SALES)
    with pytest.raises(TransientError):
        reconcile(stage.run(), SALES, DAY, Watch(at={step: lambda: end_source_sessions(stage)}))
    assert warehouse_rows(stage, SALES) == before
    assert staging_tables(stage) == []
    assert progress_rows(stage, phase="fix")[0]["status"] == "failed"
    check(stage)
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage)


@pytest.mark.parametrize("step", [step for step in Step if step not in (Step.WAITING, Step.CHECKED, Step.DONE)])
def test_a_check_that_breaks_off_leaves_the_old_rows_or_the_new(stages: Stages, step: Step) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1), lambda c: hard_delete(c, SALES, DAY, 1, 2))
    before = warehouse_rows(stage, SALES)

    def break_off() -> None:
        raise KeyError(step)

    with pytest.raises(KeyError):
        reconcile(stage.run(), SALES, DAY, Watch(at={step: break_off}))
    visible = step in (Step.PUBLISHED, Step.VERIFYING)
    assert warehouse_rows(stage, SALES) == (source_rows(stage, SALES) if visible else before)
    assert staging_tables(stage) == []
    (row,) = progress_rows(stage, phase="fix")
    assert (row["status"], row["published_at"] is not None) == ("failed", visible)
    check(stage)
    assert_same_rows(stage, SALES)


def test_a_check_that_lost_its_lock_repairs_nothing(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    before = warehouse_rows(stage, SALES)
    watch = Watch(at={Step.STAGED: lambda: end_lock_session(stage, "loser")})
    with pytest.raises(ConnectionLost, match=r"the lock of .* was lost, nothing is published"):
        reconcile(stage.run(holder="loser"), SALES, DAY, watch)
    assert warehouse_rows(stage, SALES) == before
    assert staging_tables(stage) == []
    check(stage)
    assert_same_rows(stage, SALES)


def held_off(work: Callable[[], object]) -> Watch:
    """Return a watch in whose middle other work on the table is refused."""

    def refused() -> None:
        with pytest.raises(LockHeld, match=r"com_5013_APP_4_SALES.* is locked by first"):
            work()

    return Watch(at={Step.STAGED: refused})


def test_a_month_that_is_loaded_keeps_the_check_off(stage: Stage) -> None:
    watch = held_off(lambda: check(stage, day(8, 12)))
    replicate(stage.run(holder="first"), SALES, OCTOBER, watch)
    assert Step.DONE in watch.steps
    assert progress_rows(stage, phase="fix") == []


@pytest.mark.parametrize("other", ["another month", "another check"])
def test_a_check_keeps_everything_else_off(stages: Stages, other: str) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    august = Window.of_month(date(2025, 8, 1))
    watch = held_off(
        (lambda: load(stage.run("other"), SALES, august))
        if other == "another month"
        else (lambda: check(stage, OTHER_DAY))
    )
    reconcile(stage.run(holder="first"), SALES, DAY, watch)
    assert Step.DONE in watch.steps
    assert_same_rows(stage, SALES)


def test_days_that_differ_after_the_repair_are_checked_once_more(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))

    def lose_the_day() -> None:
        if watch.steps.count(Step.VERIFYING) == 1:
            assert in_warehouse(stage, 'DELETE FROM {} WHERE "DATETIME__SALES_DATE" = %s', DAY.start) > 0

    watch = Watch(at={Step.VERIFYING: lose_the_day})
    report = reconcile(stage.run(), SALES, DAY, watch)
    rows = assert_same_rows(stage, SALES, DAY)
    assert (report.status, report.unchanged, counts(report)) == (Status.VERIFIED, False, (rows, 2, 0))
    assert progress_rows(stage, phase="fix")[0]["rows_inserted"] == rows


def test_a_warehouse_that_changes_values_is_called_a_mismatch(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    with stage.connect_warehouse() as connection:
        connection.execute("""
            CREATE FUNCTION dbo.spoil() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW."BILL_REMARK" := 'spoilt'; RETURN NEW; END $$;
            CREATE TRIGGER spoil BEFORE INSERT ON dbo."com_5013_APP_4_SALES_202510"
            FOR EACH ROW EXECUTE FUNCTION dbo.spoil()
        """)
    watch = Watch()
    with pytest.raises(CountMismatch, match=r"APP_4_SALES: .* differ on 2025-10-15 after the repair, .* again"):
        reconcile(stage.run(), SALES, DAY, watch, level=Level.CHECKSUM)
    assert watch.steps.count(Step.READING) == 2
    assert progress_rows(stage, phase="fix")[0]["status"] == "failed"


@pytest.mark.parametrize("by", ["next check", "prepare"])
def test_what_a_killed_check_staged_is_cleared_away(stages: Stages, by: str) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    with stage.connect_warehouse() as connection:
        connection.execute('CREATE TABLE staging."com_5013_APP_4_SALES__changes" (of_a_dead_run int)')
    if by == "prepare":
        assert prepare(stage.run(), SALES)
    else:
        check(stage)
    assert staging_tables(stage) == []


def test_what_a_running_check_staged_is_not_cleared_away(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    watch = Watch(at={Step.STAGED: lambda: prepare(stage.run("other"), SALES)})
    assert counts(reconcile(stage.run(), SALES, DAY, watch)) == (0, 2, 0)
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
