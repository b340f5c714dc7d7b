"""
The seam to the drivers: sessions that are read, and bulk loads.

mssql-python reads Arrow and bulk-copies it; pyodbc takes its place where that cannot be
installed, or where the connection's extra ``client`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from include.connections import Connection
from include.errors import NotConfigured

if TYPE_CHECKING:
    import pyarrow as pa

MSSQL_PYTHON, PYODBC = "mssql-python", "pyodbc"


class Session(Protocol):
    """A session with one transaction at a time; what is not committed is rolled back when it closes."""

    def fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        ...

    def execute(self, statement: str, *values: Any) -> int:
        """Run a statement; returns the rows it changed, -1 if the server does not say."""
        ...

    def batches(
        self, query: str, values: Sequence[Any], batch_rows: int, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Return the rows of a query as batches of the schema."""
        ...

    def commit(self) -> None:
        """Commit."""
        ...

    def close(self) -> None:
        """Close the session; raises nothing."""
        ...


@dataclass(frozen=True)
class DbapiSession:
    """What both drivers' sessions have in common: a connection of the Python DB-API with autocommit off."""

    connection: Any

    def fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(statement, *values)
            return [tuple(row) for row in cursor.fetchall()]

    def execute(self, statement: str, *values: Any) -> int:
        """Run a statement; returns the rows it changed, -1 if the server does not say."""
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(statement, *values)
            return int(cursor.rowcount)

    def commit(self) -> None:
        """Commit."""
        self.connection.commit()

    def close(self) -> None:
        """Close the session; raises nothing."""
        with suppress(Exception):
            self.connection.rollback()
        with suppress(Exception):
            self.connection.close()


class Driver(Protocol):
    """Opens sessions and loads tables."""

    name: str

    def open(self, connection: Connection, application: str, *, read_only: bool) -> Session:
        """Open a session."""
        ...

    def load(
        self,
        connection: Connection,
        application: str,
        table: str,
        columns: Sequence[str],
        batches: Iterator[pa.RecordBatch],
    ) -> int:
        """
        Load batches into a table, in a session of its own; returns the rows that the driver sent.

        That number is the client's, not the server's. Where it raises, rows that were sent before
        may be in the table.

        :param table: its quoted name.
        :param columns: the table's column for each field of the batches.
        """
        ...


def driver_for(connection: Connection) -> Driver:
    """
    Return the driver for a connection.

    :raises NotConfigured: if the connection names one that does not exist.
    """
    from include.engines.mssql.via_mssql_python import MssqlPythonDriver
    from include.engines.mssql.via_pyodbc import PyodbcDriver

    wanted = connection.extra.get("client") or (MSSQL_PYTHON if find_spec("mssql_python") else PYODBC)
    if wanted == MSSQL_PYTHON:
        return MssqlPythonDriver()
    if wanted == PYODBC:
        return PyodbcDriver()
    raise NotConfigured(f"connection {connection.id!r}: extra client is {MSSQL_PYTHON} or {PYODBC}, not {wanted!r}")
