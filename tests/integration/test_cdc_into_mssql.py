"""A database that is followed into a SQL Server, where ``RETAIL_SYNC_TEST_MSSQL`` names one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from include import migrations
from include.cdc import health, replicate
from include.cdc.follow import Task, follow
from include.connections import Connection
from include.demo.dsn import VARIABLE, odbc_connection
from include.engines.mssql.connect import connect
from tests.integration.cdc import CdcStage, replication, run_of

SHOP = replication("shop", tables=["public.*"], target_schema="shop_copy", chunk_rows=300)
SOFT = replication("shop", tables=["public.*"], target_schema="shop_copy", chunk_rows=300, deletes="soft")
SOURCE = (
    """
    CREATE TABLE public.orders (
        code varchar(20), line int, note text, total numeric(10, 2), rate double precision, is_open boolean,
        tag uuid, at timestamptz, day date, clock time(3), data bytea, tags text[], doc jsonb, PRIMARY KEY (code, line)
    )
    """,
    """
    INSERT INTO public.orders SELECT CASE n % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'A' ELSE 'a ' END || n / 3, n,
        repeat('ü😀', n % 50), n / 4.0, n / 3.0, n % 2 = 0, gen_random_uuid(), '2026-01-01 10:00:00.123456+02',
        '2026-01-01', '23:59:59.999', '\\x00ff', ARRAY['x', NULL, n::text], '{"n": 1}'
    FROM generate_series(1, 1000) AS n
    """,
)
CHANGES = (
    "UPDATE public.orders SET note = upper(note), is_open = NULL WHERE line % 5 = 0",
    "UPDATE public.orders SET code = 'moved' WHERE line % 7 = 0",
    "DELETE FROM public.orders WHERE line % 11 = 0",
    "INSERT INTO public.orders (code, line) SELECT 'new', n FROM generate_series(2001, 2100) AS n",
)


def query(connection: Connection, statement: str) -> list[tuple[Any, ...]]:
    with closing(connect(connection, "retail-sync test", autocommit=True)) as session:
        cursor = session.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


@pytest.fixture
def stage(cdc_stage: CdcStage) -> Iterator[CdcStage]:
    text = os.environ.get(VARIABLE)
    if not text:
        pytest.skip(f"no SQL Server: set {VARIABLE} to an ODBC connection string")
    server, name = odbc_connection(text), f"rs_cdc_{uuid.uuid4().hex[:8]}"
    query(server, f"CREATE DATABASE {name}")
    made = replace(server, database=name)
    try:
        migrations.migrate("warehouse", made)
        cdc_stage.at_source(*SOURCE)
        yield replace(cdc_stage, warehouse_connection=made)
    finally:
        query(server, f"ALTER DATABASE {name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
        query(server, f"DROP DATABASE {name}")


def followed(stage: CdcStage, run_id: str, of: Any = SHOP) -> dict[str, Any]:
    figures = follow(run_of(stage, run_id, of), Task(compare=True))
    assert [table["equal"] for table in figures["compared"]] == [True]
    return figures


def test_a_table_is_copied_and_follows_what_is_done(stage: CdcStage) -> None:
    (copied,) = replicate.copy(run_of(stage, "start", SHOP))
    assert copied.rows == 1000
    followed(stage, "nothing new")
    stage.at_source(*CHANGES)
    assert followed(stage, "changes")["dead"] == 0
    again = followed(stage, "again")
    assert (again["upserted"], again["deleted"]) == (0, 0)
    assert health.check(run_of(stage, "look", SHOP)).status is health.Verdict.HEALTHY


def test_rows_that_are_deleted_stay_where_that_is_wanted(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start", SOFT))
    stage.at_source(*CHANGES)
    followed(stage, "changes", SOFT)
    kept = "SELECT COUNT(*) FROM shop_copy.orders WHERE _deleted_at IS NOT NULL"
    deleted = query(stage.warehouse_connection, kept)
    assert deleted[0][0] > 90
    replicate.copy(run_of(stage, "resync", SOFT), resync=True)
    followed(stage, "after", SOFT)
    assert query(stage.warehouse_connection, kept) == deleted


def test_columns_follow_and_rights_survive_a_resync(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start", SHOP))
    query(stage.warehouse_connection, "CREATE ROLE reports")
    query(stage.warehouse_connection, "GRANT SELECT ON shop_copy.orders TO reports")
    stage.at_source(
        "ALTER TABLE public.orders ADD seen boolean NOT NULL DEFAULT true",
        "ALTER TABLE public.orders DROP COLUMN doc",
        "ALTER TABLE public.orders ALTER COLUMN line TYPE bigint",
        *CHANGES,
    )
    followed(stage, "changes")
    replicate.copy(run_of(stage, "resync", SHOP), resync=True)
    followed(stage, "after")
    right = "SELECT COUNT(*) FROM sys.database_permissions WHERE major_id = OBJECT_ID('shop_copy.orders')"
    assert query(stage.warehouse_connection, right) == [(1,)]


def test_what_the_warehouse_cannot_hold_is_a_dead_letter_until_it_can(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start", SHOP))
    stage.at_source(
        "UPDATE public.orders SET rate = 'NaN' WHERE line = 1", "UPDATE public.orders SET rate = 1 WHERE line = 2"
    )
    figures = follow(run_of(stage, "refused", SHOP), Task())
    assert (figures["dead"], figures["upserted"]) == (1, 1)
    ((reason,),) = query(stage.warehouse_connection, "SELECT reason FROM dbo.cdc_dead_letters")
    assert "column rate" in reason
    stage.at_source("UPDATE public.orders SET rate = 2 WHERE line = 1")
    followed(stage, "mended")


def test_a_row_that_is_wrong_is_found(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start", SHOP))
    query(stage.warehouse_connection, "UPDATE shop_copy.orders SET note = N'wrong' WHERE line = 5")
    query(stage.warehouse_connection, "DELETE FROM shop_copy.orders WHERE line = 6")
    (found,) = follow(run_of(stage, "look", SHOP), Task(compare=True))["compared"]
    assert (found["equal"], found["missing"], found["extra"], found["different"]) == (False, 1, 0, 1)
