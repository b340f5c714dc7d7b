"""Read a PostgreSQL source: a span as one consistent snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import IsolationLevel
from psycopg import sql as pgsql

from include.catalog import SqlType, Table
from include.connections import Connection
from include.engines.base import Digest, Level
from include.engines.keys import chunks
from include.engines.postgres import sql
from include.engines.postgres.connect import connect, conninfo
from include.engines.postgres.digests import CHECKSUM_METHOD, run_digest
from include.engines.postgres.errors import translated
from include.engines.postgres.types import kept, sql_type
from include.engines.rowsums import hashed_pairs, sum_rows
from include.errors import SchemaMismatch
from include.settings import Settings
from include.windows import Span

if TYPE_CHECKING:
    import pyarrow as pa

#: Keys of one query; each goes into its text.
_KEYS_AT_ONCE = 5000
#: Up to here it takes longer to open a session of ADBC's than to read the rows without it.
_FEW_ROWS = 500

_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod)
    FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""


@dataclass(frozen=True)
class PostgresSource:
    """A PostgreSQL database that is read, in read-only transactions."""

    connection: Connection
    application: str = "retail-sync"
    batch_bytes: int = field(default_factory=lambda: Settings().batch_bytes)
    secret: bytes | None = field(default=None, repr=False)
    """The key of hashed columns."""

    def columns(self, table: Table) -> list[str] | None:
        """Return the names of the columns that the database has now, None without the table."""
        return list(self._column_texts(table.source_schema, table.name)) or None

    def shape(self, table: Table) -> dict[str, SqlType | str] | None:
        """Return the columns that the source has now, None without the table; types by name where unknown."""
        return shape_of(self._column_texts(table.source_schema, table.name))

    def canonical(self, type_: SqlType) -> SqlType:
        """Return how ``shape`` gives a column that was made for a type of the catalog."""
        return kept(type_)

    def column_types(self, schema: str, name: str) -> dict[str, SqlType] | None:
        """
        Return the columns of a table that need not be in the catalog, None without the table.

        :raises SchemaMismatch: for a type that cannot be replicated.
        """
        try:
            return {column: sql_type(text) for column, text in self._column_texts(schema, name).items()} or None
        except ValueError as error:
            raise SchemaMismatch(f"{name}: {error}") from error

    @contextmanager
    def snapshot(self, table: Table, span: Span) -> Iterator[PostgresSnapshot]:
        """Open a REPEATABLE READ view of a span; everything asked of it is of one moment."""
        with translated(f"{table.name} {span.name}: reading the source"), self.open_session() as session:
            row = session.execute("SELECT pg_export_snapshot()").fetchone()
            assert row is not None
            yield PostgresSnapshot(table, span, session, row[0], self)

    def check(self) -> dict[str, Any]:
        """Return version and state; raises if the server cannot be reached."""
        with translated(f"checking {self.connection}"), self.open_session() as session:
            row = session.execute(
                "SELECT current_setting('server_version'), pg_is_in_recovery(), current_user"
            ).fetchone()
        assert row is not None
        version, replica, user = row
        return {"version": f"PostgreSQL {version}", "replica": replica, "user": user}

    def _column_texts(self, schema: str, name: str) -> dict[str, str]:
        with translated(f"{name}: reading its columns"), self.open_session() as session:
            return column_texts(session, schema, name)

    @contextmanager
    def open_session(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a session for one REPEATABLE READ, READ ONLY transaction."""
        session = connect(self.connection, self.application)
        try:
            session.isolation_level = IsolationLevel.REPEATABLE_READ
            session.read_only = True
            yield session
        finally:
            session.close()


def column_texts(session: psycopg.Connection[Any], schema: str, name: str) -> dict[str, str]:
    """Return the columns of a table with their types as the server writes them, nothing without the table."""
    quoted = pgsql.Identifier(schema, name).as_string(session)
    return dict(session.execute(_COLUMNS, (quoted,)).fetchall())


def shape_of(texts: dict[str, str]) -> dict[str, SqlType | str] | None:
    """Return the columns with their types, by the server's name where one cannot be replicated."""
    return {name: _type_or_text(text) for name, text in texts.items()} or None


def _type_or_text(text: str) -> SqlType | str:
    try:
        return sql_type(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class PostgresSnapshot:
    """
    A span of a source table at one moment.

    ``session`` is inside the transaction that exported the snapshot ``id``; it streams the
    rows, while sessions of their own compare them in the same snapshot.
    """

    table: Table
    span: Span
    session: psycopg.Connection[Any]
    id: str
    source: PostgresSource

    @property
    def query(self) -> pgsql.Composed:
        """The query for the rows, in the catalog's columns."""
        return sql.select(self.table, self.relation, self.span)

    @property
    def relation(self) -> pgsql.Composable:
        """What is read: the table without what may not leave the source."""
        return sql.source_relation(self.table, self.source.secret)

    def shape(self) -> Mapping[str, SqlType | str]:
        """Return the columns that the table has at this moment."""
        return shape_of(column_texts(self.session, self.table.source_schema, self.table.name)) or {}

    @property
    def own_checksum(self) -> str:
        """The method by which PostgreSQL sums rows itself."""
        return CHECKSUM_METHOD

    def digest(self, level: Level, *, portable: bool = False) -> Digest:
        """Return the rows' digest; may be called from another thread while rows are streamed."""
        if portable and level is Level.CHECKSUM:
            return sum_rows(self.table, self.batches(self.source.batch_bytes))
        with (
            translated(f"{self.table.name} {self.span.name}: comparing the source"),
            self.source.open_session() as session,
        ):
            session.execute(pgsql.SQL("SET TRANSACTION SNAPSHOT {}").format(pgsql.Literal(self.id)))
            # one process of the source's at a time beside the stream: it has tills to serve
            session.execute("SET LOCAL max_parallel_workers_per_gather = 0")
            return run_digest(session, self.table, self.relation, self.span, level)

    def batches(self, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Return the rows as Arrow batches, read by ADBC in the same snapshot as everything else."""
        return self._rows(sql.in_span(self.table, self.span), batch_bytes)

    def at(self, span: Span) -> PostgresSnapshot:
        """Return the same view of another span of the table."""
        return replace(self, span=span)

    def pairs(self, level: Level, *, portable: bool = False) -> Iterator[pa.RecordBatch]:
        """Return key and version of each row."""
        if portable and level is Level.CHECKSUM:
            return hashed_pairs(self.table, self.batches(self.source.batch_bytes))
        return self._pairs(level)

    def pairs_above(self, mark: bytes) -> Iterator[pa.RecordBatch]:
        """Return key and rowversion of the rows of any date whose rowversion is above ``mark``."""
        from include.engines.arrow import pairs_schema
        from include.engines.postgres import arrow

        query = sql.pairs(self.table, self.relation, sql.above(self.table, mark), Level.VERSIONS)
        with translated(f"{self.table.name} {self.span.name}: reading the source"):
            yield from arrow.read_few(self.session, query, pairs_schema(self.table, Level.VERSIONS))

    def rows_of(self, keys: pa.Table) -> Iterator[pa.RecordBatch]:
        """Return the rows that have these keys, whatever their date."""
        for chunk in chunks(keys, _KEYS_AT_ONCE):
            condition = sql.among(self.table, chunk)
            if len(chunk) <= _FEW_ROWS:
                yield from self._few_rows(condition)
            else:
                yield from self._rows(condition, self.source.batch_bytes)

    def _few_rows(self, condition: pgsql.Composable) -> Iterator[pa.RecordBatch]:
        from include.engines.arrow import arrow_schema
        from include.engines.postgres import arrow

        query = sql.select_where_for_arrow(self.table, self.relation, condition)
        with translated(f"{self.table.name} {self.span.name}: reading the source"):
            batches = arrow.read_few(self.session, query, arrow_schema(self.table))
            yield from arrow.with_exact_times(batches, self.table)

    def _pairs(self, level: Level) -> Iterator[pa.RecordBatch]:
        from include.engines.postgres import arrow

        condition = sql.in_span(self.table, self.span)
        with translated(f"{self.table.name} {self.span.name}: reading the source"):
            yield from arrow.read_pairs(self.session, self.table, self.relation, condition, level)

    def _rows(self, condition: pgsql.Composable, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        from include.engines.arrow import arrow_schema
        from include.engines.postgres import arrow

        query = sql.select_where_for_arrow(self.table, self.relation, condition)
        return arrow.with_exact_times(self._read(query, arrow_schema(self.table), batch_bytes), self.table)

    def _read(self, query: pgsql.Composed, schema: pa.Schema, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        from include.engines.postgres import arrow

        uri = conninfo(self.source.connection, self.source.application)
        with translated(f"{self.table.name} {self.span.name}: reading the source"):
            yield from arrow.read(uri, self.id, query.as_string(self.session), schema, batch_bytes)
