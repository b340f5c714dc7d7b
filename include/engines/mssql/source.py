"""Read a SQL Server source: a span in one transaction, from a read-only replica."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from include.catalog import SqlType, Table
from include.connections import Connection
from include.engines.base import DaySum, Digest, Level
from include.engines.keys import chunks
from include.engines.mssql import sql
from include.engines.mssql.connect import flag
from include.engines.mssql.drivers import driver_for
from include.engines.mssql.errors import translated
from include.engines.mssql.features import QUESTION, Features
from include.engines.mssql.sql import Statement
from include.engines.mssql.types import kept, row_bytes, sql_type
from include.engines.rowsums import hashed_pairs, sum_rows
from include.errors import AccessDenied, SchemaMismatch
from include.settings import Settings
from include.windows import Span

if TYPE_CHECKING:
    import pyarrow as pa

    from include.engines.mssql.drivers import Session

#: A driver's buffers are as wide as the columns are declared, not as the values are.
_FEWEST_ROWS, _MOST_ROWS = 256, 8192
_BUFFER_FACTOR = 32


@dataclass(frozen=True)
class MssqlSource:
    """A SQL Server database that is read, with read-only intent."""

    connection: Connection
    application: str = "retail-sync"
    batch_bytes: int = field(default_factory=lambda: Settings().batch_bytes)
    secret: bytes | None = field(default=None, repr=False)
    """The key of hashed columns."""

    def columns(self, table: Table) -> list[str] | None:
        """Return the names of the columns that the database has now, None without the table."""
        return [row[0] for row in self._column_rows(table.source_schema, table.name)] or None

    def shape(self, table: Table) -> dict[str, SqlType | str] | None:
        """Return the columns that the source has now, None without the table; types by name where unknown."""
        return shape_of(self._column_rows(table.source_schema, table.name))

    def canonical(self, type_: SqlType) -> SqlType:
        """Return how ``shape`` gives a column that was made for a type of the catalog."""
        return kept(type_)

    def column_types(self, schema: str, name: str) -> dict[str, SqlType] | None:
        """
        Return the columns of a table that need not be in the catalog, None without the table.

        :raises SchemaMismatch: for a type that cannot be replicated.
        """
        try:
            return {column: sql_type(*type_) for column, *type_ in self._column_rows(schema, name)} or None
        except ValueError as error:
            raise SchemaMismatch(f"{name}: {error}") from error

    @contextmanager
    def snapshot(self, table: Table, span: Span) -> Iterator[MssqlSnapshot]:
        """
        Open a transaction that reads a span.

        It sees one moment where the database allows SNAPSHOT isolation, as a readable secondary
        always does; elsewhere a change meanwhile is noticed by the count, and the span is read again.

        :raises AccessDenied: if the database is a writable primary and the connection does not allow that.
        """
        with translated(f"{table.name} {span.name}: reading the source"), self.open_session() as session:
            features = self.assert_readable(session)
            if features.snapshots:
                session.execute("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
            yield MssqlSnapshot(table, span, session, self)

    def check(self) -> dict[str, Any]:
        """Return version, rights and state; raises if the server cannot be reached."""
        with translated(f"checking {self.connection}"), self.open_session() as session:
            features = self.assert_readable(session)
        return {
            "version": features.name,
            "replica": features.read_only,
            "user": features.user,
            "collation": features.collation,
        }

    def assert_readable(self, session: Session) -> Features:
        """
        Ask what the server is, and refuse a primary.

        :raises AccessDenied: if the database can be written and the connection does not allow that.
        """
        features = Features.of(session.fetch(QUESTION)[0])
        session.commit()
        if not features.read_only and not flag(self.connection, "allow_primary", default=False):
            raise AccessDenied(
                f"{self.connection}: this is the writable primary, not its read-only replica; check"
                " application_intent and the server's name, or set the extra allow_primary to true"
            )
        return features

    def _column_rows(self, schema: str, name: str) -> list[tuple[Any, ...]]:
        with translated(f"{name}: reading its columns"), self.open_session() as session:
            statement, values = sql.columns_of(schema, name)
            return session.fetch(statement, *values)

    @contextmanager
    def open_session(self) -> Iterator[Session]:
        """Open a session with read-only intent."""
        session = driver_for(self.connection).open(self.connection, self.application, read_only=True)
        try:
            yield session
        finally:
            session.close()


def shape_of(rows: list[tuple[Any, ...]]) -> dict[str, SqlType | str] | None:
    """Return the columns with their types, by the server's name where one cannot be replicated."""
    return {name: _type_or_text(*type_) for name, *type_ in rows} or None


def _type_or_text(data_type: str, *sizes: int | None) -> SqlType | str:
    try:
        return kept(sql_type(data_type, *sizes))
    except ValueError:
        return data_type


@dataclass(frozen=True)
class MssqlSnapshot:
    """A span of a source table, read by one session, one question after another."""

    table: Table
    span: Span
    session: Session
    source: MssqlSource

    @property
    def relation(self) -> str:
        """What is read: the table without what may not leave the source."""
        return sql.source_relation(self.table, self.source.secret)

    @property
    def own_checksum(self) -> None:
        """T-SQL has no checksum of a row that all its engines share and that is worth the name."""
        return

    def digest(self, level: Level, *, portable: bool = True) -> Digest:  # noqa: ARG002 (always summed here)
        """Return the rows' digest; not while batches are read."""
        doing = f"{self.table.name} {self.span.name}: comparing the source"
        return digest(self.session, self.table, self.relation, self.span, level, doing, self.source.batch_bytes)

    def batches(self, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Return the rows as Arrow batches of the catalog's types."""
        return self._rows(sql.in_span(self.table, self.span), batch_bytes)

    def at(self, span: Span) -> MssqlSnapshot:
        """Return the same view of another span of the table."""
        return replace(self, span=span)

    def pairs(self, level: Level, *, portable: bool = True) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Return key and version of each row; not while batches are read."""
        if level is Level.CHECKSUM:
            return hashed_pairs(self.table, self.batches(self.source.batch_bytes))
        return self._pairs(sql.in_span(self.table, self.span))

    def pairs_above(self, mark: bytes) -> Iterator[pa.RecordBatch]:
        """Return key and rowversion of the rows of any date whose rowversion is above ``mark``."""
        return self._pairs(sql.above(self.table, mark))

    def rows_of(self, keys: pa.Table) -> Iterator[pa.RecordBatch]:
        """Return the rows that have these keys, whatever their date."""
        for chunk in chunks(keys, sql.keys_at_once(self.table)):
            yield from self._rows(sql.among(self.table, chunk), self.source.batch_bytes)

    def _pairs(self, condition: Statement) -> Iterator[pa.RecordBatch]:
        return read_pairs(self.session, self.table, self.relation, condition, self._reading, self.source.batch_bytes)

    def _rows(self, condition: Statement, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        return read(self.session, self.table, self.relation, condition, self._reading, batch_bytes)

    @property
    def _reading(self) -> str:
        return f"{self.table.name} {self.span.name}: reading the source"


def digest(
    session: Session, table: Table, relation: str, span: Span, level: Level, doing: str, batch_bytes: int
) -> Digest:
    """Return the digest of a span of a relation that has the catalog's columns."""
    if level is Level.CHECKSUM:
        return sum_rows(table, read(session, table, relation, sql.in_span(table, span), doing, batch_bytes))
    with translated(doing):
        statement, values = sql.digest(table, relation, span, level)
        rows = session.fetch(statement, *values)
    return Digest(level.value, {day: DaySum(int(count), int(total)) for day, count, total in rows if count})


def read(
    session: Session, table: Table, relation: str, condition: Statement, doing: str, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Return rows of a relation as batches of the catalog's types."""
    from include.engines.arrow import arrow_schema

    statement, values = sql.select_where(table, relation, condition)
    rows = batch_rows(table.columns.values(), batch_bytes)
    with translated(doing):
        yield from session.batches(statement, values, rows, arrow_schema(table))


def read_pairs(
    session: Session, table: Table, relation: str, condition: Statement, doing: str, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Return key and rowversion of rows of a relation."""
    from include.engines.arrow import pairs_schema

    statement, values = sql.pairs(table, relation, condition)
    rows = batch_rows([table.columns[name] for name in table.key], batch_bytes)
    with translated(doing):
        yield from session.batches(statement, values, rows, pairs_schema(table, Level.VERSIONS))


def batch_rows(types: Iterable[SqlType], batch_bytes: int) -> int:
    """Return how many rows to fetch at once, so that the driver's buffers stay bounded too."""
    fitting = _BUFFER_FACTOR * batch_bytes // row_bytes(list(types))
    return max(_FEWEST_ROWS, min(_MOST_ROWS, fitting))
