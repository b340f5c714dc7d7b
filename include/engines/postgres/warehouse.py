"""Write the copy into a PostgreSQL warehouse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg import sql as pgsql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from include.catalog import SqlType, Table
from include.connections import Connection
from include.engines.base import Changed, Digest, Level, Loaded, OnRows, Published, Staging
from include.engines.fit import fitting
from include.engines.keys import chunks
from include.engines.patience import dropped_on_failure, until_published
from include.engines.postgres import ddl, sql
from include.engines.postgres.connect import connect, conninfo, sqlalchemy_engine
from include.engines.postgres.digests import CHECKSUM_METHOD, run_digest
from include.engines.postgres.errors import translated
from include.engines.postgres.patch import Patch
from include.engines.postgres.publish import Publication
from include.engines.postgres.source import column_texts, shape_of
from include.engines.postgres.types import kept
from include.engines.rowsums import hashed_pairs, sum_rows
from include.engines.staging import STAGING_SCHEMA, staging_name, staging_span
from include.settings import Settings
from include.windows import Span

if TYPE_CHECKING:
    import pyarrow as pa

#: Keys of one query; each goes into its text.
_KEYS_AT_ONCE = 5000

_STAGING_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE %s"
_BLOCKERS = """
    SELECT string_agg(DISTINCT concat(usename, ' (pid ', pid, ', ', application_name, ')'), ', ')
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE database = datid AND datname = current_database() AND pid <> pg_backend_pid() AND granted
      AND (relation = to_regclass(%(table)s)
           OR relation IN (SELECT relid FROM pg_partition_tree(to_regclass(%(table)s))))
"""


@dataclass(frozen=True)
class PostgresWarehouse:
    """A PostgreSQL database that holds the copy."""

    connection: Connection
    application: str = "retail-sync"
    settings: Settings = field(default_factory=Settings)

    def shape(self, table: Table) -> dict[str, SqlType | str] | None:
        """Return the columns that the replica has now, None without the table; types by name where unknown."""
        with translated(f"{table.name}: reading the replica's columns"), self.open_session() as session:
            return shape_of(column_texts(session, table.target_schema, table.target_table))

    def canonical(self, type_: SqlType) -> SqlType:
        """Return how ``shape`` gives a column that was made for a type of the catalog."""
        return kept(type_)

    def add_columns(self, table: Table, columns: Mapping[str, SqlType]) -> None:
        """Add columns to the replica, NULL in the rows that are there; those it has are left alone."""
        with translated(f"{table.name}: adding columns to the replica"), self.open_session() as session:
            session.execute(f"SET LOCAL lock_timeout = '{self.settings.publish_lock_wait * 1000:.0f}ms'".encode())
            for statement in ddl.add_columns(table, columns):
                session.execute(statement)
            session.commit()

    def metadata(self) -> sa.Engine:
        """Return an engine for the project's own tables; each connection commits by itself."""
        return sqlalchemy_engine(self.connection, self.application).execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def staging(self, table: Table, span: Span) -> Iterator[PostgresStaging]:
        """Open the staging table of a span; what was not published is dropped at the end."""
        with dropped_on_failure(PostgresStaging(table, span, self), lambda: self.drop_staging(table, span)) as staging:
            yield staging

    def publish(
        self, staging: Staging, record: Callable[[Published], sa.Update], before_commit: Callable[[], None]
    ) -> Published:
        """
        Replace the span by the staging table's rows in one transaction.

        Steps back whenever readers hold it up for ``publish_lock_wait``, so that others can
        pass, and tries again for ``publish_wait``.
        """
        table, span = staging.table, staging.span

        def once() -> Published:
            with translated(f"{table.name} {span.name}: publishing"), self.open_session() as session:
                published = Publication(session, table, span, staging.rows).run(self.settings.publish_lock_wait)
                _execute(session, record(published))
                before_commit()
                session.commit()
                return published

        return until_published(once, self.settings, lambda: self._blockers(table))

    def patch(
        self,
        staging: Staging,
        gone: pa.Table,
        record: Callable[[Changed], Sequence[sa.Executable]],
        before_commit: Callable[[], None],
    ) -> Changed:
        """Put the staging table's rows in the place of those with their keys, in one transaction."""
        table, keys = staging.table, list(chunks(gone, _KEYS_AT_ONCE))

        def once() -> Changed:
            with translated(f"{table.name}: repairing"), self.open_session() as session:
                patch = Patch(session, table, staging.span, staging.rows)
                changed = patch.apply(keys, self.settings.publish_lock_wait)
                for statement in record(changed):
                    _execute(session, statement)
                before_commit()
                session.commit()
                return changed

        return until_published(once, self.settings, lambda: self._blockers(table))

    def pairs(self, table: Table, span: Span, level: Level, *, portable: bool = False) -> Iterator[pa.RecordBatch]:
        """Return key and version of each row of a span of the copy."""
        if portable and level is Level.CHECKSUM:
            return hashed_pairs(table, self._batches(table, span))
        return self._pairs(table, sql.in_span(table, span), level)

    def pairs_of(self, table: Table, keys: pa.Table) -> Iterator[pa.RecordBatch]:
        """Return key and rowversion of the rows of the copy that have these keys, whatever their date."""
        for chunk in chunks(keys, _KEYS_AT_ONCE):
            yield from self._pairs(table, sql.among(table, chunk), Level.VERSIONS)

    def _pairs(self, table: Table, condition: pgsql.Composable, level: Level) -> Iterator[pa.RecordBatch]:
        from include.engines.postgres import arrow

        with translated(f"{table.name}: comparing the warehouse"), self.open_session() as session:
            yield from arrow.read_pairs(session, table, sql.target_name(table), condition, level)

    def highest_version(self, table: Table) -> bytes | None:
        """Return the highest rowversion of the copy, None without rows."""
        query = pgsql.SQL("SELECT {0} FROM {1} ORDER BY {0} DESC NULLS LAST LIMIT 1").format(
            pgsql.Identifier(table.rowversion or ""), sql.target_name(table)
        )
        with translated(f"{table.name}: looking for its highest rowversion"), self.open_session() as session:
            row = session.execute(query).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    @property
    def own_checksum(self) -> str:
        """The method by which PostgreSQL sums rows itself."""
        return CHECKSUM_METHOD

    def digest(self, table: Table, span: Span, level: Level, *, portable: bool = False) -> Digest:
        """Return the digest of a span of the copy."""
        if portable and level is Level.CHECKSUM:
            return sum_rows(table, self._batches(table, span))
        with translated(f"{table.name} {span.name}: comparing the warehouse"), self.open_session() as session:
            return run_digest(session, table, sql.target_name(table), span, level)

    def _batches(self, table: Table, span: Span) -> Iterator[pa.RecordBatch]:
        from include.engines.arrow import arrow_schema

        query = sql.select_for_arrow(table, sql.target_name(table), span)
        return self._read(table, query, arrow_schema(table))

    def _read(self, table: Table, query: pgsql.Composed, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        from include.engines.postgres import arrow

        uri = conninfo(self.connection, self.application)
        with translated(f"{table.name}: comparing the warehouse"):
            yield from arrow.read(uri, None, query.as_string(), schema, self.settings.batch_bytes)

    def dead_staging(self, table: Table) -> list[Span]:
        """Return the spans of which a staging table is there."""
        with translated(f"{table.name}: looking for staging tables"), self.open_session() as session:
            pattern = table.target_table.replace("_", r"\_") + r"\_\_%"
            names = session.execute(_STAGING_TABLES, (STAGING_SCHEMA, pattern)).fetchall()
        spans = (staging_span(table, name) for (name,) in names)
        return [span for span in spans if span is not None]

    def drop_staging(self, table: Table, span: Span) -> None:
        """Remove a span's staging table if it is there."""
        with translated(f"{table.name} {span.name}: dropping its staging table"), self.open_session() as session:
            name = pgsql.Identifier(STAGING_SCHEMA, staging_name(table, span))
            session.execute(pgsql.SQL("DROP TABLE IF EXISTS {}").format(name))
            session.commit()

    def check(self) -> dict[str, Any]:
        """Return version and rights; raises if the server cannot be reached."""
        with translated(f"checking {self.connection}"), self.open_session() as session:
            row = session.execute(
                "SELECT current_setting('server_version'), current_user,"
                " has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery()"
            ).fetchone()
        assert row is not None
        version, user, may_create, replica = row
        return {"version": f"PostgreSQL {version}", "user": user, "may_create": may_create, "replica": replica}

    def _blockers(self, table: Table) -> str:
        with translated(f"{table.name}: looking for blockers"), self.open_session() as session:
            row = session.execute(_BLOCKERS, {"table": sql.target_name(table).as_string(session)}).fetchone()
        return (row and row[0]) or "somebody who is gone by now"

    @contextmanager
    def open_session(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a session; what it does not commit is rolled back."""
        session = connect(self.connection, self.application)
        try:
            yield session
        finally:
            session.close()


@dataclass
class PostgresStaging:
    """A table of its own for a span, made and filled in one transaction: a killed load leaves nothing."""

    table: Table
    span: Span
    warehouse: PostgresWarehouse
    rows: int = 0

    def shape(self) -> Mapping[str, SqlType | str]:
        """Return the columns of the replica, after which the table is made."""
        return self.warehouse.shape(self.table) or {}

    def as_kept(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the batches with times of six digits; how many had a seventh is logged."""
        from include.engines.postgres import arrow

        return arrow.without_seventh_digits(batches, self.table)

    def load(self, batches: Iterator[pa.RecordBatch], on_rows: OnRows) -> Loaded:
        """Write all batches, or nothing."""
        from include.engines.postgres import arrow

        table, fit = self.table, fitting(batches, self.table, self.span, sql_server=False)

        def write(session: psycopg.Connection[Any], copy: pgsql.Composed) -> Loaded:
            shape = shape_of(column_texts(session, table.target_schema, table.target_table)) or {}
            return arrow.write(session, copy, fit, table, shape, on_rows)

        return self.fill(write)

    def fill(self, write: Callable[[psycopg.Connection[Any], pgsql.Composed], Loaded]) -> Loaded:
        """
        Make the table, let ``write`` fill it by the COPY statement, make its key unique, commit.

        FREEZE marks the rows visible for everybody as they are written: no second pass over
        them later, and a reader in an older snapshot sees the new month, not an empty one.
        """
        relation = pgsql.Identifier(STAGING_SCHEMA, staging_name(self.table, self.span))
        copy = pgsql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY, FREEZE)").format(
            relation, sql.names(list(self.table.columns))
        )
        with translated(f"{self.table.name} {self.span.name}: loading"), self.warehouse.open_session() as session:
            for statement in ddl.create_staging(self.table, self.span):
                session.execute(statement)
            loaded = write(session, copy)
            for statement in ddl.staging_key(self.table, self.span):
                session.execute(statement)
            session.commit()
        self.rows = loaded.rows
        return loaded


def _execute(session: psycopg.Connection[Any], statement: sa.Executable) -> None:
    """Run an SQLAlchemy statement inside the session's own transaction."""
    assert isinstance(statement, sa.ClauseElement)
    compiled = statement.compile(dialect=PGDialect_psycopg())  # type: ignore[no-untyped-call]
    session.execute(str(compiled).encode(), compiled.params)
