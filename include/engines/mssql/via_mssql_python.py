"""mssql-python: Arrow out of the server by ODBC, and into it by a bulk copy of its own session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from include.connections import Connection
from include.engines.mssql.connect import login_timeout, odbc_string, query_timeout
from include.engines.mssql.drivers import DbapiSession
from include.engines.mssql.errors import translated, translation
from include.engines.mssql.odbc import lacking, load_wheel
from include.errors import NotConfigured

if TYPE_CHECKING:
    import pyarrow as pa


class MssqlPythonSession(DbapiSession):
    """A session of mssql-python."""

    def batches(
        self, query: str, values: Sequence[Any], batch_rows: int, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Return the rows of a query as batches of the schema."""
        from include.engines.arrow import conform

        with self.connection.cursor() as cursor:
            cursor.execute(query, *values)
            for batch in cursor.arrow_reader(batch_rows):
                yield conform(batch, schema)


class MssqlPythonDriver:
    """Opens sessions of mssql-python, and bulk-copies."""

    name = "mssql-python"

    def open(self, connection: Connection, application: str, *, read_only: bool) -> MssqlPythonSession:
        """Open a session."""
        return MssqlPythonSession(_connect(connection, application, read_only=read_only))

    def load(
        self,
        connection: Connection,
        application: str,
        table: str,
        columns: Sequence[str],
        batches: Iterator[pa.RecordBatch],
    ) -> int:
        """
        Bulk-copy batches into a table; returns the rows that the driver sent.

        What the batches raise is raised here, be it an interrupt, not what the copy makes of it:
        the core ends the copy as if there were no more rows, and knows the error as a text only.
        """
        import pyarrow as pa

        first = next(batches, None)
        if first is None:
            return 0
        raised: list[BaseException] = []

        def watched() -> Iterator[pa.RecordBatch]:
            try:
                yield first
                yield from batches
            except GeneratorExit:
                raise
            except BaseException as error:
                raised.append(error)
                raise

        reader = pa.RecordBatchReader.from_batches(first.schema, watched())
        session = _connect(connection, application, read_only=False)
        # the copy takes this for the limit of its own login
        session.timeout = login_timeout(connection)
        doing = f"copying into {table}"
        try:
            with session.cursor() as cursor:
                done = cursor.bulkcopy_arrow(
                    table,
                    reader,
                    timeout=query_timeout(connection),
                    table_lock=True,
                    keep_nulls=True,
                    column_mappings=list(columns),
                )
        except BaseException as error:
            if raised:
                raise raised[0] from None
            # a panic of the Rust below is no Exception
            if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
                raise translation(doing, error) from None
            raise
        finally:
            with suppress(Exception):
                session.close()
        if raised:
            raise raised[0]
        return int(done["rows_copied"])


def _connect(connection: Connection, application: str, *, read_only: bool) -> Any:
    driver = _module()
    text = odbc_string(connection, application, read_only=read_only)
    try:
        with translated(f"connecting to {connection}"):
            session = driver.connect(text, autocommit=False, timeout=login_timeout(connection))
    except NotConfigured:
        load_wheel()  # raises with the name of what is missing, which mssql-python does not tell
        raise
    session.timeout = query_timeout(connection)
    return session


@cache
def _module() -> ModuleType:
    try:
        import mssql_python
    except ImportError as error:
        raise lacking(str(error)) from None
    # a session that is handed out again would keep isolation level and settings
    mssql_python.pooling(enabled=False)
    return mssql_python
