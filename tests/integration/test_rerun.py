"""Running again changes nothing where nothing changed, and mends exactly what did."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel, sql

from include.demo.changes import Key, hard_delete, late_arrival, late_fix, move_date, void
from include.engines.base import Level
from include.engines.transfer import transfer
from include.errors import CountMismatch
from include.replication.observe import Step
from include.replication.progress import ProgressRow
from include.replication.replicate import replicate
from include.replication.verify import Verify
from include.windows import UNDATED, Span, Window, months
from tests.integration.conftest import OCTOBER, WINDOW, Stage, Stages
from tests.integration.helpers import (
    CATALOG,
    PAYMENTS,
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
    spoil_inserts,
    warehouse_rows,
)

AUGUST, SEPTEMBER = months(WINDOW)[:2]
PART = Window.inclusive(date(2025, 10, 5), date(2025, 10, 20))
REST = Window(PART.end, OCTOBER.end)
MONTH_NAMES = ["2025-08", "2025-09", "2025-10", "undated"]

SourceChange = Callable[[psycopg.Connection[Any]], list[Key]]


def change_source(stage: Stage, change: SourceChange) -> list[Key]:
    with stage.connect_source() as connection:
        keys = change(connection)
    assert keys
    return keys


def move(span: Window, to: date | None) -> SourceChange:
    """Return the change that moves three sales of a window to another day, or to none."""

    def change(connection: psycopg.Connection[Any]) -> list[Key]:
        if to:
            return move_date(connection, SALES, span, 3, 1, to=to)
        keys = late_fix(connection, SALES, span, 3, 1)
        query = sql.SQL('UPDATE {} SET "DATETIME__SALES_DATE" = NULL WHERE "ID" = ANY(%s)').format(source_of(SALES))
        connection.execute(query, ([key for (key,) in keys],))
        return keys

    return change


def moved_keys_in(stage: Stage, keys: list[Key], span: Span) -> int:
    query = sql.SQL('SELECT count(*) FROM {} WHERE "ID" = ANY(%s) AND "DATETIME__SALES_DATE" {}').format(
        replica_of(SALES),
        sql.SQL("BETWEEN {} AND {}").format(span.start, span.last_day)
        if isinstance(span, Window)
        else sql.SQL("IS NULL"),
    )
    with stage.connect_warehouse() as connection:
        return int(one(connection, query, [key for (key,) in keys]))


@pytest.mark.parametrize("name", ["APP_4_SALES", "APP_4_EPAYMENTLOG", "APP_4_ORDERITEM"])
def test_a_second_run_reads_nothing(stages: Stages, name: str) -> None:
    table = CATALOG[name]
    stage = stages.loaded(table)
    before = warehouse_rows(stage, table)
    watch = Watch()
    reports = [replicate(stage.run("second"), table, span, watch) for span in (*months(WINDOW), UNDATED)]
    assert all(report.unchanged for report in reports)
    assert {report.bytes_read for report in reports} == {0}
    assert Step.READING not in watch.steps
    assert warehouse_rows(stage, table) == before
    rows = progress_rows(stage, run_id="second")
    assert {(row["status"], row["rows_read"], row["published_at"]) for row in rows} == {("verified", 0, None)}
    assert sum(row["rows_published"] for row in rows) == before.total()


def test_force_loads_what_is_equal(stages: Stages) -> None:
    stage = stages.loaded(SALES, OCTOBER)
    (report,) = load(stage.run("second", force=True), SALES, OCTOBER)
    assert not report.unchanged
    assert report.rows_read == report.rows_replaced == assert_same_rows(stage, SALES, OCTOBER) > 0


@pytest.mark.parametrize(
    ("change", "loaded"),
    [
        pytest.param(lambda c: late_fix(c, SALES, PART, 3, 1), ["2025-10"], id="late fix"),
        pytest.param(lambda c: void(c, SALES, SEPTEMBER, 3, 1), ["2025-09"], id="void"),
        pytest.param(lambda c: hard_delete(c, SALES, PART, 3, 1), ["2025-10"], id="hard delete"),
        pytest.param(lambda c: late_arrival(c, SALES, AUGUST, 3, 1), ["2025-08"], id="late arrival"),
        pytest.param(move(PART, date(2025, 10, 31)), ["2025-10"], id="moved inside the month"),
        pytest.param(move(SEPTEMBER, date(2025, 10, 31)), ["2025-09", "2025-10"], id="moved to a later month"),
        # the earlier month takes its new rows out of the later one, which is equal then
        pytest.param(move(PART, date(2025, 9, 1)), ["2025-09"], id="moved to an earlier month"),
        pytest.param(move(PART, date(2025, 11, 5)), ["2025-10"], id="moved out of the run"),
        pytest.param(move(PART, None), ["2025-10", "undated"], id="moved to no date"),
    ],
)
def test_a_change_loads_exactly_the_windows_it_touched(stages: Stages, change: SourceChange, loaded: list[str]) -> None:
    stage = stages.loaded(SALES)
    change_source(stage, change)
    reports = load_all(stage.run("second"), SALES)
    assert [report.window for report in reports if not report.unchanged] == loaded
    for span in (*months(WINDOW), UNDATED):
        assert_same_rows(stage, SALES, span)
    assert doubled_keys(stage, SALES) == []


@pytest.mark.parametrize("order", [[SEPTEMBER, OCTOBER], [OCTOBER, SEPTEMBER]], ids=["old first", "new first"])
@pytest.mark.parametrize("to", [date(2025, 9, 30), date(2025, 10, 1)], ids=["to the earlier", "to the later"])
def test_a_moved_row_is_never_there_twice(stages: Stages, order: list[Window], to: date) -> None:
    stage = stages.loaded(SALES)
    keys = change_source(stage, move(SEPTEMBER if to.month == 10 else OCTOBER, to))
    for number, month in enumerate(order):
        load(stage.run(f"second {number}"), SALES, month)
        assert doubled_keys(stage, SALES) == []
    assert moved_keys_in(stage, keys, Window.of_month(to)) == len(keys)
    assert_same_rows(stage, SALES)


@pytest.mark.parametrize("first", ["window it left", "window it came to"])
@pytest.mark.parametrize("to", [date(2025, 10, 25), None], ids=["same partition", "no date"])
def test_a_row_that_leaves_a_part_is_never_there_twice(stages: Stages, first: str, to: date | None) -> None:
    stage = stages.loaded(SALES)
    change_source(stage, move(PART, to))
    spans: list[Span] = [PART, REST if to else UNDATED]
    for number, span in enumerate(spans if first == "window it left" else reversed(spans)):
        load(stage.run(f"second {number}"), SALES, span)
        assert doubled_keys(stage, SALES) == []
    assert_same_rows(stage, SALES)


def test_a_row_that_gets_a_date_leaves_the_undated(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    with stage.connect_source() as connection:
        query = sql.SQL('UPDATE {} SET "DATETIME__SALES_DATE" = %s WHERE "DATETIME__SALES_DATE" IS NULL')
        dated = connection.execute(query.format(source_of(SALES)), (date(2025, 10, 31),)).rowcount
    (report,) = load(stage.run("second"), SALES, OCTOBER)
    assert report.rows_moved == dated > 0
    assert_same_rows(stage, SALES)
    (undated,) = load(stage.run("third"), SALES, UNDATED)
    assert (undated.unchanged, undated.rows_published) == (True, 0)


def test_a_moved_text_date_is_never_there_twice(stages: Stages) -> None:
    table = CATALOG["APP_4_SALESQUANTITIES"]
    stage = stages.loaded(table)
    with stage.connect_source() as connection:
        move_date(connection, table, OCTOBER, 2, 1, to=date(2025, 9, 30))
    (report,) = load(stage.run("second"), table, SEPTEMBER)
    assert report.rows_moved == 2
    assert doubled_keys(stage, table) == []
    assert_same_rows(stage, table)


@pytest.mark.parametrize("span", [OCTOBER, PART], ids=["month", "part"])
def test_of_two_windows_read_at_different_moments_the_newer_row_stays(stages: Stages, span: Window) -> None:
    stage = stages.loaded(SALES)
    with stage.source.snapshot(SALES, span) as before:
        rows_before = before.digest(Level.COUNTS).rows
        keys = change_source(stage, move(PART, date(2025, 9, 30)))
        load(stage.run("newer"), SALES, SEPTEMBER)
        progress = ProgressRow(stage.warehouse.metadata(), "older", SALES, span)
        with stage.warehouse.staging(SALES, span) as staging:
            loaded = transfer(before, staging, 1 << 20, None, lambda rows, size: None)
            published = stage.warehouse.publish(
                staging, lambda published: progress.update({"rows_published": published.rows}), lambda: None
            )
    assert loaded.rows == rows_before == published.rows + len(keys)
    assert doubled_keys(stage, SALES) == []
    assert moved_keys_in(stage, keys, SEPTEMBER) == len(keys)
    assert_same_rows(stage, SALES)


def test_a_row_that_moved_while_its_window_was_read_is_there_once(stage: Stage) -> None:
    def move_away() -> None:
        change_source(stage, move(PART, date(2025, 9, 30)))
        load(stage.run("meanwhile"), SALES, SEPTEMBER)

    watch = Watch(at={Step.STAGED: move_away})
    report = replicate(stage.run(), SALES, OCTOBER, watch)
    assert (report.status, report.unchanged) == ("verified", False)
    assert report.rows_read == report.rows_source + 3
    for month in (SEPTEMBER, OCTOBER):
        assert_same_rows(stage, SALES, month)
    assert doubled_keys(stage, SALES) == []


@contextmanager
def tampered(stage: Stage, statement: str) -> Iterator[None]:
    with stage.connect_warehouse() as connection:
        changed = connection.execute(sql.SQL(statement).format(replica_of(SALES))).rowcount  # type: ignore[arg-type]
    assert changed == 1
    assert source_rows(stage, SALES) != warehouse_rows(stage, SALES)
    yield


ONE_OF = '(SELECT min("ID") FROM {0} WHERE "DATETIME__SALES_DATE" = \'2025-10-31\')'


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(f'UPDATE {{0}} SET "BILL_REMARK" = \'by hand\' WHERE "ID" = {ONE_OF}', id="value"),
        pytest.param(f'UPDATE {{0}} SET "SALE_REMARK" = NULL WHERE "ID" = {ONE_OF}', id="NULL"),
        pytest.param(f'DELETE FROM {{0}} WHERE "ID" = {ONE_OF}', id="row deleted"),
        pytest.param('UPDATE {0} SET "DATETIME__SALES_DATE" = \'2025-10-30\' WHERE "ID" = ' + ONE_OF, id="another day"),
    ],
)
def test_a_row_changed_by_hand_is_found_and_repaired(stages: Stages, statement: str) -> None:
    stage = stages.loaded(SALES)
    if "SALE_REMARK" in statement:
        with stage.connect_source() as connection:
            connection.execute(sql.SQL("UPDATE {} SET \"SALE_REMARK\" = ''").format(source_of(SALES)))
        load_all(stage.run("empty strings"), SALES)
    with tampered(stage, statement):
        reports = load_all(stage.run("second"), SALES)
    assert [report.window for report in reports if not report.unchanged] == ["2025-10"]
    assert_same_rows(stage, SALES)


@pytest.mark.parametrize("verify", [Verify.COUNTS, Verify.NONE])
def test_cheaper_levels_trust_the_rowversion(stages: Stages, verify: Verify) -> None:
    stage = stages.loaded(SALES, OCTOBER)
    with tampered(stage, f'UPDATE {{0}} SET "BILL_REMARK" = \'by hand\' WHERE "ID" = {ONE_OF}'):
        (trusting,) = load(stage.run("second", verify=verify), SALES, OCTOBER)
    assert trusting.unchanged
    with stage.connect_source() as connection:
        late_fix(connection, SALES, OCTOBER, 1, 1)
    (loaded,) = load(stage.run("third", verify=verify), SALES, OCTOBER)
    assert not loaded.unchanged
    assert progress_rows(stage, run_id="third")[0]["status"] == ("published" if verify is Verify.NONE else "verified")
    assert_same_rows(stage, SALES, OCTOBER)


def test_a_window_that_differs_after_publishing_is_read_once_more(stage: Stage) -> None:
    def lose_a_row() -> None:
        if watch.steps.count(Step.VERIFYING) == 1:
            with stage.connect_warehouse() as connection:
                connection.execute(
                    sql.SQL(f'DELETE FROM {{0}} WHERE "ID" = {ONE_OF}').format(replica_of(SALES))  # type: ignore[arg-type]
                )

    watch = Watch(at={Step.VERIFYING: lose_a_row})
    replicate(stage.run(), SALES, OCTOBER, watch)
    assert watch.steps.count(Step.READING) == 2
    assert_same_rows(stage, SALES, OCTOBER)


def test_a_warehouse_that_changes_values_is_called_a_mismatch(stages: Stages) -> None:
    stage = stages.loaded(SALES, OCTOBER)
    spoil_inserts(stage)
    watch = Watch()
    with pytest.raises(CountMismatch, match=r"APP_4_SALES 2025-10-05..2025-10-20: .* differ on 2025-10-05, .* again"):
        replicate(stage.run("second"), SALES, PART, watch)
    assert watch.steps.count(Step.READING) == 2
    (row,) = progress_rows(stage, run_id="second")
    assert row["status"] == "failed"
    assert "differ on 2025-10-05" in row["error"]


COUNT = (
    """SELECT count(*) FROM dbo."com_5013_APP_4_PAYMENT" WHERE "DATETIME__DATE" BETWEEN '2025-10-01' AND '2025-10-31'"""
)


@pytest.mark.parametrize("span", [OCTOBER, PART], ids=["month", "part"])
def test_a_reader_never_sees_a_window_empty_or_half(stages: Stages, span: Window) -> None:
    stage = stages.loaded(PAYMENTS, OCTOBER)
    rows = source_rows(stage, PAYMENTS, OCTOBER).total()
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        with stage.connect_warehouse() as connection:
            while not done.is_set():
                seen.append(one(connection, COUNT))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(5):
            with stage.connect_source() as connection:
                late_arrival(connection, PAYMENTS, PART, 1, number)
            load(stage.run(f"again {number}"), PAYMENTS, span)
    finally:
        done.set()
        reader.join()
    assert seen == sorted(seen)
    assert set(seen) <= set(range(rows, rows + 6))
    assert len(set(seen)) > 1


@pytest.mark.parametrize("span", [OCTOBER, PART], ids=["month", "part"])
def test_a_transaction_older_than_a_publish_sees_the_old_window_or_the_new(stages: Stages, span: Window) -> None:
    stage = stages.loaded(PAYMENTS, OCTOBER)
    rows = source_rows(stage, PAYMENTS, OCTOBER).total()
    for number in range(3):
        with stage.connect_warehouse() as reader:
            reader.autocommit = False
            reader.isolation_level = IsolationLevel.REPEATABLE_READ
            reader.execute("SELECT 1")
            with stage.connect_source() as connection:
                late_arrival(connection, PAYMENTS, PART, 1, number)
            load(stage.run(f"again {number}"), PAYMENTS, span)
            first, second = one(reader, COUNT), one(reader, COUNT)
        assert first == second
        assert first in (rows + number, rows + number + 1)
