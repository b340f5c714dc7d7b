"""What several tests share: looks at both databases that use none of the engine's own comparing, and observers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql

from include import catalog
from include.catalog import Table
from include.replication.observe import Step
from include.replication.replicate import Report, Run, replicate
from include.windows import UNDATED, Span, Undated, Window, months
from tests.integration.conftest import WINDOW, Stage

CATALOG = catalog.load()
SALES, ITEMS, PAYMENTS = (CATALOG[f"APP_4_{name}"] for name in ("SALES", "SALESITEM", "PAYMENT"))


@dataclass
class Watch:
    """Notes every step, and acts when one begins or when rows arrive."""

    at: dict[Step, Callable[[], object]] = field(default_factory=dict)
    on_rows: Callable[[int, int], object] | None = None
    steps: list[Step] = field(default_factory=list)

    def step(self, step: Step) -> None:
        self.steps.append(step)
        if step in self.at:
            self.at[step]()

    def rows(self, rows: int, size: int) -> None:
        if self.on_rows:
            self.on_rows(rows, size)


def load(run: Run, table: Table, *spans: Span) -> list[Report]:
    return [replicate(run, table, span, Watch()) for span in spans]


def load_all(run: Run, table: Table) -> list[Report]:
    """Replicate every month that the source has, and the rows without a date."""
    return load(run, table, *months(WINDOW), UNDATED)


def source_of(table: Table) -> sql.Identifier:
    return sql.Identifier(table.source_schema, table.name)


def replica_of(table: Table) -> sql.Identifier:
    return sql.Identifier(table.target_schema, table.target_table)


def inside(table: Table, span: Span | None) -> sql.Composable:
    """Return the condition of a span, written another way than the engine writes it."""
    if span is None:
        return sql.SQL("true")
    column = sql.Identifier(table.date or "")
    if table.date_is_text:
        assert isinstance(span, Window)
        days = [(span.start + timedelta(days=n)).strftime("%d/%m/%Y") for n in range(span.days)]
        return sql.SQL("left({}, 10) = ANY({})").format(column, sql.Literal(days))
    if isinstance(span, Undated):
        return sql.SQL("{} IS NULL").format(column)
    return sql.SQL("date({}) BETWEEN {} AND {}").format(column, sql.Literal(span.start), sql.Literal(span.last_day))


def dump(
    connection: psycopg.Connection[Any], table: Table, relation: sql.Composable, span: Span | None = None
) -> Counter[bytes]:
    """Return how often each row is there, every column as the server writes it."""
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    query = sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT").format(columns, relation, inside(table, span))
    with connection.cursor().copy(query) as rows:
        return Counter(bytes(line) for line in rows)


def source_rows(stage: Stage, table: Table, span: Span | None = None) -> Counter[bytes]:
    with stage.connect_source() as connection:
        return dump(connection, table, source_of(table), span)


def warehouse_rows(stage: Stage, table: Table, span: Span | None = None) -> Counter[bytes]:
    with stage.connect_warehouse() as connection:
        return dump(connection, table, replica_of(table), span)


def assert_same_rows(stage: Stage, table: Table, span: Span | None = None) -> int:
    """Compare the rows of both sides value by value, both ways; returns how many there are."""
    source, warehouse = source_rows(stage, table, span), warehouse_rows(stage, table, span)
    assert (source - warehouse).total() == 0, "rows are missing in the warehouse"
    assert (warehouse - source).total() == 0, "the warehouse has rows that the source has not"
    return source.total()


def doubled_keys(stage: Stage, table: Table) -> list[Any]:
    keys = sql.SQL(", ").join(map(sql.Identifier, table.key))
    query = sql.SQL("SELECT {0} FROM {1} GROUP BY {0} HAVING count(*) > 1").format(keys, replica_of(table))
    with stage.connect_warehouse() as connection:
        return connection.execute(query).fetchall()


def staging_tables(stage: Stage) -> list[str]:
    with stage.connect_warehouse() as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'staging'")
        return [name for (name,) in found]


def progress_rows(stage: Stage, **conditions: Any) -> list[dict[str, Any]]:
    """Return the rows of etl_progress that have these values, oldest first."""
    wanted = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in conditions.items()]
    query = sql.SQL("SELECT * FROM dbo.etl_progress WHERE {} ORDER BY id").format(
        sql.SQL(" AND ").join([sql.SQL("true"), *wanted])
    )
    with stage.connect_warehouse() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(query).fetchall()


def one(connection: psycopg.Connection[Any], query: Any, *values: Any) -> Any:
    row = connection.execute(query, values or None).fetchone()
    assert row is not None
    return row[0]


def spoil_inserts(stage: Stage) -> None:
    """Let the warehouse change a value of each row of October's sales that is inserted."""
    with stage.connect_warehouse() as connection:
        connection.execute("""
            CREATE FUNCTION dbo.spoil() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW."BILL_REMARK" := 'spoilt'; RETURN NEW; END $$;
            CREATE TRIGGER spoil BEFORE INSERT ON dbo."com_5013_APP_4_SALES_202510"
            FOR EACH ROW EXECUTE FUNCTION dbo.spoil()
        """)


def connect_control(stage: Stage) -> psycopg.Connection[Any]:
    return psycopg.connect(stage.server.dsn(stage.control_connection.database), autocommit=True)


def end_lock_session(stage: Stage, holder: str) -> None:
    """Take the lock away from a holder, as a network or an administrator might."""
    query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s"
    with connect_control(stage) as connection:
        assert connection.execute(query, (holder,)).fetchall() == [(True,)]
