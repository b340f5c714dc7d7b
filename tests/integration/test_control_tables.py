"""The control database has the tables of the orders sync, made or adopted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg import sql
from typer.testing import CliRunner

from include import checks, migrations
from include.cli.app import app
from include.connections import Connection, parse
from include.demo.postgres import EmbeddedPostgres
from include.engines.factory import metadata_engine
from include.errors import AccessDenied
from include.locks import LockSpace, Name, hold
from include.orders_sync.adoption import Difference, differences
from include.orders_sync.pipelines import PIPELINES, PROFILER
from include.orders_sync.tables import metadata
from include.settings import Settings
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
OLD = """
    CREATE TABLE pipelines (id serial PRIMARY KEY, code text NOT NULL, description text);
    CREATE UNIQUE INDEX pipelines_by_code ON pipelines (code);
    INSERT INTO pipelines VALUES (1, 'leads', 'of others'), (2, 'uc_orders_sync', 'our own words');

    CREATE TABLE pipeline_run_summaries (id bigserial PRIMARY KEY, pipeline_name text NOT NULL, run_id text UNIQUE,
        run_env varchar(32) NOT NULL, started_at timestamptz NOT NULL, overall_status varchar(32) NOT NULL);
    INSERT INTO pipeline_run_summaries (pipeline_name, run_id, run_env, started_at, overall_status)
    VALUES ('uc_orders_sync', 'old', 'prod', now(), 'success_with_warnings');

    CREATE TABLE orders_sync_log (id bigserial PRIMARY KEY, pipeline_id bigint NOT NULL, run_id varchar(64) NOT NULL,
        run_env varchar(32) NOT NULL, cost_center varchar(8), store_code varchar(8) NOT NULL, from_date date NOT NULL,
        to_date date NOT NULL, orders_pulled_at timestamptz, sales_pulled_at timestamptz, status varchar(16) NOT NULL
        CHECK (status IN ('running', 'success')), attempt_no int NOT NULL DEFAULT 1, error_message text);
    INSERT INTO orders_sync_log (pipeline_id, run_id, run_env, store_code, from_date, to_date, status)
    VALUES (2, 'old', 'prod', 'A1', '2025-01-01', '2025-01-31', 'success'),
           (2, 'unknown', 'prod', 'A1', '2025-02-01', '2025-01-01', 'success');

    CREATE TABLE store_master (store_code varchar(8), store_name text, notes text NOT NULL);
    INSERT INTO store_master VALUES ('A1', 'First', ''), ('A1', 'First again', '');

    CREATE TABLE orders (id bigserial, cost_center varchar(8) NOT NULL, order_number varchar(20) NOT NULL,
        order_date timestamp NOT NULL, customer_name text NOT NULL DEFAULT '', stars int, branch text NOT NULL);
    INSERT INTO orders (cost_center, order_number, order_date, branch)
    SELECT 'C1', 'ORD-1', '2025-01-05 10:00', 'x' FROM generate_series(1, 2);

    CREATE TABLE sales (id bigserial PRIMARY KEY, cost_center varchar(8) NOT NULL, order_number varchar(64) NOT NULL,
        payment_date timestamptz NOT NULL);
    CREATE UNIQUE INDEX sales_once ON sales (order_number) WHERE id > 100;
    INSERT INTO sales (cost_center, order_number, payment_date)
    SELECT 'C1', 'ORD-' || n / 2, '2025-01-05 10:00+0530' FROM generate_series(2, 4) AS n;

    CREATE TABLE stg_td_orders (order_number varchar(64) PRIMARY KEY);
    CREATE TABLE of_others (id int);
"""
OLD_TABLES = ("pipelines", "pipeline_run_summaries", "orders_sync_log", "store_master", "orders", "sales")

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


@pytest.fixture
def old(server: EmbeddedPostgres, empty: Connection) -> Connection:
    with connect(server, empty) as session:
        session.execute(OLD)
    return empty


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


def downgrade(connection: Connection, revision: str) -> None:
    config = migrations._config("control", "postgres")
    with metadata_engine(connection).connect() as session:
        config.attributes["connection"] = session
        command.downgrade(config, revision)


def test_a_downgrade_keeps_tables_and_rows(server: EmbeddedPostgres, fresh: Connection) -> None:
    before = shape_of(server, fresh)
    with connect(server, fresh) as session:
        add_window(session)
    downgrade(fresh, "110")
    assert fetch(server, fresh, "SELECT count(*) FROM orders_sync_log") == [(1,)]
    assert "7201" not in str(fetch(server, fresh, "SELECT pg_get_viewdef('retail_sync.lock_holders'::regclass)"))
    assert "public.orders lacks the trigger that keeps updated_at" in texts(fresh)
    migrations.migrate("control", fresh)
    assert shape_of(server, fresh) == before


def test_what_statuses_were_reported_is_added_without_touching_a_row(
    server: EmbeddedPostgres, fresh: Connection
) -> None:
    downgrade(fresh, "120")
    lacking = [f"public.orders lacks the column {name}_reported" for name in ("order_status", "payment_status")]
    assert texts(fresh) == lacking
    with connect(server, fresh) as session:
        session.execute("ALTER TABLE orders ADD order_status_reported varchar(32)")
        session.execute("""
            INSERT INTO orders (run_id, store_code, cost_center, order_number, order_date, order_status)
            VALUES ('r', 'A1', 'C1', '1', now(), 'Ready')
        """)
        query = "SELECT xmin, order_status, order_status_reported FROM orders"
        before = session.execute(query).fetchall()
        assert migrations.migrate("control", fresh).up_to_date
        assert session.execute(query).fetchall() == before
    assert texts(fresh) == ["public.orders.order_status_reported is varchar(32), expected text"]


def test_an_older_deployment_keeps_every_row_and_gains_what_it_lacks(server: EmbeddedPostgres, old: Connection) -> None:
    def rows() -> dict[str, list[dict[str, Any]]]:
        with connect(server, old) as session, session.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            return {table: cursor.execute(f"SELECT * FROM {table}").fetchall() for table in OLD_TABLES}  # type: ignore[arg-type]

    before = rows()
    assert migrations.migrate("control", old).up_to_date
    after = rows()
    gained = {row["code"] for row in after["pipelines"][2:]}
    assert gained == {"td_orders_sync", PROFILER}
    for table, present in before.items():
        kept = [{name: row[name] for name in present[0]} for row in after[table]]
        assert [row for row in present if row not in kept] == []
        assert table == "pipelines" or len(kept) == len(present)
    assert [row["payment_no"] for row in sorted(after["sales"], key=lambda row: row["id"])] == [1, 2, 1]
    assert all(row["sync_config"] == {} for row in after["store_master"])
    assert not [text for text in texts(old) if "lacks the column" in text or "is missing" in text]
    with connect(server, old) as session:
        assert one(session, "SELECT count(*) FROM pg_indexes WHERE tablename = 'pipelines'") == 2
        add_window(session, orders_inserted=5)
    assert migrations.migrate("control", old).up_to_date


def test_what_differs_in_an_older_deployment_is_told(
    server: EmbeddedPostgres, old: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.migrate("control", old)
    found = {item.text: item for item in differences(old)}
    breaking = {
        "public.orders.order_date is timestamp without time zone, expected timestamp with time zone",
        "public.orders.order_number is varchar(20), expected varchar(64)",
        "public.orders.customer_name is NOT NULL, expected to be NULL at times",
        "public.orders lacks the unique key (cost_center, order_number, order_date)",
        "public.orders.branch is NOT NULL without a default, and the sync does not fill it",
        "public.store_master lacks the unique key (store_code)",
        "public.stg_td_orders lacks the unique key (store_code, row_number)",
        "public.stg_td_orders has the unique key (order_number), which refuses rows of the sync",
    }
    harmless = {
        "public.pipelines.id is integer, expected bigint",
        "public.pipelines.code is text, expected varchar(64)",
        "public.pipeline_run_summaries.pipeline_name is text, expected varchar(64)",
        "public.pipeline_run_summaries.run_id is text, expected varchar(64)",
        "public.pipeline_run_summaries.run_id may be NULL, expected NOT NULL",
        "public.pipeline_run_summaries.overall_status is varchar(32), expected varchar(16)",
        "public.pipeline_run_summaries lacks the check overall_status IN ('running', 'partial', 'success', 'failed')",
        "public.store_master.store_code may be NULL, expected NOT NULL",
        "public.orders_sync_log.run_id does not refer to public.pipeline_run_summaries",
        "public.orders_sync_log lacks the check from_date <= to_date",
        *(f"public.orders.{name} may be NULL, expected NOT NULL" for name in ("run_id", "store_code")),
        *(f"public.sales.{name} may be NULL, expected NOT NULL" for name in ("run_id", "store_code")),
    }
    breaking |= {text for text in found if "has the check orders_sync_log_status_check of its own: status" in text}
    assert {text for text, item in found.items() if item.breaks} == breaking
    assert {text for text, item in found.items() if not item.breaks} == harmless

    for variable in ("AIRFLOW_CONN_CONTROL", "AIRFLOW_CONN_WAREHOUSE"):
        monkeypatch.setenv(variable, server.uri(old.database))
    done = CliRunner().invoke(app, ["migrate"])
    assert done.exit_code == 0
    printed = done.output.splitlines()
    assert set(found) <= set(printed)
    looked_at = {finding.found: finding.ok for finding in checks._control(Settings())}
    assert {text for text, ok in looked_at.items() if not ok} == breaking


def test_a_remedy_mends_what_it_is_for(server: EmbeddedPostgres, old: Connection) -> None:
    migrations.migrate("control", old)
    with connect(server, old) as session:
        session.execute("DELETE FROM orders WHERE id = 2")
        session.execute("DROP INDEX ix_orders_sync_log_lookup; DROP TRIGGER retail_sync_updated_at ON sales")
        session.execute("ALTER TABLE store_master DROP COLUMN sync_config; DELETE FROM pipelines WHERE id > 2")
    wanted = (
        *("lacks the unique key (cost_center, order_number", "lacks the index", "lacks the trigger"),
        *("lacks the column", "has no row", "branch is NOT NULL"),
    )

    def mendable() -> list[Difference]:
        return [item for item in differences(old) if any(text in item.text for text in wanted)]

    assert len(mendable()) == len(wanted) + 1
    with connect(server, old) as session:
        for item in mendable():
            session.execute(item.remedy)  # type: ignore[arg-type]
    assert mendable() == []


def test_a_login_that_does_not_own_a_table_is_told_what_it_lacks(server: EmbeddedPostgres, empty: Connection) -> None:
    with connect(server, empty) as session:
        session.execute("DROP ROLE IF EXISTS syncer")
        session.execute("CREATE ROLE syncer LOGIN")
        session.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO syncer").format(sql.Identifier(empty.database)))
        session.execute("GRANT CREATE, USAGE ON SCHEMA public TO syncer")
        session.execute("CREATE TABLE store_master (id bigserial PRIMARY KEY, store_code varchar(8) NOT NULL UNIQUE)")
        session.execute("GRANT SELECT ON store_master TO syncer")
    weak = parse("control", server.uri(empty.database).replace("postgres@", "syncer@"))
    expected = "public.store_master lacks the column store_name: must be owner of table store_master"
    with pytest.raises(AccessDenied, match=expected):
        migrations.migrate("control", weak)
    assert migrations.state("control", weak).current is None
    with connect(server, empty) as session:
        session.execute("""
            ALTER TABLE store_master ADD store_name text, ADD is_active boolean NOT NULL DEFAULT true,
            ADD sync_group varchar(2), ADD sync_orders_flag boolean NOT NULL DEFAULT true, ADD start_date date,
            ADD cost_center varchar(8), ADD sync_config jsonb NOT NULL DEFAULT '{}',
            ADD created_at timestamptz NOT NULL DEFAULT now(), ADD updated_at timestamptz NOT NULL DEFAULT now()
        """)
    assert migrations.migrate("control", weak).up_to_date
    assert texts(weak) == [
        "public.store_master lacks the check sync_group IN ('TD', 'UC')",
        "public.store_master lacks the trigger that keeps updated_at",
    ]
    with connect(server, empty) as session:
        session.execute("DROP OWNED BY syncer CASCADE; DROP ROLE syncer")
