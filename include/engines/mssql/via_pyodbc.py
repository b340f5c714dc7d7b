"""pyodbc: the way where mssql-python cannot be installed; slower, with the same result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from include.connections import Connection
from include.engines.mssql.connect import connect
from include.engines.mssql.drivers import DbapiSession
from include.errors import SchemaMismatch, ValueDoesNotFit

if TYPE_CHECKING:
    import pyarrow as pa

#: pyodbc reserves the declared width of every value of all these rows.
_ROWS_AT_ONCE = 100
_SQL_WVARCHAR, _TIME_TEXT = -9, 34  # of ODBC's sqlucode.h; characters of a time


class PyodbcSession(DbapiSession):
    """A session of pyodbc."""

    def batches(
        self, query: str, values: Sequence[Any], batch_rows: int, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Return the rows of a query as batches of the schema."""
        import pyarrow as pa

        cursor = self.connection.execute(query, *values)
        try:
            while rows := cursor.fetchmany(batch_rows):
                columns = [_array(field, values) for field, values in zip(schema, zip(*rows, strict=True), strict=True)]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        finally:
            cursor.close()


class PyodbcDriver:
    """Opens sessions of pyodbc, and loads by INSERT."""

    name = "pyodbc"

    def open(self, connection: Connection, application: str, *, read_only: bool) -> PyodbcSession:
        """Open a session."""
        return PyodbcSession(connect(connection, application, read_only=read_only))

    def load(
        self,
        connection: Connection,
        application: str,
        table: str,
        columns: Sequence[str],
        batches: Iterator[pa.RecordBatch],
    ) -> int:
        """Insert batches in one transaction; returns how many rows were inserted."""
        from include.engines.mssql.sql import names

        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({names(columns)}) VALUES ({marks})"
        copied = 0
        session = PyodbcSession(connect(connection, application))
        try:
            cursor = session.connection.cursor()
            cursor.fast_executemany = True
            for batch in batches:
                cursor.setinputsizes(_input_sizes(batch.schema))
                for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    rows = _rows(batch.slice(start, _ROWS_AT_ONCE))
                    cursor.executemany(statement, rows)
                    copied += len(rows)
            session.commit()
        finally:
            session.close()
        return copied


def _array(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    # all values of a column are of one class; these Arrow would cut to the type without a word
    given = type(next((value for value in values if value is not None), None))
    if (pa.types.is_date(field.type) and given is datetime) or (
        pa.types.is_integer(field.type) and given in (float, Decimal)
    ):
        raise SchemaMismatch(f"column {field.name}: the source has a {given.__name__}, the catalog {field.type}")
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        raise ValueDoesNotFit(f"column {field.name}: a value is no {field.type}") from None


def _rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Return the rows; times as text, since pyodbc would cut their fractions off."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [
        pc.cast(column, pa.string()).to_pylist() if pa.types.is_time(column.type) else column.to_pylist()
        for column in batch.columns
    ]
    return list(zip(*columns, strict=True))


def _input_sizes(schema: pa.Schema) -> list[Any]:
    import pyarrow as pa

    text = (_SQL_WVARCHAR, _TIME_TEXT, 0)
    return [text if pa.types.is_time(field.type) else None for field in schema]
