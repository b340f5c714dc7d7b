"""Tables one after another, windows side by side, failures kept apart, readers let through."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tenacity import wait_none

from include.engines.postgres import PostgresWarehouse
from include.errors import DatabaseBusy, PermanentError, ValueDoesNotFit
from include.replication import runner
from include.replication.observe import Step
from include.replication.replicate import Run, replicate
from include.replication.request import Request, read_request
from include.replication.runner import failures, run_request
from include.settings import Settings
from include.windows import Window
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import (
    CATALOG,
    PAYMENTS,
    SALES,
    Watch,
    assert_same_rows,
    end_lock_session,
    load,
    one,
    progress_rows,
    replica_of,
    staging_tables,
    warehouse_rows,
)

TABLES = ["APP_4_SALES", "APP_4_PAYMENT", "APP_4_VOUCHER"]
COUNT = sql.SQL("SELECT count(*) FROM {}").format(replica_of(SALES))
PART = Window.inclusive(date(2025, 10, 5), date(2025, 10, 20))


def request(tables: list[str] = TABLES, **values: Any) -> Request:
    dates = {"start_date": "2025-08-01", "end_date": "2025-10-31"}
    return read_request({**dates, "tables": tables, **values}, None, CATALOG, date(2026, 1, 1))


def refuse_september(stage: Stage) -> None:
    """Let the warehouse refuse September's payments by a rule of its own."""
    with stage.connect_warehouse() as connection:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD CHECK (\"DATETIME__DATE\" NOT BETWEEN '2025-09-01' AND '2025-09-30')").format(
                replica_of(PAYMENTS)
            )
        )


def spans_of(rows: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(row["started_at"], row["finished_at"]) for row in rows]


def test_tables_follow_each_other_and_at_most_two_windows_run_at_once(stage: Stage) -> None:
    def slow(table: object, span: object) -> Watch:
        return Watch(at={Step.STAGED: lambda: time.sleep(0.2)})

    assert not failures(run_request(stage.run(), request(), 2, slow))
    rows = progress_rows(stage)
    by_table = {name: [row for row in rows if row["table_name"] == name] for name in TABLES}
    assert {len(found) for found in by_table.values()} == {4}
    for earlier, later in itertools.pairwise(TABLES):
        assert max(row["finished_at"] for row in by_table[earlier]) <= min(row["started_at"] for row in by_table[later])
    at_once = [
        sum(start <= moment < end for start, end in spans_of(rows)) for moment in (row["started_at"] for row in rows)
    ]
    assert max(at_once) == 2
    for name in TABLES:
        assert_same_rows(stage, CATALOG[name])


def test_a_failing_month_stops_neither_its_neighbours_nor_later_tables(stage: Stage) -> None:
    refuse_september(stage)
    outcomes = run_request(stage.run(), request(), 2, lambda table, span: Watch())
    (failed,) = failures(outcomes)
    assert (failed.table, failed.window) == ("APP_4_PAYMENT", "2025-09")
    assert isinstance(failed.error, PermanentError)
    assert "break a constraint of the warehouse table" in str(failed.error)
    assert len(outcomes) == 12
    for name in ("APP_4_SALES", "APP_4_VOUCHER"):
        assert_same_rows(stage, CATALOG[name])
    for month in (Window.of_month(date(2025, 8, 1)), OCTOBER):
        assert_same_rows(stage, PAYMENTS, month)
    (row,) = progress_rows(stage, status="failed")
    assert (row["table_name"], row["window_name"]) == ("APP_4_PAYMENT", "2025-09")
    assert row["error"] == str(failed.error)
    assert staging_tables(stage) == []


def test_on_failure_stop_begins_no_later_table(stage: Stage) -> None:
    refuse_september(stage)
    outcomes = run_request(stage.run(), request(on_failure="stop"), 2, lambda table, span: Watch())
    assert [outcome.table for outcome in outcomes] == ["APP_4_SALES"] * 4 + ["APP_4_PAYMENT"] * 4
    assert [outcome.window for outcome in failures(outcomes)] == ["2025-09"]
    assert progress_rows(stage, table_name="APP_4_VOUCHER") == []


def test_a_value_that_the_warehouse_cannot_hold_fails_its_month_only(stage: Stage) -> None:
    with stage.connect_source() as connection:
        connection.execute('ALTER TABLE "COM_5013"."APP_4_PAYMENT" ALTER COLUMN "METHOD" TYPE text')
        connection.execute(
            'UPDATE "COM_5013"."APP_4_PAYMENT" SET "METHOD" = repeat(\'Secret\', 99) WHERE "ID" ='
            ' (SELECT min("ID") FROM "COM_5013"."APP_4_PAYMENT" WHERE "DATETIME__DATE" = \'2025-09-15\')'
        )
    (failed,) = failures(run_request(stage.run(), request(["APP_4_PAYMENT"]), 2, lambda table, span: Watch()))
    assert failed.window == "2025-09"
    assert isinstance(failed.error, ValueDoesNotFit)
    assert "column METHOD" in str(failed.error)
    assert "Secret" not in str(failed.error)


def test_a_transient_failure_is_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "wait_random_exponential", lambda **_: wait_none())

    def lose_the_lock_once() -> None:
        if watch.steps.count(Step.CHECKED) == 1:
            end_lock_session(stage, "tried again")

    watch = Watch(at={Step.CHECKED: lose_the_lock_once})
    october = request(["APP_4_SALES"], start_date="2025-10-01")
    outcomes = run_request(stage.run(holder="tried again"), october, 1, lambda table, span: watch)
    assert not failures(outcomes)
    (row,) = progress_rows(stage, window_name="2025-10")
    assert (row["status"], row["attempt"], row["error"]) == ("verified", 2, None)
    assert_same_rows(stage, SALES, OCTOBER)


def run_with(stage: Stage, publish_wait: float) -> Run:
    """Return a run whose publishes step back from readers after 0.3 seconds."""
    settings = Settings(lock_wait=0, publish_lock_wait=0.3, publish_wait=publish_wait)
    warehouse = PostgresWarehouse(stage.warehouse_connection, "writer", settings)
    return replace(stage.run("publishing", settings=settings), warehouse=warehouse)


def test_a_publish_that_a_reader_holds_up_gives_up_in_the_end_and_names_it(stage: Stage) -> None:
    load(stage.run("first"), SALES, OCTOBER)
    before = warehouse_rows(stage, SALES)
    with stage.connect_source() as connection:
        connection.execute('UPDATE "COM_5013"."APP_4_SALES" SET "BILL_REMARK" = \'new\'')
    with psycopg.connect(
        stage.server.dsn(stage.warehouse_connection.database), application_name="long report"
    ) as reader:
        rows = one(reader, COUNT)
        with pytest.raises(DatabaseBusy, match=r"APP_4_SALES 2025-10: publishing.*held by .*long report"):
            replicate(run_with(stage, 0.5), SALES, OCTOBER, Watch())
        assert one(reader, COUNT) == rows
    assert warehouse_rows(stage, SALES) == before
    assert staging_tables(stage) == []
    assert progress_rows(stage, run_id="publishing")[0]["status"] == "failed"


def test_a_reader_of_the_partition_alone_is_named_too(stage: Stage) -> None:
    load(stage.run("first"), SALES, OCTOBER)
    with psycopg.connect(
        stage.server.dsn(stage.warehouse_connection.database), application_name="month report"
    ) as reader:
        reader.execute('SELECT count(*) FROM dbo."com_5013_APP_4_SALES_202510"')
        with pytest.raises(DatabaseBusy, match=r"held by .*month report"):
            load(replace(run_with(stage, 0), force=True), SALES, OCTOBER)


def test_a_publish_goes_through_when_the_reader_is_done(stage: Stage) -> None:
    load(stage.run("first"), SALES, OCTOBER)
    reader = psycopg.connect(stage.server.dsn(stage.warehouse_connection.database))
    reader.execute(COUNT)
    ending = threading.Timer(1.0, reader.close)
    ending.start()
    try:
        report = replicate(run_with(stage, 30), SALES, Window.of_month(date(2025, 9, 1)), Watch())
    finally:
        ending.join()
    assert report.status == "verified"
    assert report.seconds_publishing > 0.6
    assert_same_rows(stage, SALES, Window.of_month(date(2025, 9, 1)))


def test_readers_do_not_queue_behind_a_waiting_publish(stage: Stage) -> None:
    load(stage.run("first"), SALES, OCTOBER)
    waits: list[float] = []
    done = threading.Event()

    def read() -> None:
        with stage.connect_warehouse() as connection:
            while not done.is_set():
                began = time.monotonic()
                connection.execute(COUNT)
                waits.append(time.monotonic() - began)

    with psycopg.connect(stage.server.dsn(stage.warehouse_connection.database)) as long_reader:
        long_reader.execute(COUNT)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            with pytest.raises(DatabaseBusy):
                replicate(run_with(stage, 1.5), SALES, Window.of_month(date(2025, 9, 1)), Watch())
        finally:
            done.set()
            reader.join()
    assert 0.15 < max(waits) < 1.2
    assert len(waits) > 5


def test_a_part_of_a_month_needs_no_reader_to_go(stage: Stage) -> None:
    load(stage.run("first"), SALES, OCTOBER)
    with stage.connect_source() as connection:
        connection.execute('UPDATE "COM_5013"."APP_4_SALES" SET "BILL_REMARK" = \'new\'')
    with psycopg.connect(stage.server.dsn(stage.warehouse_connection.database)) as reader:
        reader.execute(COUNT)
        (report,) = load(run_with(stage, 0), SALES, PART)
    assert report.rows_replaced == assert_same_rows(stage, SALES, PART) > 0


def test_publishes_of_one_table_wait_for_each_other(stage: Stage) -> None:
    entered: list[float] = []
    left: list[float] = []

    def slow_commit() -> None:
        entered.append(time.monotonic())
        time.sleep(0.4)
        left.append(time.monotonic())

    outcomes = run_request(
        stage.run(), request(["APP_4_SALES"]), 2, lambda table, span: Watch(at={Step.COMMITTING: slow_commit})
    )
    assert not failures(outcomes)
    assert len(entered) == 4
    for end, start in zip(sorted(left), sorted(entered)[1:], strict=False):
        assert end <= start
    assert_same_rows(stage, SALES)
