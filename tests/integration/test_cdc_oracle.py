"""
An Oracle that is copied, streamed and compared, where ``RETAIL_SYNC_TEST_ORACLE`` names one.

As a connection, such as ``oracle://C%23%23CDC:secret@127.0.0.1:1521/FREE?pdb=FREEPDB1``: in ARCHIVELOG mode with
supplemental logging of all columns, the login with the rights of LogMiner and a quota for tables of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from include.cdc import replicate
from include.cdc.follow import Task, follow
from include.cdc.models import Kind, Replication
from include.cdc.sources.oracle import OracleCdcSource
from include.cdc.sources.oracle_rows import connect
from include.connections import Connection, parse
from tests.integration.cdc import CdcStage, replication, run_of

VARIABLE = "RETAIL_SYNC_TEST_ORACLE"
NAME = "RETAIL_SYNC_ORDERS"
ORDERS = f"""
CREATE TABLE {NAME} (
    region VARCHAR2(10), id NUMBER(10), note NVARCHAR2(50), price NUMBER(10, 2), ratio BINARY_DOUBLE, day DATE,
    at TIMESTAMP(9), zoned TIMESTAMP(3) WITH TIME ZONE, data RAW(20), body CLOB, PRIMARY KEY (region, id)
)
"""
FILL = f"""
INSERT INTO {NAME} SELECT CASE MOD(LEVEL, 2) WHEN 0 THEN 'a-b' ELSE 'aa' END, LEVEL + {{0}}, N'é', 1.5, 0.1D,
    DATE '1582-10-04', TIMESTAMP '2020-01-02 03:04:05.123456789', TIMESTAMP '2020-01-02 03:04:05.123 +02:00',
    HEXTORAW('00FF'), RPAD('x', 4000, 'x')
FROM dual CONNECT BY LEVEL <= {{1}}
"""
CHANGES = (
    FILL.format(1000, 50),
    f"UPDATE {NAME} SET note = N'changed' WHERE MOD(id, 7) = 0",
    f"UPDATE {NAME} SET region = 'moved' WHERE MOD(id, 11) = 0",
    f"UPDATE {NAME} SET body = NULL, data = NULL WHERE MOD(id, 13) = 0",
    f"DELETE FROM {NAME} WHERE MOD(id, 5) = 0",
)


def execute(connection: Connection, *statements: str) -> None:
    with closing(connect(connection, "retail-sync test")) as session, closing(session.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)
            session.commit()


@pytest.fixture
def source() -> Iterator[Connection]:
    text = os.environ.get(VARIABLE)
    if not text:
        pytest.skip(f"no Oracle: set {VARIABLE} to oracle://login:password@host:port/service")
    made = parse("source", text)
    execute(made, ORDERS, FILL.format(0, 500))
    yield made
    execute(made, f"DROP TABLE {NAME} PURGE")


@pytest.fixture
def shop(source: Connection) -> Replication:
    tables = [f"{source.login.upper()}.{NAME}"]
    return replication("oracle_shop", kind=Kind.ORACLE, tables=tables, target_schema="oracle_copy", chunk_rows=100)


def followed(stage: CdcStage, run_id: str, of: Replication) -> dict[str, Any]:
    figures = follow(run_of(stage, run_id, of), Task(compare=True))
    assert [table["equal"] for table in figures["compared"]] == [True]
    return figures


def test_a_table_is_copied_and_follows_what_is_done(cdc_stage: CdcStage, source: Connection, shop: Replication) -> None:
    stage = replace(cdc_stage, source_connection=source)
    (copied,) = replicate.copy(run_of(stage, "start", shop))
    assert copied.rows == 500
    followed(stage, "nothing new", shop)
    execute(source, *CHANGES)
    assert followed(stage, "changes", shop)["events"] > 0
    again = followed(stage, "again", shop)
    assert (again["upserted"], again["deleted"]) == (0, 0)


def test_a_stream_ends_while_a_transaction_is_open_and_brings_it_later(
    cdc_stage: CdcStage, source: Connection, shop: Replication
) -> None:
    stage = replace(cdc_stage, source_connection=source)
    replicate.copy(run_of(stage, "start", shop))
    with closing(connect(source, "retail-sync test")) as session, closing(session.cursor()) as cursor:
        cursor.execute(f"UPDATE {NAME} SET note = N'open'")
        followed(stage, "while it is open", shop)
        session.commit()
    assert followed(stage, "after it", shop)["upserted"] == 500


def test_the_log_ends_after_what_is_committed(source: Connection) -> None:
    oracle = OracleCdcSource(source)
    before = oracle.end()
    execute(source, f"UPDATE {NAME} SET price = 2 WHERE id = 1")
    assert oracle.end() > before
