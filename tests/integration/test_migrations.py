"""A migrated database is what the catalog and the code say, however often and by whomever it is migrated."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

import include.cdc.tables  # noqa: F401 (adds its tables to the metadata)
from include import migrations
from include.catalog import Catalog, Table
from include.connections import Connection, parse
from include.demo.postgres import EmbeddedPostgres
from include.engines.factory import metadata_engine
from include.engines.postgres.types import postgres_type
from include.errors import AccessDenied
from include.metadata import metadata
from tests.integration.conftest import drop_database, fresh_database
from tests.integration.helpers import CATALOG, one

COLUMNS = """
    SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE relnamespace = 'dbo'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
    ORDER BY relname, attnum
"""
SHAPE = """
    SELECT n.nspname, c.relname, c.relkind::text, c.relispartition, pg_get_expr(c.relpartbound, c.oid),
           pg_get_partkeydef(c.oid), i.indexdef
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_indexes i ON i.schemaname = n.nspname AND i.indexname = c.relname
    WHERE n.nspname IN ('dbo', 'staging', 'retail_sync', 'public') ORDER BY 1, 2
"""

Row = tuple[Any, ...]

OWN_TABLES = {table.name for table in metadata.tables.values()}


@pytest.fixture
def empty(server: EmbeddedPostgres) -> Iterator[Connection]:
    name = fresh_database(server, "empty")
    yield parse("empty", server.uri(name))
    drop_database(server, name)


@pytest.fixture
def warehouse(server: EmbeddedPostgres, templates: dict[str, str]) -> Connection:
    return parse("warehouse", server.uri(templates["warehouse"]))


def fetch(server: EmbeddedPostgres, connection: Connection, query: str) -> list[Row]:
    with psycopg.connect(server.dsn(connection.database)) as session:
        return session.execute(query).fetchall()  # type: ignore[arg-type]


def schema_of(server: EmbeddedPostgres, connection: Connection) -> tuple[list[Row], list[Row]]:
    return fetch(server, connection, COLUMNS), fetch(server, connection, SHAPE)


def rows_of(table: Table) -> str:
    """Return the name of the relation that holds a new replica's rows."""
    if table.strategy == "refresh":
        return f"{table.target_table}_rows"
    return table.target_table if table.date_is_text else f"{table.target_table}_undated"


def test_the_warehouse_has_the_columns_of_the_catalog_in_their_order(
    server: EmbeddedPostgres, warehouse: Connection
) -> None:
    found: dict[str, list[tuple[str, str]]] = {}
    for relation, column, type_, not_null in fetch(server, warehouse, COLUMNS):
        found.setdefault(relation, []).append((column, type_))
        assert relation in OWN_TABLES or not not_null
    with psycopg.connect(server.dsn(warehouse.database)) as session:
        # the server's own name of a type: varchar(20) is character varying(20) there
        spelt = {
            text: one(session, "SELECT format_type(to_regtype(%s), to_regtypemod(%s))", text, text)
            for text in {postgres_type(type_) for table in CATALOG for type_ in table.columns.values()}
        }
    for table in CATALOG:
        if table.columns:
            expected = [(name, spelt[postgres_type(type_)]) for name, type_ in table.columns.items()]
            assert found[table.target_table] == expected
    expected_names = {name for table in CATALOG if table.columns for name in (table.target_table, rows_of(table))}
    assert set(found) == expected_names | OWN_TABLES


def test_tables_are_partitioned_by_a_real_date_or_have_a_single_partition(
    server: EmbeddedPostgres, warehouse: Connection
) -> None:
    found = {row[1]: row[5] for row in fetch(server, warehouse, SHAPE) if row[0] == "dbo" and row[2] == "p"}
    assert found == {
        table.target_table: f'RANGE ("{table.key[0] if table.strategy == "refresh" else table.date}")'
        for table in CATALOG
        if table.columns and rows_of(table) != table.target_table
    }


def test_the_key_is_unique_wherever_rows_are(server: EmbeddedPostgres, warehouse: Connection) -> None:
    unique = {row[6].split(" ON ")[1].split(" ")[0] for row in fetch(server, warehouse, SHAPE) if row[6]}
    for table in CATALOG:
        if table.columns:
            assert f'dbo."{rows_of(table)}"' in unique


def test_our_own_tables_are_the_same_in_migration_and_code(warehouse: Connection) -> None:
    def only_ours(name: str | None, kind: str, parents: Any) -> bool:
        return name == "dbo" if kind == "schema" else kind != "table" or name in OWN_TABLES

    with metadata_engine(warehouse).connect() as session:
        options = {"include_schemas": True, "include_name": only_ours, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(session, opts=options), metadata) == []
        for table in metadata.sorted_tables:
            column = next(column.name for column in table.columns if isinstance(column.type, sa.Unicode))
            session.execute(sa.text(f"ALTER TABLE dbo.{table.name} ALTER COLUMN {column} TYPE varchar(10)"))
            assert compare_metadata(MigrationContext.configure(session, opts=options), metadata) != []
            session.rollback()


@pytest.mark.parametrize("target", ["warehouse", "control"])
def test_migrating_again_changes_nothing(
    server: EmbeddedPostgres, empty: Connection, target: migrations.Target
) -> None:
    assert migrations.state(target, empty).current is None
    first = migrations.migrate(target, empty)
    before = schema_of(server, empty) if target == "warehouse" else fetch(server, empty, SHAPE)
    assert first.up_to_date
    assert migrations.migrate(target, empty) == first == migrations.state(target, empty)
    assert (schema_of(server, empty) if target == "warehouse" else fetch(server, empty, SHAPE)) == before


@pytest.mark.parametrize("target", ["warehouse", "control"])
def test_four_may_migrate_at_once(server: EmbeddedPostgres, empty: Connection, target: migrations.Target) -> None:
    with ThreadPoolExecutor(max_workers=4) as pool:
        states = list(pool.map(lambda _: migrations.migrate(target, empty), range(4)))
    assert all(state.up_to_date for state in states)
    assert len(states) == 4
    if target == "warehouse":
        assert migrations.missing_replicas(empty, CATALOG) == []


def test_printed_statements_make_the_same_warehouse(
    server: EmbeddedPostgres, empty: Connection, warehouse: Connection
) -> None:
    printed = migrations.offline_sql("warehouse", empty)
    with psycopg.connect(server.dsn(empty.database), autocommit=True) as session:
        session.execute(printed)  # type: ignore[arg-type]
    assert schema_of(server, empty) == schema_of(server, warehouse)
    assert migrations.state("warehouse", empty).up_to_date
    assert migrations.migrate("warehouse", empty).up_to_date


def test_printed_statements_make_the_same_control_database(
    server: EmbeddedPostgres, empty: Connection, templates: dict[str, str]
) -> None:
    with psycopg.connect(server.dsn(empty.database), autocommit=True) as session:
        session.execute(migrations.offline_sql("control", empty))  # type: ignore[arg-type]
    control = parse("control", server.uri(templates["control"]))
    assert fetch(server, empty, SHAPE) == fetch(server, control, SHAPE)
    assert ("retail_sync", "lock_holders", "v") in {row[:3] for row in fetch(server, empty, SHAPE)}
    assert fetch(server, empty, "SELECT * FROM retail_sync.lock_holders") == []


def test_a_table_that_the_catalog_gained_is_made_by_the_next_migrate(
    server: EmbeddedPostgres, empty: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.migrate("warehouse", empty)
    model = CATALOG["APP_4_VOUCHER"]
    gained = Table.model_validate(
        {
            **model.model_dump(exclude={"columns"}),
            "name": "GAINED",
            "target_table": "com_5013_GAINED",
            "columns": {name: str(type_) for name, type_ in model.columns.items()},
        }
    )
    larger = Catalog({**CATALOG.tables, "GAINED": gained})
    assert migrations.missing_replicas(empty, larger) == ["com_5013_GAINED"]
    monkeypatch.setattr(migrations, "load", lambda: larger)
    migrations.migrate("warehouse", empty)
    assert migrations.missing_replicas(empty, larger) == []
    shape = {row[1]: row[2] for row in fetch(server, empty, SHAPE)}
    assert (shape["com_5013_GAINED"], shape["com_5013_GAINED_undated"]) == ("p", "r")


def test_migrating_keeps_the_rows(server: EmbeddedPostgres, empty: Connection) -> None:
    migrations.migrate("warehouse", empty)
    with psycopg.connect(server.dsn(empty.database), autocommit=True) as session:
        session.execute('INSERT INTO dbo."com_5013_APP_4_SALES" ("ID") VALUES (1)')
    migrations.migrate("warehouse", empty)
    assert fetch(server, empty, 'SELECT "ID" FROM dbo."com_5013_APP_4_SALES"') == [(1,)]


@pytest.mark.parametrize("target", ["warehouse", "control"])
def test_a_login_without_rights_is_told_so(
    server: EmbeddedPostgres, empty: Connection, target: migrations.Target
) -> None:
    with psycopg.connect(server.dsn(empty.database), autocommit=True) as session:
        session.execute("DROP ROLE IF EXISTS powerless")
        session.execute("CREATE ROLE powerless LOGIN")
    weak = parse("weak", server.uri(empty.database).replace("postgres@", "powerless@"))
    with pytest.raises(AccessDenied, match=r"weak \(postgres powerless@.*: permission denied"):
        migrations.migrate(target, weak)
    assert migrations.state(target, empty).current is None
