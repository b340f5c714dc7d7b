"""Arrow batches out of PostgreSQL and into it: ADBC reads, pgpq writes, both binary COPY."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pgpq
import psycopg
import pyarrow as pa
from adbc_driver_postgresql import StatementOptions
from psycopg import sql as pgsql

from include.catalog import Table
from include.engines.arrow import arrow_schema, conform
from include.engines.base import Loaded, OnRows


def read(uri: str, snapshot: str, query: str, table: Table, batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Return the rows of a query inside an exported snapshot as batches of the catalog's types."""
    schema = arrow_schema(table)
    options = {StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(batch_bytes)}
    with closing(adbc.connect(uri)) as connection, connection.cursor(adbc_stmt_kwargs=options) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        cursor.execute(query)
        for batch in cursor.fetch_record_batch():
            yield conform(batch, schema)


def write(
    session: psycopg.Connection[Any],
    copy: pgsql.Composed,
    batches: Iterator[pa.RecordBatch],
    table: Table,
    on_rows: OnRows,
) -> Loaded:
    """Write batches through a COPY statement; none of the rows stays if an error is raised."""
    encoder = pgpq.ArrowToPostgresBinaryEncoder(arrow_schema(table))
    rows = size = 0
    with session.cursor() as cursor:
        with cursor.copy(copy) as target:
            target.write(encoder.write_header())
            for batch in batches:
                data = encoder.write_batch(batch)
                target.write(data)
                rows += batch.num_rows
                size += len(data)
                on_rows(rows, size)
            target.write(encoder.finish())
        return Loaded(cursor.rowcount, size)
