"""Arrow batches out of PostgreSQL and into it: ADBC reads, pgpq writes, both binary COPY."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

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
    identifiers = [place for place, type_ in enumerate(table.columns.values()) if type_.base == "uniqueidentifier"]
    schema = arrow_schema(table)
    for place in identifiers:
        schema = schema.set(place, schema.field(place).with_type(pa.binary()))
    encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
    rows = size = 0
    with session.cursor() as cursor:
        with cursor.copy(copy) as target:
            target.write(encoder.write_header())
            for batch in batches:
                data = encoder.write_batch(_with_bytes(batch, identifiers))
                target.write(data)
                rows += batch.num_rows
                size += len(data)
                on_rows(rows, size)
            target.write(encoder.finish())
        return Loaded(cursor.rowcount, size)


def _with_bytes(batch: pa.RecordBatch, identifiers: list[int]) -> pa.RecordBatch:
    """Return the batch with the 16 bytes of each identifier in the place of its text, as a uuid is sent."""
    for place in identifiers:
        values = [None if text is None else UUID(text).bytes for text in batch.column(place).to_pylist()]
        batch = batch.set_column(place, batch.schema.field(place).with_type(pa.binary()), pa.array(values, pa.binary()))
    return batch
