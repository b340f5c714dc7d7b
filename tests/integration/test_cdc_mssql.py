"""A SQL Server that is copied, streamed and compared, where ``RETAIL_SYNC_TEST_MSSQL`` names one with its Agent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from include.cdc import replicate
from include.cdc.follow import Task, follow
from include.cdc.models import Kind
from include.cdc.run import CdcRun
from include.cdc.sources.mssql import MssqlCdcSource
from include.connections import Connection
from include.demo.dsn import VARIABLE, odbc_connection
from include.engines.mssql.connect import connect
from include.errors import NeedsResync
from tests.integration.cdc import CdcStage, replication, run_of

SHOP = replication("mssql_shop", kind=Kind.MSSQL, tables=["dbo.*"], target_schema="mssql_copy", chunk_rows=100)
ORDERS = """
CREATE TABLE dbo.orders (
    id int IDENTITY NOT NULL, region varchar(10) COLLATE Latin1_General_BIN NOT NULL, note nvarchar(50) NULL,
    price decimal(10, 2) NULL, paid money NULL, ratio float NULL, small real NULL, is_open bit NULL,
    tag uniqueidentifier NULL, at datetime NULL, at2 datetime2(7) NULL, zoned datetimeoffset(3) NULL,
    day date NULL, clock time(7) NULL, data varbinary(max) NULL, body nvarchar(max) NULL, marks xml NULL,
    version rowversion NOT NULL, CONSTRAINT pk_orders PRIMARY KEY (region, id)
)
"""
FILL = """
INSERT INTO dbo.orders (region, note, price, paid, ratio, small, is_open, tag, at, at2, zoned, day, clock, data, body,
    marks)
SELECT TOP ({}) CASE WHEN object_id % 2 = 0 THEN 'a-b' ELSE 'aa' END, N'é', 1.5, -0.0001, 1e300, 0.1, 1, NEWID(),
    '2020-01-02T03:04:05.997', '0001-01-01T00:00:00.1234567', '2020-01-02T03:04:05.123+02:00', '1582-10-10',
    '23:59:59.1234567', 0x00FF, REPLICATE(CONVERT(nvarchar(max), N'x'), 9000), N'<a b="1"/>'
FROM sys.all_objects
"""
ENABLE = "EXEC sys.sp_cdc_enable_table @source_schema = N'{}', @source_name = N'{}', @role_name = NULL"


def execute(connection: Connection, *statements: str) -> None:
    with closing(connect(connection, "retail-sync test", autocommit=True)) as session:
        for statement in statements:
            session.execute(statement)


@pytest.fixture
def source() -> Iterator[Connection]:
    text = os.environ.get(VARIABLE)
    if not text:
        pytest.skip(f"no SQL Server: set {VARIABLE} to an ODBC connection string")
    server = odbc_connection(text)
    name = f"rs_cdc_{uuid.uuid4().hex[:8]}"
    execute(server, f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET ALLOW_SNAPSHOT_ISOLATION ON")
    made = replace(server, database=name)
    try:
        execute(made, "EXEC sys.sp_cdc_enable_db", ORDERS, ENABLE.format("dbo", "orders"), FILL.format(500))
        yield made
    finally:
        execute(server, f"ALTER DATABASE {name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE", f"DROP DATABASE {name}")


def followed(run: CdcRun) -> dict[str, Any]:
    figures = follow(run, Task(compare=True))
    assert [table["equal"] for table in figures["compared"]] == [True]
    return figures


def count(stage: CdcStage) -> int:
    with closing(psycopg.connect(stage.server.dsn(stage.warehouse_connection.database))) as session:
        row = session.execute("SELECT count(*) FROM mssql_copy.orders").fetchone()
    assert row is not None
    return int(row[0])


def test_a_table_is_copied_and_follows_what_is_done(cdc_stage: CdcStage, source: Connection) -> None:
    stage = replace(cdc_stage, source_connection=source)
    (copied,) = replicate.copy(run_of(stage, "start", SHOP))
    assert copied.rows == 500
    followed(run_of(stage, "nothing new", SHOP))
    execute(
        source,
        FILL.format(50),
        "UPDATE dbo.orders SET note = N'changed' WHERE id % 7 = 0",
        "UPDATE dbo.orders SET region = 'moved' WHERE id % 11 = 0",
        "UPDATE dbo.orders SET data = NULL, body = NULL WHERE id % 13 = 0",
        "DELETE FROM dbo.orders WHERE id % 5 = 0",
    )
    assert followed(run_of(stage, "changes", SHOP))["events"] > 0
    assert count(stage) == 440
    again = followed(run_of(stage, "again", SHOP))
    assert (again["upserted"], again["deleted"]) == (0, 0)


def test_a_capture_that_was_switched_off_and_on_needs_a_resync_of_its_table(
    cdc_stage: CdcStage, source: Connection
) -> None:
    stage = replace(cdc_stage, source_connection=source)
    # another table keeps what the whole log needs
    execute(
        source, "CREATE SCHEMA kept", "CREATE TABLE kept.notes (id int PRIMARY KEY)", ENABLE.format("kept", "notes")
    )
    replicate.copy(run_of(stage, "start", SHOP))
    followed(run_of(stage, "nothing new", SHOP))
    execute(
        source,
        "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'orders', @capture_instance = N'all'",
        "UPDATE dbo.orders SET note = N'not captured'",
        ENABLE.format("dbo", "orders"),
    )
    with pytest.raises(NeedsResync, match=r"dbo\.orders: its capture was switched off and on again"):
        follow(run_of(stage, "lost", SHOP), Task())
    replicate.copy(run_of(stage, "resync", SHOP), resync=True, tables=["dbo.orders"])
    execute(source, "UPDATE dbo.orders SET note = N'captured'")
    assert followed(run_of(stage, "whole again", SHOP))["events"] > 0


def test_the_log_ends_after_what_is_committed_and_is_not_gone(source: Connection) -> None:
    cdc_source = MssqlCdcSource(source)
    before = cdc_source.end()
    execute(source, "UPDATE dbo.orders SET note = N'once more' WHERE id = 1")
    after = cdc_source.end()
    assert after > before
    offset = {"commit_lsn": after[0], "change_lsn": "NULL", "event_serial_no": 0}
    assert cdc_source.gone(offset) is None
    assert cdc_source.gone({**offset, "commit_lsn": "00000000:00000001:0001"}) is not None
    assert cdc_source.place_of(cdc_source.refreshed(offset)) >= after
