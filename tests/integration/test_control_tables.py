"""The control database has the tables of the orders sync, made or adopted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg import sql

from include import migrations
from include.connections import Connection, parse
from include.demo.postgres import EmbeddedPostgres
from include.engines.factory import metadata_engine
from include.locks import LockSpace, Name, hold
from include.orders_sync.adoption import differences
from include.orders_sync.pipelines import PIPELINES, PROFILER
from include.orders_sync.tables import metadata
from tests.integration.conftest import drop_database, fresh_database
from tests.integration.helpers import one

#: As the issue writes them; the row counters come after.
LOG_COLUMNS = """
    id bigint NOT NULL DEFAULT nextval('orders_sync_log_id_seq'::regclass)
    pipeline_id bigint NOT NULL
    run_id character varying(64) NOT NULL
    run_env character varying(32) NOT NULL
    cost_center character varying(8)
    store_code character varying(8) NOT NULL
    from_date date NOT NULL
    to_date date NOT NULL
    orders_pulled_at timestamp with time zone
    sales_pulled_at timestamp with time zone
    status character varying(16) NOT NULL
    attempt_no integer NOT NULL DEFAULT 1
    error_message text
    created_at timestamp with time zone NOT NULL DEFAULT now()
    updated_at timestamp with time zone NOT NULL DEFAULT now()
    orders_downloaded integer
    orders_ingested integer
    orders_inserted integer
    orders_updated integer
    orders_dropped integer
    sales_downloaded integer
    sales_ingested integer
    sales_inserted integer
    sales_updated integer
    sales_dropped integer
"""
LOG_INDEXES = {
    "orders_sync_log_pkey": "UNIQUE (id)",
    "uq_orders_sync_log_window": "UNIQUE (pipeline_id, store_code, from_date, to_date, run_id)",
    "ix_orders_sync_log_lookup": "(pipeline_id, store_code, from_date, to_date, status)",
    "ix_orders_sync_log_store_recent": "(store_code, created_at DESC)",
    "ix_orders_sync_log_pipeline_recent": "(pipeline_id, created_at DESC)",
    "ix_orders_sync_log_success": "(pipeline_id, store_code, from_date, to_date) INCLUDE"
    " (orders_pulled_at, sales_pulled_at) WHERE ((status)::text = 'success'::text)",
}
COLUMNS = """
    SELECT relname, concat_ws(' ', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
                              'DEFAULT ' || pg_get_expr(adbin, adrelid))
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef d ON adrelid = c.oid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    ORDER BY relname, attnum
"""
RULES = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'seeds', code, description FROM public.pipelines
    UNION ALL SELECT 'retail_sync', viewname, definition FROM pg_views WHERE schemaname = 'retail_sync'
    ORDER BY 1, 2, 3
"""

Row = tuple[Any, ...]


@pytest.fixture
def empty(server: EmbeddedPostgres) -> Iterator[Connection]:
    name = fresh_database(server, "tables")
    yield parse("control", server.uri(name))
    drop_database(server, name)


@pytest.fixture
def fresh(server: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[Connection]:
    name = fresh_database(server, "tables", templates["control"])
    yield parse("control", server.uri(name))
    drop_database(server, name)


def connect(server: EmbeddedPostgres, connection: Connection) -> psycopg.Connection[Any]:
    return psycopg.connect(server.dsn(connection.database), autocommit=True)


def fetch(server: EmbeddedPostgres, connection: Connection, query: str) -> list[Row]:
    with connect(server, connection) as session:
        return session.execute(query).fetchall()  # type: ignore[arg-type]


def shape_of(server: EmbeddedPostgres, connection: Connection) -> tuple[list[Row], list[Row]]:
    return fetch(server, connection, COLUMNS), fetch(server, connection, RULES)


def tables_of(server: EmbeddedPostgres, connection: Connection) -> tuple[list[Row], set[Row]]:
    """Return columns, constraints and indexes without what has no place in SQLAlchemy's metadata."""
    ours = {table.name for table in metadata.tables.values()}
    columns, rules = shape_of(server, connection)
    return (
        [row for row in columns if row[0] in ours],
        {row for row in rules if row[0] in ours and "TRIGGER" not in row[2]},
    )


def texts(connection: Connection) -> list[str]:
    return [str(difference) for difference in differences(connection)]


def add_window(session: psycopg.Connection[Any], **values: object) -> int:
    """Write a row of the log with all that it refers to."""
    session.execute("""
        INSERT INTO pipeline_run_summaries (pipeline_name, run_id, run_env, started_at, overall_status)
        VALUES ('td_orders_sync', 'r', 'test', now(), 'running') ON CONFLICT DO NOTHING
    """)
    pipeline = one(session, "SELECT id FROM pipelines WHERE code = 'td_orders_sync'")
    row = {
        "pipeline_id": pipeline,
        "run_id": "r",
        "run_env": "test",
        "store_code": "A1",
        "status": "running",
        "from_date": date(2025, 1, 1),
        "to_date": date(2025, 1, 1),
        **values,
    }
    insert = sql.SQL("INSERT INTO orders_sync_log ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Literal, row.values()))
    )
    return int(one(session, insert))


def test_a_fresh_database_is_what_the_code_says(fresh: Connection) -> None:
    def only_ours(name: str | None, kind: str, parents: Any) -> bool:
        return name == "public" if kind == "schema" else kind != "table" or f"public.{name}" in metadata.tables

    options = {
        "include_schemas": True,
        "include_name": only_ours,
        "compare_type": True,
        "compare_server_default": True,
    }
    with metadata_engine(fresh).connect() as session:
        assert compare_metadata(MigrationContext.configure(session, opts=options), metadata) == []
    assert differences(fresh) == []


def test_a_fresh_database_is_what_the_code_would_make(
    server: EmbeddedPostgres, empty: Connection, fresh: Connection
) -> None:
    with metadata_engine(empty).begin() as session:
        metadata.create_all(session)
    assert tables_of(server, empty) == tables_of(server, fresh)


def test_the_log_is_exactly_what_was_asked_for(server: EmbeddedPostgres, fresh: Connection) -> None:
    found = [column for table, column in fetch(server, fresh, COLUMNS) if table == "orders_sync_log"]
    assert found == [line.strip() for line in LOG_COLUMNS.strip().splitlines()]
    query = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'orders_sync_log'"
    indexes = {
        name: ("UNIQUE " if " UNIQUE " in definition else "") + definition.split(" USING btree ")[1]
        for name, definition in fetch(server, fresh, query)
    }
    assert indexes == LOG_INDEXES


def test_the_pipelines_are_there(server: EmbeddedPostgres, fresh: Connection) -> None:
    rows = fetch(server, fresh, "SELECT code, description FROM pipelines")
    assert {code for code, _ in rows} == {*PIPELINES, PROFILER}
    assert all(description for _, description in rows)


def test_every_update_moves_the_time_also_within_a_transaction(server: EmbeddedPostgres, fresh: Connection) -> None:
    with connect(server, fresh) as session:
        row = add_window(session)
        times = [one(session, "SELECT updated_at FROM orders_sync_log")]
        with session.transaction():
            for status in ("failed", "success"):
                update = (
                    "UPDATE orders_sync_log SET status = %s, updated_at = 'epoch' WHERE id = %s RETURNING updated_at"
                )
                times.append(one(session, update, status, row))
        assert times == sorted(set(times))
    query = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'retail_sync_updated_at'"
    stamped = {table.name for table in metadata.tables.values() if "updated_at" in table.columns}
    assert {name for (name,) in fetch(server, fresh, query)} == stamped


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"status": "done"}, "ck_orders_sync_log_status"),
        ({"from_date": date(2025, 1, 2)}, "ck_orders_sync_log_window"),
        ({"pipeline_id": 0}, "orders_sync_log_pipeline_id_fkey"),
        ({"run_id": "none"}, "orders_sync_log_run_id_fkey"),
        ({}, "uq_orders_sync_log_window"),
    ],
)
def test_the_log_refuses(
    server: EmbeddedPostgres, fresh: Connection, values: dict[str, object], constraint: str
) -> None:
    with connect(server, fresh) as session:
        add_window(session)
        with pytest.raises(psycopg.errors.IntegrityError) as caught:
            add_window(session, **values)
    assert caught.value.diag.constraint_name == constraint


def test_the_view_names_the_locks_of_the_sync(server: EmbeddedPostgres, fresh: Connection) -> None:
    spaces = (LockSpace.STORE, LockSpace.WORKER, LockSpace.RUN)
    with hold(fresh, [Name(space, "a") for space in spaces], holder="somebody", wait=0):
        found = fetch(server, fresh, "SELECT lock_space, holder FROM retail_sync.lock_holders")
    assert sorted(found) == [(name, "somebody") for name in ("run", "store", "worker")]


def test_psql_makes_the_same_database_of_what_is_printed(
    server: EmbeddedPostgres, empty: Connection, fresh: Connection
) -> None:
    command_line = [server.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", server.dsn(empty.database)]
    printed = migrations.offline_sql("control", empty)
    done = subprocess.run(command_line, input=printed, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert shape_of(server, empty) == shape_of(server, fresh)
    assert migrations.state("control", empty).up_to_date
