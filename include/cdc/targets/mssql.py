"""
A SQL Server warehouse that a database is followed into.

Never run on a server by its authors: its statements are parsed, see docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from include.cdc.changes import TargetTable
from include.cdc.comparison import TableComparison
from include.cdc.sources.base import Rows, SourceTable
from include.cdc.targets import mssql_columns, mssql_copies
from include.cdc.targets.base import STAGING, Alteration, Columns, Refused, Shape, Target
from include.cdc.targets.mssql_writer import MssqlWriter
from include.connections import Connection
from include.engines.mssql.connect import sqlalchemy_engine
from include.engines.mssql.ddl import create_schema
from include.engines.mssql.drivers import driver_for
from include.engines.mssql.errors import translated
from include.engines.mssql.publish import TAKE_LOCK
from include.engines.mssql.sql import relation
from include.errors import BreaksConstraint, LockTimeout, RetailSyncError, TransientError

Key = Sequence[str] | None

_TURN_MS = 60_000


@dataclass
class MssqlTarget(Target):
    """
    A session in which each statement commits, outside of a transaction.

    :param records: in ODBC's autocommit; transactions are begun by statements. XACT_ABORT stays off: a broken
        rule of a table must not end the whole transaction.
    """

    connection: Connection
    application: str
    records: sa.Connection
    _depth: int = field(default=0, init=False)

    refusals = (Refused, BreaksConstraint, UnicodeEncodeError)
    keeps_texts = True

    def reason(self, error: Exception) -> str:
        """Return what was refused: the column, or the rule, without the values that the server names."""
        return "a text is no Unicode" if isinstance(error, UnicodeEncodeError) else str(error)

    def doing(self, what: str) -> AbstractContextManager[None]:
        """Raise the driver's errors as ours."""
        return translated(what)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin a transaction, or a savepoint within one; an error that ended all of it goes on."""
        savepoint = f"rs_{self._depth}" if self._depth else None
        self._run(f"SAVE TRANSACTION {savepoint}" if savepoint else "BEGIN TRANSACTION")
        self._depth += 1
        try:
            yield
        except BaseException as error:
            self._undo(savepoint, error)
            raise
        else:
            if not savepoint:
                self._run("COMMIT TRANSACTION")
        finally:
            self._depth -= 1

    @property
    def is_in_transaction(self) -> bool:
        """Whether one is open."""
        return self._depth > 0

    @property
    def is_lost(self) -> bool:
        """Whether the session has ended: nothing can be asked on it."""
        try:
            self.records.exec_driver_sql("SELECT 1").scalar()
        except (RetailSyncError, sa.exc.SQLAlchemyError):
            return True
        return False

    def wait_at_most(self, seconds: float) -> None:
        """Set the session's LOCK_TIMEOUT."""
        self._run(f"SET LOCK_TIMEOUT {int(seconds * 1000)}")

    def take_turn(self, name: str) -> None:
        """Take an application lock of the transaction."""
        result = self.records.exec_driver_sql(TAKE_LOCK, (name, _TURN_MS)).scalar_one()
        self._run("SET NOCOUNT OFF")
        if result < 0:
            raise LockTimeout(f"the lock {name} was not to be had ({result})")

    def create_schema(self, schema: str) -> None:
        """Make a schema that is missing, one run at a time."""
        if self.is_in_transaction:
            self.take_turn(f"retail-sync schema {schema}")
        self._run(create_schema(schema))

    def shape(self, schema: str, name: str) -> Shape:
        """Return key and columns of a table."""
        return mssql_columns.shape(self.records, schema, name)

    def unmarked(self, table: TargetTable, columns: Sequence[str]) -> dict[str, bool]:
        """Return the columns without our property, and whether each is NOT NULL."""
        return mssql_columns.unmarked(self.records, table, columns)

    def alter(self, table: TargetTable, change: Alteration) -> None:
        """Alter the columns of a table, one run at a time."""
        self.take_turn(f"retail-sync columns {table.schema}.{table.name}")
        mssql_columns.alter(self.records, table, change)

    def writer(self, table: TargetTable) -> MssqlWriter:
        """Return what reads and writes the rows of a table."""
        return MssqlWriter(self.records, table)

    def begin_copy(self, staging: str, columns: Columns, key: Sequence[str], *, soft: bool) -> None:
        """Make the table of a copy."""
        self.create_schema(STAGING)
        mssql_copies.begin(self.records, staging, columns, key, soft=soft)

    def fill(self, staging: str, rows: Rows, table: SourceTable, columns: Columns, between: tuple[Key, Key]) -> int:
        """
        Bulk-copy texts into a table beside it, and let the server convert them within the transaction.

        The bulk copy has a session of its own, which the transaction must not hold up: it has not touched
        that table before.
        """
        return self._filled(staging, rows, table, columns, between, strict=True)

    def fill_what_fits(self, staging: str, rows: Rows, table: SourceTable, columns: Columns) -> int:
        """Put all rows into a copy that can be held there; returns how many the source has."""
        return self._filled(staging, rows, table, columns, (None, None), strict=False)

    def _filled(
        self,
        staging: str,
        rows: Rows,
        table: SourceTable,
        columns: Columns,
        between: tuple[Key, Key],
        *,
        strict: bool,
    ) -> int:
        names = list(columns)
        with _engine(self.connection, self.application).connect() as beside:
            for statement in mssql_copies.create_heap(staging, names):
                beside.exec_driver_sql(statement)
        sent = 0

        def counted() -> Iterator[Sequence[str | None]]:
            nonlocal sent
            for row in rows.texts(table, columns, between):
                sent += 1
                yield row

        batches = mssql_copies.batches(counted(), names)
        driver_for(self.connection).load(self.connection, self.application, mssql_copies.heap(staging), names, batches)
        return mssql_copies.convert(
            self.records, staging, mssql_copies.types_of(columns, table.key), sent, strict=strict
        )

    def finish_copy(self, staging: str, key: Sequence[str]) -> None:
        """Make the primary key."""
        columns = self.shape(STAGING, staging).columns
        self._run(mssql_columns.primary_key(relation(STAGING, staging), columns, key))

    def drop_copy(self, staging: str) -> None:
        """Remove the table of a copy if it is there."""
        mssql_copies.drop(self.records, staging)

    def place(self, staging: str, schema: str, name: str, *, soft: bool) -> None:
        """Drop the old table and move the copy there, or fill it where others are bound to it."""
        mssql_copies.place(self.records, staging, schema, name, soft=soft)

    def compare(self, rows: Rows, tables: Sequence[TargetTable]) -> list[TableComparison]:
        """Copy the rows beside each table, and let the server compare them."""
        from include.cdc.targets.mssql_compare import compared

        return [compared(self, rows, table) for table in tables]

    def _undo(self, savepoint: str | None, error: BaseException) -> None:
        """
        Go back to a savepoint, or to the begin of the transaction.

        :raises TransientError: after what only one row should be refused for, if all of it has ended.
        """
        try:
            self._run(f"ROLLBACK TRANSACTION {savepoint}" if savepoint else "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
        except (RetailSyncError, sa.exc.SQLAlchemyError):
            if savepoint and isinstance(error, self.refusals):
                raise TransientError(f"the server has ended the whole transaction: {error}") from None

    def _run(self, statement: str) -> None:
        self.records.exec_driver_sql(statement)


@contextmanager
def opened(connection: Connection, application: str) -> Iterator[MssqlTarget]:
    """Open a session."""
    with _engine(connection, application).connect() as records:
        # whatever the server's `user options` are
        records.exec_driver_sql("SET NOCOUNT OFF; SET XACT_ABORT OFF")
        yield MssqlTarget(connection, application, records)


def _engine(connection: Connection, application: str) -> sa.Engine:
    return sqlalchemy_engine(connection, application).execution_options(isolation_level="AUTOCOMMIT")
