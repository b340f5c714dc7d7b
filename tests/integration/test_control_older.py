"""A control database that an older deployment left, or that goes back a revision, keeps its rows."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from alembic import command
from psycopg import sql
from typer.testing import CliRunner

from include import checks, migrations
from include.cli.app import app
from include.connections import Connection, parse
from include.demo.postgres import EmbeddedPostgres
from include.engines.factory import metadata_engine
from include.errors import AccessDenied
from include.orders_sync.adoption import Difference, differences
from include.orders_sync.pipelines import PROFILER
from include.settings import Settings
from tests.integration.helpers import one
from tests.integration.test_control_tables import add_window, connect, empty, fetch, fresh, shape_of, texts

__all__ = ["empty", "fresh"]

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


@pytest.fixture
def old(server: EmbeddedPostgres, empty: Connection) -> Connection:
    with connect(server, empty) as session:
        session.execute(OLD)
    return empty


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
