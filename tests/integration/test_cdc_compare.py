"""Source and target are compared by what they hold, whatever their settings and collations are."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from include.cdc.changes import TargetTable
from include.cdc.comparison import SAMPLE, TableComparison
from include.cdc.sources.base import SourceTable
from include.cdc.targets.postgres_compare import compare
from include.engines.postgres.connect import connect
from tests.integration.cdc import CdcStage

ORDERS = TargetTable(
    source="public.orders",
    schema="shop",
    name="orders",
    key=("id", "line"),
    columns={"id": "bigint", "line": "text", "note": "text", "amount": "numeric(12,2)"},
)
TYPES = {
    "id": "integer",
    "f": "double precision",
    "r": "real",
    "n": "numeric",
    "iv": "interval",
    "b": "bytea",
    "tz": "timestamp with time zone",
    "j": "jsonb",
    "tags": "text[]",
    "c": "character(5)",
    "mood": "text",
    "moods": "text[]",
    "code": "character varying(4)",
}


@pytest.fixture
def orders(cdc_stage: CdcStage) -> CdcStage:
    columns = "(id bigint, line text, note text, amount numeric(12,2), PRIMARY KEY (id, line))"
    rows = "SELECT i, 'ä' || i % 3, nullif('n' || i, 'n7'), i * 1.5 FROM generate_series(1, 5000) AS i"
    cdc_stage.at_source(f"CREATE TABLE public.orders {columns}", f"INSERT INTO public.orders {rows}")
    cdc_stage.at_warehouse(
        "CREATE SCHEMA shop", f"CREATE TABLE shop.orders {columns}", f"INSERT INTO shop.orders {rows} ORDER BY i DESC"
    )
    return cdc_stage


def compared(stage: CdcStage, *tables: TargetTable) -> list[TableComparison]:
    with stage.source.snapshot() as source, connect(stage.warehouse_connection, autocommit=True) as warehouse:
        return compare(source.session, warehouse, tables)


def test_rows_are_read_as_texts_between_two_keys(orders: CdcStage) -> None:
    table, between = SourceTable("public.orders", ("id", "line"), 0), (["6", "ä0"], ["8", "ä2"])
    with orders.source.snapshot() as source:
        assert list(source.texts(table, ORDERS.columns, between)) == [
            ("7", "ä1", None, "10.50"),
            ("8", "ä2", "n8", "12.00"),
        ]


def test_equal_tables_are_equal_in_whatever_order_their_rows_are(orders: CdcStage) -> None:
    assert compared(orders, ORDERS) == [TableComparison("public.orders", 5000, 5000, equal=True)]


def test_keys_that_are_missing_extra_or_different_are_counted_and_some_are_named(orders: CdcStage) -> None:
    orders.at_warehouse(
        "DELETE FROM shop.orders WHERE id IN (3, 4000)",
        "INSERT INTO shop.orders VALUES (9, 'x\"y', '', 1)",
        "UPDATE shop.orders SET note = '' WHERE id = 7",
        "UPDATE shop.orders SET amount = amount + 0.01 WHERE id = 8",
    )
    (found,) = compared(orders, ORDERS)
    assert (found.rows_source, found.rows_target, found.equal) == (5000, 4999, False)
    assert (found.missing, found.extra, found.different) == (2, 1, 2)
    keys = {("3", "ä0"), ("4000", "ä1"), ("9", 'x"y'), ("7", "ä1"), ("8", "ä2")}
    assert set(found.sample_keys) == keys


def test_no_more_keys_than_a_sample_are_named(orders: CdcStage) -> None:
    orders.at_warehouse("UPDATE shop.orders SET note = NULL")
    (found,) = compared(orders, ORDERS)
    assert found.different == 4999  # one had none before
    assert len(found.sample_keys) == SAMPLE


def test_values_that_only_swap_their_columns_are_different(orders: CdcStage) -> None:
    orders.at_warehouse("UPDATE shop.orders SET note = line, line = note WHERE id = 5")
    (found,) = compared(orders, ORDERS)
    assert (found.missing, found.extra) == (1, 1)


def test_rows_that_were_deleted_softly_do_not_count(orders: CdcStage) -> None:
    orders.at_source("DELETE FROM public.orders WHERE id <= 10")
    orders.at_warehouse(
        "ALTER TABLE shop.orders ADD COLUMN _deleted_at timestamptz",
        "UPDATE shop.orders SET _deleted_at = now() WHERE id <= 10",
    )
    soft = TargetTable(ORDERS.source, ORDERS.schema, ORDERS.name, ORDERS.key, ORDERS.columns, soft=True)
    assert compared(orders, soft) == [TableComparison("public.orders", 4990, 4990, equal=True)]


def test_columns_that_one_side_lacks_are_left_out(orders: CdcStage) -> None:
    orders.at_source("ALTER TABLE public.orders DROP COLUMN note", "ALTER TABLE public.orders ADD COLUMN later int")
    assert compared(orders, ORDERS)[0].equal


def test_a_table_that_is_not_there_is_not_equal(orders: CdcStage) -> None:
    orders.at_warehouse("DROP TABLE shop.orders")
    assert compared(orders, ORDERS) == [TableComparison("public.orders", 5000, 0, equal=False)]


def with_settings(stage: CdcStage) -> psycopg.Connection[Any]:
    session = connect(stage.warehouse_connection, autocommit=True)
    session.execute("SET intervalstyle = 'iso_8601'")
    session.execute("SET bytea_output = 'escape'")
    return session


def test_types_and_settings_of_the_servers_make_no_difference(cdc_stage: CdcStage) -> None:
    rows = """
        (1, 'NaN', 0.1, 1.50, '1 year 2 days 3:04:05.6', '\\x00ff', '2024-01-01 10:00+05', '{"b": 1, "a": "x"}',
         '{"a,b",NULL,""}', 'ab', 'sad', '{sad,NULL}', 'x'),
        (2, '-Infinity', '-0', 'NaN', '-1 day', NULL, 'infinity', NULL, NULL, NULL, NULL, NULL, NULL)
    """
    source_types = {**TYPES, "mood": "mood", "moods": "mood[]", "code": "code"}
    cdc_stage.at_source(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE DOMAIN code AS character varying(4) CHECK (value <> '')",
        f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, kind in source_types.items())}, PRIMARY KEY (id))",
        f"INSERT INTO t VALUES {rows}",
    )
    cdc_stage.at_warehouse(
        "CREATE SCHEMA shop",
        f"CREATE TABLE shop.t ({', '.join(f'{name} {kind}' for name, kind in TYPES.items())}, PRIMARY KEY (id))",
        f"INSERT INTO shop.t VALUES {rows}",
    )
    table = TargetTable("public.t", "shop", "t", ("id",), TYPES)
    with cdc_stage.source.snapshot() as source, with_settings(cdc_stage) as warehouse:
        assert compare(source.session, warehouse, [table]) == [TableComparison("public.t", 2, 2, equal=True)]
