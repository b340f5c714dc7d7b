"""Refuse a value that the column of the catalog cannot hold, by table, column and key, before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from include.catalog import SqlType, Table
from include.errors import ValueDoesNotFit
from include.windows import Span

#: The lowest and the highest value of types whose Arrow type holds more. (Transact-SQL reference, data types)
_RANGES: dict[str, tuple[Any, Any]] = {
    "datetime": (datetime(1753, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 997000)),  # noqa: DTZ001 (has no zone)
    "smalldatetime": (datetime(1900, 1, 1), datetime(2079, 6, 6, 23, 59)),  # noqa: DTZ001 (has no zone)
    "money": (Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")),
    "smallmoney": (Decimal("-214748.3648"), Decimal("214748.3647")),
}


#: SQL Server counts in UTF-16, where these characters take two units.
_TWO_UNITS = r"[\x{10000}-\x{10FFFF}]"


def fitting(
    batches: Iterator[pa.RecordBatch], table: Table, span: Span, *, sql_server: bool
) -> Iterator[pa.RecordBatch]:
    """
    Return the batches, each of them looked at.

    :param sql_server: whether the limits are SQL Server's; PostgreSQL's types only limit the length of text.
    :raises ValueDoesNotFit: naming table, column and the row's key.
    """
    for batch in batches:
        for name, type_ in table.columns.items():
            if (row := _first_misfit(batch.column(name), type_, sql_server)) is not None:
                raise ValueDoesNotFit(
                    f"{table.name} {span.name}: column {name} of the row with {_key(batch, table, row)}:"
                    f" the value is no {type_} (widen the column, or mend the value at the source)"
                )
        yield batch


def _first_misfit(column: pa.Array, type_: SqlType, sql_server: bool) -> int | None:
    misfits = None
    if type_.is_text and type_.length is not None:
        # there are never more characters than bytes: most columns need no second look
        if (pc.max(pc.binary_length(column)).as_py() or 0) > type_.length:
            units = pc.utf8_length(column)
            if sql_server:
                units = pc.add(units, pc.count_substring_regex(column, _TWO_UNITS))
            misfits = pc.greater(units, type_.length)
    elif sql_server and type_.base in _RANGES:
        low, high = (pa.scalar(bound).cast(column.type) for bound in _RANGES[type_.base])
        misfits = pc.or_(pc.less(column, low), pc.greater(column, high))
    if misfits is None:
        return None
    place = pc.index(misfits, True).as_py()
    return None if place < 0 else int(place)


def _key(batch: pa.RecordBatch, table: Table, row: int) -> str:
    if not table.key:
        return f"number {row} of its batch, the table has no key"
    return ", ".join(f"{name} {batch.column(name)[row].as_py()}" for name in table.key)
