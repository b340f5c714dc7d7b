"""Write the copy into a SQL Server warehouse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from include.catalog import SqlType, Table
from include.connections import Connection
from include.engines.base import Changed, Digest, Level, Loaded, OnRows, Published, Staging
from include.engines.fit import fitting
from include.engines.keys import chunks
from include.engines.mssql import ddl, sql
from include.engines.mssql.connect import sqlalchemy_engine
from include.engines.mssql.drivers import driver_for
from include.engines.mssql.errors import translated
from include.engines.mssql.features import QUESTION, Features
from include.engines.mssql.patch import Patch
from include.engines.mssql.publish import Publication
from include.engines.mssql.source import digest, read, read_pairs, shape_of
from include.engines.mssql.sql import Statement
from include.engines.mssql.types import kept
from include.engines.patience import dropped_on_failure, until_published
from include.engines.rowsums import hashed_pairs
from include.engines.staging import staging_span
from include.errors import RetailSyncError, TransientError
from include.settings import Settings
from include.windows import Span

if TYPE_CHECKING:
    import pyarrow as pa

    from include.engines.mssql.drivers import Session

RIGHTS = "SELECT HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'CREATE TABLE')"


@dataclass(frozen=True)
class MssqlWarehouse:
    """A SQL Server database that holds the copy."""

    connection: Connection
    application: str = "retail-sync"
    settings: Settings = field(default_factory=Settings)

    def shape(self, table: Table) -> dict[str, SqlType | str] | None:
        """Return the columns that the replica has now, None without the table; types by name where unknown."""
        with named(f"{table.name}: reading the replica's columns"), self.begin() as session:
            rows = session.exec_driver_sql(*sql.columns_of(table.target_schema, table.target_table)).all()
        return shape_of([tuple(row) for row in rows])

    def canonical(self, type_: SqlType) -> SqlType:
        """Return how ``shape`` gives a column that was made for a type of the catalog."""
        return kept(type_)

    def add_columns(self, table: Table, columns: Mapping[str, SqlType]) -> None:
        """Add columns to the replica, NULL in the rows that are there; those it has are left alone."""
        with named(f"{table.name}: adding columns to the replica"), self.begin() as session:
            session.exec_driver_sql(f"SET LOCK_TIMEOUT {int(self.settings.publish_lock_wait * 1000)}")
            for name, type_ in columns.items():
                session.exec_driver_sql(ddl.add_column(table, name, type_))

    def metadata(self) -> sa.Engine:
        """Return an engine for the project's own tables; each connection commits by itself."""
        return self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def staging(self, table: Table, span: Span) -> Iterator[MssqlStaging]:
        """Open the staging table of a span; what was not published is dropped at the end."""
        with dropped_on_failure(MssqlStaging(table, span, self), lambda: self.drop_staging(table, span)) as staging:
            yield staging

    def publish(
        self, staging: Staging, record: Callable[[Published], sa.Update], before_commit: Callable[[], None]
    ) -> Published:
        """
        Replace the span by the staging table's rows in one transaction.

        Steps back whenever readers hold it up for ``publish_lock_wait``, so that others can
        pass, and tries again for ``publish_wait``.
        """
        assert isinstance(staging, MssqlStaging)
        table, span, not_ascii = staging.table, staging.span, staging.not_ascii

        def once() -> Published:
            with named(f"{table.name} {span.name}: publishing"), self.begin() as session:
                features = Features.of(tuple(session.exec_driver_sql(QUESTION).one()))
                publication = Publication(session, table, span, staging.rows, features.partitions, not_ascii)
                published = publication.run(self.settings.publish_lock_wait)
                session.execute(record(published))
                before_commit()
                return published

        return until_published(once, self.settings, _holders)

    def patch(
        self,
        staging: Staging,
        gone: pa.Table,
        record: Callable[[Changed], Sequence[sa.Executable]],
        before_commit: Callable[[], None],
    ) -> Changed:
        """Put the staging table's rows in the place of those with their keys, in one transaction."""
        assert isinstance(staging, MssqlStaging)
        table, keys = staging.table, list(chunks(gone, sql.keys_at_once(staging.table)))

        def once() -> Changed:
            with named(f"{table.name}: repairing"), self.begin() as session:
                patch = Patch(session, table, staging.span, staging.rows, not_ascii=staging.not_ascii)
                changed = patch.apply(keys, self.settings.publish_lock_wait)
                for statement in record(changed):
                    session.execute(statement)
                before_commit()
                return changed

        return until_published(once, self.settings, _holders)

    def pairs(self, table: Table, span: Span, level: Level, *, portable: bool = True) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Return key and version of each row of a span of the copy."""
        condition = sql.in_span(table, span)
        if level is Level.CHECKSUM:
            return hashed_pairs(table, self._rows(table, condition))
        return self._pairs(table, [condition])

    def pairs_of(self, table: Table, keys: pa.Table) -> Iterator[pa.RecordBatch]:
        """Return key and rowversion of the rows of the copy that have these keys, whatever their date."""
        return self._pairs(table, (sql.among(table, chunk) for chunk in chunks(keys, sql.keys_at_once(table))))

    def _rows(self, table: Table, condition: Statement) -> Iterator[pa.RecordBatch]:
        doing, target = f"{table.name}: comparing the warehouse", sql.target_name(table)
        with self._open_session() as session:
            yield from read(session, table, target, condition, doing, self.settings.batch_bytes)

    def _pairs(self, table: Table, conditions: Iterable[Statement]) -> Iterator[pa.RecordBatch]:
        doing, target = f"{table.name}: comparing the warehouse", sql.target_name(table)
        with self._open_session() as session:
            for condition in conditions:
                yield from read_pairs(session, table, target, condition, doing, self.settings.batch_bytes)

    def highest_version(self, table: Table) -> bytes | None:
        """Return the highest rowversion of the copy, None without rows."""
        with named(f"{table.name}: looking for its highest rowversion"), self.begin() as session:
            version = session.exec_driver_sql(sql.highest_version(table)).scalar()
        return None if version is None else bytes(version)

    @property
    def own_checksum(self) -> None:
        """T-SQL has no checksum of a row that all its engines share and that is worth the name."""
        return

    def digest(self, table: Table, span: Span, level: Level, *, portable: bool = True) -> Digest:  # noqa: ARG002
        """Return the digest of a span of the copy."""
        doing = f"{table.name} {span.name}: comparing the warehouse"
        with self._open_session() as session:
            return digest(session, table, sql.target_name(table), span, level, doing, self.settings.batch_bytes)

    def dead_staging(self, table: Table) -> list[Span]:
        """Return the spans of which a staging table is there."""
        with named(f"{table.name}: looking for staging tables"), self.begin() as session:
            found = session.exec_driver_sql(*ddl.staging_tables(table)).scalars().all()
        spans = (staging_span(table, name) for name in found)
        return [span for span in spans if span is not None]

    def drop_staging(self, table: Table, span: Span) -> None:
        """Remove a span's staging table if it is there."""
        with named(f"{table.name} {span.name}: dropping its staging table"), self.begin() as session:
            session.exec_driver_sql(ddl.drop_staging(table, span))

    def check(self) -> dict[str, Any]:
        """Return version and rights; raises if the server cannot be reached."""
        with named(f"checking {self.connection}"), self.begin() as session:
            features = Features.of(tuple(session.exec_driver_sql(QUESTION).one()))
            may_create = session.exec_driver_sql(RIGHTS).scalar()
        return {
            "version": features.name,
            "user": features.user,
            "may_create": may_create != 0,
            "replica": features.read_only,
            "collation": features.collation,
        }

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a session in a transaction: committed at the end, rolled back whole by any error."""
        with self._engine.begin() as session:
            session.exec_driver_sql("SET XACT_ABORT ON")
            yield session

    @cached_property
    def _engine(self) -> sa.Engine:
        """One for all sessions: SQLAlchemy asks the server six questions for each new engine."""
        return sqlalchemy_engine(self.connection, self.application)

    @contextmanager
    def _open_session(self) -> Iterator[Session]:
        session = driver_for(self.connection).open(self.connection, self.application, read_only=False)
        try:
            yield session
        finally:
            session.close()


@dataclass
class MssqlStaging:
    """A permanent heap of its own for a span: a bulk copy has its own session, so no transaction covers it."""

    table: Table
    span: Span
    warehouse: MssqlWarehouse
    rows: int = 0
    not_ascii: set[str] = field(default_factory=set)
    """Columns in which other characters than ASCII were seen."""

    def as_kept(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the batches unchanged: the columns are the source's own."""
        return batches

    def load(self, batches: Iterator[pa.RecordBatch], on_rows: OnRows) -> Loaded:
        """
        Write all batches, or leave the staging table empty.

        :raises TransientError: if the server says it copied another number of rows.
        """
        table, span = self.table, self.span
        doing = f"{table.name} {span.name}: loading"
        with named(doing), self.warehouse.begin() as session:
            for statement in ddl.create_staging(table, span):
                session.exec_driver_sql(statement)
        sent = Loaded(0, 0)

        def counted() -> Iterator[pa.RecordBatch]:
            nonlocal sent
            for batch in fitting(batches, table, span, sql_server=True):
                self._note_characters(batch)
                yield batch
                sent = Loaded(sent.rows + batch.num_rows, sent.bytes + batch.nbytes)
                on_rows(sent.rows, sent.bytes)

        connection, application = self.warehouse.connection, self.warehouse.application
        try:
            with translated(doing):
                copied = driver_for(connection).load(
                    connection, application, ddl.staging_table(table, span), list(table.columns), counted()
                )
            # what a driver says it copied may be what it sent: the server is asked too
            self.rows = min(copied, self._count())
            if self.rows != sent.rows:
                raise TransientError(f"{doing}: {sent.rows:,} rows were sent, the server copied {self.rows:,}")  # noqa: TRY301 (emptied below)
        except Exception:
            self._empty()
            raise
        return sent

    def _note_characters(self, batch: pa.RecordBatch) -> None:
        import pyarrow.compute as pc

        texts = (name for name, type_ in self.table.columns.items() if type_.is_text)
        for name in texts:
            if name not in self.not_ascii:
                ascii_only = pc.all(pc.string_is_ascii(batch.column(name)), min_count=0)
                if not ascii_only.as_py():
                    self.not_ascii.add(name)

    def _count(self) -> int:
        with self.warehouse.begin() as session:
            return int(session.exec_driver_sql(ddl.count_staging(self.table, self.span)).scalar_one())

    def _empty(self) -> None:
        """Take back what a broken bulk copy has sent; where that fails too, the next run drops the table."""
        try:
            with self.warehouse.begin() as session:
                session.exec_driver_sql(ddl.empty_staging(self.table, self.span))
        except RetailSyncError:
            return


def _holders() -> str:
    return "others, see sys.dm_tran_locks"


@contextmanager
def named(doing: str) -> Iterator[None]:
    """Put what was tried before the message of what went wrong."""
    try:
        with translated(doing):
            yield
    except RetailSyncError as error:
        if str(error).startswith(doing):
            raise
        raise type(error)(f"{doing}: {error}") from None
