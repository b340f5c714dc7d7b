"""The source is read as it is, in one moment, and never written."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from include.catalog import SqlType, Table
from include.connections import parse
from include.demo.changes import hard_delete, late_arrival, late_fix
from include.engines.base import Level
from include.engines.postgres import PostgresSource
from include.engines.postgres import sql as statements
from include.engines.postgres.arrow import read_few
from include.errors import (
    AccessDenied,
    ConnectionLost,
    PermanentError,
    RetailSyncError,
    SchemaMismatch,
    TransientError,
    ValueDoesNotFit,
)
from include.replication.export import ExportTarget
from include.replication.observe import Step
from include.replication.prepare import prepare
from include.replication.replicate import replicate
from include.replication.runner import failures, run_request
from include.windows import UNDATED, WHOLE
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import (
    CATALOG,
    PAYMENTS,
    SALES,
    Watch,
    assert_same_rows,
    load,
    progress_rows,
    source_of,
    source_rows,
    staging_tables,
    warehouse_rows,
)
from tests.integration.test_concurrency import request


def at_source(stage: Stage, statement: str, table: Table = SALES) -> int:
    with stage.connect_source() as connection:
        return connection.execute(sql.SQL(statement).format(source_of(table))).rowcount  # type: ignore[arg-type]


def test_an_optional_table_that_is_not_there_is_recorded_and_warned_about(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    staff = CATALOG["APP_4_STAFF"]
    assert staff.optional
    with caplog.at_level(logging.WARNING):
        assert not prepare(stage.run(), staff)
    assert "APP_4_STAFF: the source has no such table" in caplog.text
    (row,) = progress_rows(stage)
    assert (row["table_name"], row["status"], row["window_name"]) == ("APP_4_STAFF", "not_exposed", "whole")
    assert row["finished_at"] is not None


def test_a_refreshed_table_that_is_not_there_is_left_out_without_being_optional(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    item = CATALOG["APP_4_ITEM"]
    assert not item.optional
    at_source(stage, "DROP TABLE {}", item)
    with caplog.at_level(logging.WARNING):
        assert not prepare(stage.run(), item)
    assert "APP_4_ITEM: the source has no such table; it is left out" in caplog.text
    (row,) = progress_rows(stage)
    assert (row["table_name"], row["status"], row["window_name"]) == ("APP_4_ITEM", "not_exposed", "whole")


def test_a_missing_table_that_is_not_optional_fails_and_the_next_table_runs(stage: Stage) -> None:
    at_source(stage, "DROP TABLE {}", PAYMENTS)
    asked = request(["APP_4_PAYMENT", "APP_4_VOUCHER"], start_date="2025-10-01")
    (failed,) = failures(run_request(stage.run(), asked, 1, lambda table, span: Watch()))
    assert (failed.table, failed.window) == ("APP_4_PAYMENT", None)
    assert isinstance(failed.error, SchemaMismatch)
    assert "optional: true" in str(failed.error)
    (row,) = progress_rows(stage, table_name="APP_4_PAYMENT")
    assert row["status"] == "failed"
    assert_same_rows(stage, CATALOG["APP_4_VOUCHER"], OCTOBER)


def test_columns_in_another_order_arrive_in_their_own(stage: Stage) -> None:
    at_source(stage, 'ALTER TABLE {} RENAME COLUMN "SALE_REMARK" TO moved')
    at_source(stage, 'ALTER TABLE {} ADD COLUMN "SALE_REMARK" varchar(4000)')
    at_source(stage, 'UPDATE {} SET "SALE_REMARK" = left(moved, 4000)')
    load(stage.run(), SALES, OCTOBER)
    assert assert_same_rows(stage, SALES, OCTOBER) > 0


@pytest.mark.parametrize("statement", ["UPDATE {} SET \"BILL_REMARK\" = 'x'", "DELETE FROM {}", "DROP TABLE {}"])
def test_its_sessions_may_not_write(stage: Stage, statement: str) -> None:
    with (
        pytest.raises(PermanentError, match="read-only transaction"),
        stage.source.snapshot(SALES, OCTOBER) as snapshot,
    ):
        snapshot.session.execute(sql.SQL(statement).format(source_of(SALES)))  # type: ignore[arg-type]
    assert source_rows(stage, SALES, OCTOBER)


@pytest.mark.parametrize("span", [OCTOBER, UNDATED], ids=["month", "undated"])
def test_everything_asked_of_a_snapshot_is_of_one_moment(stage: Stage, span: Any) -> None:
    rows = source_rows(stage, SALES, span).total()
    with stage.source.snapshot(SALES, span) as snapshot:
        before = snapshot.digest(Level.CHECKSUM)
        at_source(stage, "UPDATE {} SET \"BILL_REMARK\" = 'later', \"DATETIME__SALES_DATE\" = '2025-10-15'")
        assert snapshot.digest(Level.CHECKSUM) == before
        assert snapshot.digest(Level.COUNTS).rows == before.rows == rows
        batches = list(snapshot.batches(1 << 20))
        assert sum(batch.num_rows for batch in batches) == rows
        assert all("later" not in batch.column("BILL_REMARK").to_pylist() for batch in batches)
    with stage.source.snapshot(SALES, OCTOBER) as later:
        assert later.digest(Level.CHECKSUM).rows == source_rows(stage, SALES).total() > rows


@pytest.mark.parametrize("step", [Step.READING, Step.STAGED, Step.VERIFYING], ids=lambda step: step.value)
def test_a_change_while_a_window_is_loaded_does_not_mix_into_it(stage: Stage, step: Step) -> None:
    def change() -> None:
        with stage.connect_source() as connection:
            late_fix(connection, SALES, OCTOBER, 5, 1)
            hard_delete(connection, SALES, OCTOBER, 5, 2)
            late_arrival(connection, SALES, OCTOBER, 9, 3)

    before = source_rows(stage, SALES, OCTOBER)
    report = replicate(stage.run("first"), SALES, OCTOBER, Watch(at={step: change}))
    assert report.status == "verified"
    assert warehouse_rows(stage, SALES, OCTOBER) == before
    (next_report,) = load(stage.run("second"), SALES, OCTOBER)
    assert not next_report.unchanged
    assert_same_rows(stage, SALES, OCTOBER)


def test_a_key_that_is_there_twice_is_refused(stage: Stage) -> None:
    load(stage.run("first"), SALES, OCTOBER)
    before = warehouse_rows(stage, SALES)
    with stage.connect_source() as connection:
        connection.execute('ALTER TABLE "COM_5013"."APP_4_SALES" DROP CONSTRAINT "APP_4_SALES_pkey"')
        key = connection.execute(
            'INSERT INTO "COM_5013"."APP_4_SALES" SELECT * FROM "COM_5013"."APP_4_SALES"'
            ' WHERE "DATETIME__SALES_DATE" = \'2025-10-31\' LIMIT 1 RETURNING "ID"'
        ).fetchone()
    assert key is not None
    with pytest.raises(PermanentError, match="the source has a key twice") as told:
        load(stage.run("second"), SALES, OCTOBER)
    assert str(key[0]) not in str(told.value)
    assert warehouse_rows(stage, SALES) == before
    assert staging_tables(stage) == []


@pytest.mark.parametrize("export", [False, True], ids=["pipe", "arrow"])
def test_a_value_that_is_too_long_names_its_column_and_key_and_not_the_value(
    stage: Stage, tmp_path: Any, export: bool
) -> None:
    at_source(stage, 'ALTER TABLE {} ALTER COLUMN "SALES_NO" TYPE text')
    at_source(stage, 'UPDATE {} SET "SALES_NO" = repeat(\'confidential\', 500) WHERE "ID" % 10 = 0')
    run = stage.run(export=ExportTarget(str(tmp_path)) if export else None)
    with pytest.raises(
        ValueDoesNotFit, match=r"APP_4_SALES 2025-10: column SALES_NO of the row with ID \d+: the value is no varchar"
    ) as told:
        load(run, SALES, OCTOBER)
    assert "confidential" not in str(told.value)
    (row,) = progress_rows(stage)
    assert row["status"] == "failed"
    assert row["error"] == str(told.value)
    assert not warehouse_rows(stage, SALES)
    assert staging_tables(stage) == []


def connection_error(stage: Stage, **different: Any) -> RetailSyncError:
    source = PostgresSource(replace(stage.source_connection, **different))
    with pytest.raises(RetailSyncError) as told:
        source.check()
    return told.value


def test_failures_to_connect_are_told_apart(stage: Stage) -> None:
    down = connection_error(stage, port=1, password="secret word")
    assert isinstance(down, ConnectionLost)
    assert isinstance(down, TransientError)
    assert "secret word" not in str(down)
    assert isinstance(connection_error(stage, database="no_such_database"), AccessDenied)
    assert isinstance(connection_error(stage, login="nobody"), AccessDenied)


def test_a_table_that_may_not_be_read_is_denied(stage: Stage) -> None:
    with stage.connect_source() as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute('GRANT USAGE ON SCHEMA "COM_5013" TO reader')
    weak = parse("weak", stage.server.uri(stage.source_connection.database).replace("postgres@", "reader@"))
    with pytest.raises(AccessDenied, match="permission denied for table"):
        load(replace(stage.run(), source=PostgresSource(weak)), SALES, OCTOBER)
    with psycopg.connect(stage.server.dsn(stage.source_connection.database), autocommit=True) as connection:
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")


def test_columns_of_a_table_outside_the_catalog_have_types_of_the_catalog(stage: Stage) -> None:
    with stage.connect_source() as connection:
        connection.execute(
            'CREATE TABLE "COM_5013"."NEW"'
            ' ("ID" bigint, a varchar(20), b numeric(16,4), c timestamp(3), d bytea, e date)'
        )
    found = stage.source.column_types("COM_5013", "NEW")
    assert found == {
        "ID": SqlType.parse("bigint"),
        "a": SqlType.parse("varchar(20)"),
        "b": SqlType.parse("decimal(16,4)"),
        "c": SqlType.parse("datetime2(3)"),
        "d": SqlType.parse("varbinary(max)"),
        "e": SqlType.parse("date"),
    }
    assert stage.source.column_types("COM_5013", "NOT_THERE") is None
    with stage.connect_source() as connection:
        connection.execute('ALTER TABLE "COM_5013"."NEW" ADD COLUMN f point')
    with pytest.raises(SchemaMismatch, match="NEW: type point cannot be replicated"):
        stage.source.column_types("COM_5013", "NEW")


@pytest.mark.parametrize(
    "table", [SALES, CATALOG["APP_4_SALESQUANTITIES"], CATALOG["LOCATION_DETAIL"]], ids=lambda table: table.name
)
def test_pairs_that_the_server_packs_are_those_that_are_read_row_by_row(stage: Stage, table: Table) -> None:
    span = WHOLE if table.strategy == "refresh" else OCTOBER
    condition = statements.in_span(table, span)
    with stage.source.snapshot(table, span) as snapshot:
        packed = pa.Table.from_batches(snapshot.pairs(Level.VERSIONS))
        query = statements.pairs(table, statements.source_name(table), condition, Level.VERSIONS)
        rows = pa.Table.from_batches(read_few(snapshot.session, query, packed.schema))
    assert statements.can_be_packed(table)
    assert packed.num_rows > 0
    assert sorted(packed.to_pylist(), key=str) == sorted(rows.to_pylist(), key=str)
