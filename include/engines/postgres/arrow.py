"""Arrow batches out of PostgreSQL and into it: ADBC reads, pgpq writes, both binary COPY."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from uuid import UUID

import adbc_driver_postgresql.dbapi as adbc
import pgpq
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_postgresql import StatementOptions
from psycopg import sql as pgsql

from include.catalog import SqlType, Table
from include.engines.arrow import arrow_schema, conform, pairs_schema
from include.engines.base import Level, Loaded, OnRows
from include.engines.postgres import sql
from include.engines.postgres.types import kept
from include.errors import ValueDoesNotFit

log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 16 * 1024
_PAIR_BYTES = 16

#: Characters of a time with six digits of a second.
_SIX_DIGITS = {"datetime2": 26, "time": 15}


def read(uri: str, snapshot: str | None, query: str, schema: pa.Schema, batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Return the rows of a query, in an exported snapshot if one is named, as batches of the schema's types."""
    options = {StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(batch_bytes)}
    with closing(adbc.connect(uri)) as connection, connection.cursor(adbc_stmt_kwargs=options) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if snapshot:
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        cursor.execute(query)
        for batch in cursor.fetch_record_batch():
            yield conform(batch, schema)


def read_few(session: psycopg.Connection[Any], query: pgsql.Composed, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """
    Return the rows of a query on a session of ours, as batches of the schema's types.

    For rows of few columns, or few rows: a session of ADBC's takes longer to open than these to read.
    """
    with session.cursor(name="few", binary=True) as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            columns = [
                _array(list(values), field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def read_pairs(
    session: psycopg.Connection[Any],
    table: Table,
    relation: pgsql.Composable,
    condition: pgsql.Composable,
    level: Level,
) -> Iterator[pa.RecordBatch]:
    """Return key and version of rows: packed by the server where they have the form for it, else row by row."""
    schema = pairs_schema(table, level)
    if level is Level.CHECKSUM or not sql.can_be_packed(table):
        yield from read_few(session, sql.pairs(table, relation, condition, level), schema)
        return
    with session.cursor(binary=True) as cursor:
        row = cursor.execute(sql.packed_pairs(table, relation, condition)).fetchone()
    if row is not None and row[0] is not None:
        yield _unpacked(row[0], schema)


def _unpacked(packed: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """Return pairs of which each is eight bytes of key and eight of version."""
    import polars as pl

    count = len(packed) // _PAIR_BYTES
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(_PAIR_BYTES), count, [None, pa.py_buffer(packed)])
    pairs = array.cast(pa.binary())
    keys = pl.Series(pl.from_arrow(pc.binary_slice(pairs, 0, 8))).bin.reinterpret(dtype=pl.Int64, endianness="big")
    columns = [keys.to_arrow().cast(schema.field(0).type), pc.binary_slice(pairs, 8, _PAIR_BYTES)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    """Decimals come as text."""
    return pa.array(values, pa.string()).cast(type_) if pa.types.is_decimal(type_) else pa.array(values, type_)


def write(
    session: psycopg.Connection[Any],
    copy: pgsql.Composed,
    batches: Iterator[pa.RecordBatch],
    table: Table,
    shape: Mapping[str, SqlType | str],
    on_rows: OnRows,
) -> Loaded:
    """
    Write batches through a COPY statement; none of the rows stays if an error is raised.

    :param shape: the columns of the target: an integer is sent as wide as it is there.
    """
    identifiers = [place for place, type_ in enumerate(table.columns.values()) if type_.base == "uniqueidentifier"]
    times = _seven_digit_times(table)
    integers = _integers_of(table, shape)
    schema = arrow_schema(table)
    for place, type_ in integers.items():
        schema = schema.set(place, schema.field(place).with_type(type_))
    for place in identifiers:
        schema = schema.set(place, schema.field(place).with_type(pa.binary()))
    for place, base in times.items():
        schema = schema.set(place, schema.field(place).with_type(_TIME_TYPES[base]))
    encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
    rows = size = 0
    with session.cursor() as cursor:
        with cursor.copy(copy) as target:
            target.write(encoder.write_header())
            for batch in batches:
                data = encoder.write_batch(
                    _with_times(_with_bytes(_with_integers(batch, integers), identifiers), times)
                )
                target.write(data)
                rows += batch.num_rows
                size += len(data)
                on_rows(rows, size)
            target.write(encoder.finish())
        return Loaded(cursor.rowcount, size)


def with_exact_times(batches: Iterator[pa.RecordBatch], table: Table) -> Iterator[pa.RecordBatch]:
    """
    Return the batches, each of them looked at: PostgreSQL would round a second to the digits of its column.

    :raises ValueDoesNotFit: if a second has more digits than the catalog's type.
    """
    digits = [(name, type_, kept(type_).fraction) for name, type_ in table.columns.items()]
    fewer = [(name, type_, 10 ** (6 - count)) for name, type_, count in digits if count is not None and count < 6]
    for batch in batches:
        for name, type_, step in fewer:
            ticks = batch.column(name).cast(pa.int64())
            whole = pc.multiply(pc.divide(ticks, step), step)
            if pc.any(pc.not_equal(ticks, whole)).as_py():
                raise ValueDoesNotFit(
                    f"{table.name}: column {name}: a second has more digits than {type_}"
                    " (widen the column, or mend the value at the source)"
                )
        yield batch


def without_seventh_digits(batches: Iterator[pa.RecordBatch], table: Table) -> Iterator[pa.RecordBatch]:
    """Return the batches with a 0 in the place of the seventh digit of a second, and log how many were another."""
    times = _seven_digit_times(table)
    if not times:
        yield from batches
        return
    lost = dict.fromkeys(times, 0)
    for batch in batches:
        for place, base in times.items():
            column, end = batch.column(place), _SIX_DIGITS[base]
            last = pc.utf8_slice_codeunits(column, end, end + 1)
            lost[place] += pc.sum(pc.not_equal(last, "0")).as_py() or 0
            kept = pc.binary_join_element_wise(pc.utf8_slice_codeunits(column, 0, end), "0", "")
            batch = batch.set_column(place, batch.schema.field(place), kept)
        yield batch
    names = list(table.columns)
    for place, count in lost.items():
        if count:
            log.warning("%s.%s: the 7th digit of the second of %s values was cut off", table.name, names[place], count)


_TIME_TYPES = {"datetime2": pa.timestamp("us"), "time": pa.time64("us")}


def _seven_digit_times(table: Table) -> dict[int, str]:
    """Return the place and the base type of each column of times that Arrow holds as text."""
    columns = enumerate(table.columns.values())
    return {place: type_.base for place, type_ in columns if type_.is_exact_only_as_text and type_.base in _TIME_TYPES}


#: Integers as the server names them, read back as types of the catalog.
_INTEGER_TYPES = {"smallint": pa.int16(), "int": pa.int32(), "bigint": pa.int64()}


def _integers_of(table: Table, shape: Mapping[str, SqlType | str]) -> dict[int, pa.DataType]:
    """Return the place and the target's type of each integer that is wider there."""
    found = enumerate((shape.get(name), kept(type_)) for name, type_ in table.columns.items())
    return {
        place: _INTEGER_TYPES[there.base]
        for place, (there, here) in found
        if isinstance(there, SqlType) and there != here and {there.base, here.base} <= _INTEGER_TYPES.keys()
    }


def _with_integers(batch: pa.RecordBatch, integers: dict[int, pa.DataType]) -> pa.RecordBatch:
    """Return the batch with integers as wide as the target's."""
    for place, type_ in integers.items():
        batch = batch.set_column(place, batch.schema.field(place).with_type(type_), batch.column(place).cast(type_))
    return batch


def _with_times(batch: pa.RecordBatch, times: dict[int, str]) -> pa.RecordBatch:
    """Return the batch with times in the place of their text."""
    for place, base in times.items():
        text = pc.utf8_slice_codeunits(batch.column(place), 0, _SIX_DIGITS[base])
        if base == "time":
            text = pc.binary_join_element_wise("1970-01-01", text, " ")
        values = text.cast(pa.timestamp("us")).cast(_TIME_TYPES[base])
        batch = batch.set_column(place, batch.schema.field(place).with_type(_TIME_TYPES[base]), values)
    return batch


def _with_bytes(batch: pa.RecordBatch, identifiers: list[int]) -> pa.RecordBatch:
    """Return the batch with the 16 bytes of each identifier in the place of its text, as a uuid is sent."""
    for place in identifiers:
        values = [None if text is None else UUID(text).bytes for text in batch.column(place).to_pylist()]
        batch = batch.set_column(place, batch.schema.field(place).with_type(pa.binary()), pa.array(values, pa.binary()))
    return batch
