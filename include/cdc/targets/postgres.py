"""A PostgreSQL warehouse that a database is followed into."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from include.cdc.changes import TargetTable
from include.cdc.comparison import TableComparison
from include.cdc.sources.base import Rows, SourceTable
from include.cdc.sources.postgres_rows import PostgresRows
from include.cdc.targets import postgres_columns, postgres_copies
from include.cdc.targets.base import STAGING, Alteration, Columns, Refused, Shape, Target
from include.cdc.targets.postgres_writer import PostgresWriter
from include.connections import Connection
from include.engines.postgres.connect import connect, sqlalchemy_over
from include.engines.postgres.errors import translated

if TYPE_CHECKING:
    import sqlalchemy as sa

Key = Sequence[str] | None

#: What is quoted, up to the last quote: a value can hold quotes itself.
_QUOTED = re.compile(r'".*"', re.DOTALL)
_COLUMN = re.compile(r"^COPY \S+, line \d+, column ([^:]+)")


@dataclass
class PostgresTarget(Target):
    """A session in which each statement commits, outside of a transaction."""

    session: psycopg.Connection[Any]
    records: sa.Connection = field(init=False)

    refusals = (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError, Refused)

    def __post_init__(self) -> None:
        self.records = sqlalchemy_over(self.session, "the warehouse")

    def reason(self, error: Exception) -> str:
        """Return what was refused, by column, rule and SQLSTATE."""
        if isinstance(error, Refused):
            return str(error)
        if not isinstance(error, psycopg.Error) or error.sqlstate is None:
            return "a text has characters that PostgreSQL does not hold"
        text = _QUOTED.sub("…", error.diag.message_primary or type(error).__name__)
        in_copy = _COLUMN.search(error.diag.context or "")
        column = error.diag.column_name or (in_copy[1] if in_copy else None)
        where = f"column {column}: " if column else ""
        rule = f", {error.diag.constraint_name}" if error.diag.constraint_name else ""
        return f"{where}{text}{rule} [{error.sqlstate}]"

    def doing(self, what: str) -> AbstractContextManager[None]:
        """Raise the driver's errors as ours."""
        return translated(what)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin a transaction, or a savepoint within one."""
        with self.session.transaction():
            yield

    @property
    def is_in_transaction(self) -> bool:
        """Whether one is open, be it a failed one."""
        return self.session.info.transaction_status is not TransactionStatus.IDLE

    @property
    def is_lost(self) -> bool:
        """Whether the session has ended."""
        return self.session.broken

    def wait_at_most(self, seconds: float) -> None:
        """Set the session's ``lock_timeout``."""
        self.session.execute("SELECT set_config('lock_timeout', %s, false)", (f"{seconds}s",))

    def take_turn(self, name: str) -> None:
        """Take an advisory lock of the transaction."""
        self.session.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))

    def create_schema(self, schema: str) -> None:
        """Make a schema that is missing."""
        self.session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))

    def shape(self, schema: str, name: str) -> Shape:
        """Return key and columns of a table."""
        return postgres_columns.shape(self.session, schema, name)

    def unmarked(self, table: TargetTable, columns: Sequence[str]) -> dict[str, bool]:
        """Return the columns without our comment, and whether each is NOT NULL."""
        return postgres_columns.unmarked(self.session, table, columns)

    def alter(self, table: TargetTable, change: Alteration) -> None:
        """Alter the columns of a table by one statement."""
        postgres_columns.alter(self.session, table, change)

    def writer(self, table: TargetTable) -> PostgresWriter:
        """Return what reads and writes the rows of a table."""
        return PostgresWriter(self.session, table)

    def begin_copy(self, staging: str, columns: Columns, key: Sequence[str], *, soft: bool) -> None:  # noqa: ARG002
        """Make the table of a copy, without its key: it is made when the rows are there."""
        self.create_schema(STAGING)
        postgres_copies.begin(self.session, staging, columns, soft=soft)

    def fill(self, staging: str, rows: Rows, table: SourceTable, columns: Columns, between: tuple[Key, Key]) -> int:
        """Let the source put its rows in by COPY."""
        return rows.pipe(table, columns, between, self.session, sql.Identifier(STAGING, staging))

    def finish_copy(self, staging: str, key: Sequence[str]) -> None:
        """Make the primary key."""
        postgres_copies.finish(self.session, staging, key)

    def drop_copy(self, staging: str) -> None:
        """Remove the table of a copy if it is there."""
        self.session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(STAGING, staging)))

    def place(self, staging: str, schema: str, name: str, *, soft: bool) -> None:
        """Drop the old table and move the copy there, or fill it where views hang on it."""
        postgres_copies.place(self.session, staging, schema, name, soft=soft)

    def compare(self, rows: Rows, tables: Sequence[TargetTable]) -> list[TableComparison]:
        """Let both servers add up hashes; rows of another kind of server are read into this one first."""
        from include.cdc.targets.postgres_compare import compare, compare_read

        if isinstance(rows, PostgresRows):
            return compare(rows.session, self.session, tables)
        return compare_read(rows, self.session, tables)


@contextmanager
def opened(connection: Connection, application: str) -> Iterator[PostgresTarget]:
    """Open a session."""
    with connect(connection, application, autocommit=True) as session:
        target = PostgresTarget(session)
        with target.records:
            yield target
