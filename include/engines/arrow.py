"""
The Arrow types of the catalog's columns: what batches hold, whichever database they come from.

Where Arrow has no exact type the values are ISO text with seven digits of a second:
``2025-10-01 13:45:00.1234567``, an offset from UTC behind it as `` +08:00``.
"""

from __future__ import annotations

import pyarrow as pa

from include.catalog import SqlType, Table
from include.engines.base import VERSION, Level
from include.errors import SchemaMismatch, ValueDoesNotFit

_PLAIN: dict[str, pa.DataType] = {
    "tinyint": pa.uint8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "bit": pa.bool_(),
    "real": pa.float32(),
    "float": pa.float64(),
    "money": pa.decimal128(19, 4),
    "smallmoney": pa.decimal128(10, 4),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "datetime": pa.timestamp("us"),
    "smalldatetime": pa.timestamp("us"),
    "datetime2": pa.timestamp("us"),
    "image": pa.binary(),
    "binary": pa.binary(),
    "varbinary": pa.binary(),
    "uniqueidentifier": pa.string(),
    "rowversion": pa.binary(),
}


def arrow_type(type_: SqlType) -> pa.DataType:
    """Return the Arrow type that holds every value of a column type."""
    if type_.is_text or type_.is_exact_only_as_text:
        return pa.string()
    if type_.base == "decimal":
        return pa.decimal128(type_.precision or 38, type_.scale or 0)
    return _PLAIN[type_.base]


def arrow_schema(table: Table) -> pa.Schema:
    """Return the schema of a table's batches: the catalog's columns in their order."""
    return pa.schema([pa.field(name, arrow_type(type_)) for name, type_ in table.columns.items()])


def pairs_schema(table: Table, level: Level) -> pa.Schema:
    """Return the schema of pairs of key and version."""
    keys = [pa.field(name, arrow_type(table.columns[name])) for name in table.key]
    return pa.schema([*keys, pa.field(VERSION, pa.binary() if level is Level.VERSIONS else pa.int64())])


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """
    Return the batch with exactly the schema's types.

    :raises ValueDoesNotFit: naming the column whose values the type cannot hold.
    :raises SchemaMismatch: naming the column, if its type would lose a part of every value.
    """
    columns = []
    for field, column in zip(schema, batch.columns, strict=True):
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_timestamp(column.type) and pa.types.is_date(field.type):
            # the cast would cut the time of day off without a word
            raise SchemaMismatch(f"column {field.name}: the source has {column.type}, the catalog a date")
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowInvalid:
            raise ValueDoesNotFit(f"column {field.name}: a value of {column.type} is no {field.type}") from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)
