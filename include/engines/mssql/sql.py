"""
The statements that read and compare a span in T-SQL: pure, no connection.

Each is a pair of text and values, which are bound as ``?``; names come from the catalog and
are quoted. Nothing here needs more than the common core of T-SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import time
from typing import Any

from include.catalog import SqlType, Table
from include.catalog.models import HASH_LENGTH
from include.engines.base import VERSION, Level
from include.engines.mssql.types import declared, readable
from include.engines.policies import pads
from include.windows import Changes, Span, Undated, Whole

_COLUMNS = """
    SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION
    FROM INFORMATION_SCHEMA.COLUMNS
    WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?
    ORDER BY ORDINAL_POSITION
"""

#: A statement takes 2,100 values.
_MOST_VALUES = 2000

#: A statement and the values of its question marks.
Statement = tuple[str, tuple[Any, ...]]


def quoted(name: str) -> str:
    """Return a name in brackets."""
    return f"[{name.replace(']', ']]')}]"


def relation(schema: str, name: str) -> str:
    """Return the quoted name of a table."""
    return f"{quoted(schema)}.{quoted(name)}"


def names(columns: Iterable[str]) -> str:
    """Return quoted names with commas between."""
    return ", ".join(map(quoted, columns))


def declarations(columns: Mapping[str, SqlType], form: Callable[[SqlType], str]) -> str:
    """Return the columns of a CREATE TABLE, each nullable and of the type that ``form`` gives."""
    return ", ".join(f"{quoted(name)} {form(type_)} NULL" for name, type_ in columns.items())


def literal(text: str) -> str:
    """Return a string as a literal; only for names of objects, values are bound."""
    return "N'" + text.replace("'", "''") + "'"


def source_name(table: Table) -> str:
    """Return the quoted name of the table at the source."""
    return relation(table.source_schema, table.name)


def source_relation(table: Table, secret: bytes | None) -> str:
    """
    Return what is read at the source: the table, or a query of it that holds back what may not leave.

    :param secret: the key of hashed columns.
    :raises NotConfigured: if a column is to be hashed without a key.
    """
    if not table.changed:
        return source_name(table)
    columns = ", ".join(_held_back(table, name, secret) for name in table.columns)
    return f"(SELECT {columns} FROM {source_name(table)}) AS [held_back]"


def _held_back(table: Table, name: str, secret: bytes | None) -> str:
    column, policy = quoted(name), table.policies.get(name, "copy")
    if policy == "copy":
        return column
    value = _hashed(column, *pads(table, secret)) if policy == "hash" else "NULL"
    return f"CONVERT({declared(table.columns[name])}, {value}) AS {column}"


def _hashed(column: str, inner: bytes, outer: bytes) -> str:
    """Return HMAC-SHA256 of a column's UTF-16 text; the server has no function of a key, so the pads are constants."""
    text = f"CONVERT(varbinary(max), CONVERT(nvarchar(max), {column}))"
    digest = f"HASHBYTES('SHA2_256', 0x{inner.hex()} + {text})"
    # style 2 is hex digits without 0x
    return f"LOWER(CONVERT(char({HASH_LENGTH}), HASHBYTES('SHA2_256', 0x{outer.hex()} + {digest}), 2))"


def target_name(table: Table) -> str:
    """Return the quoted name of the table in the warehouse."""
    return relation(table.target_schema, table.target_table)


def business_date(table: Table) -> str:
    """
    Return the expression of a row's business date, NULL where there is none.

    Text that is not of the declared form is NULL, as it is for the other engines: two digits,
    two digits and four, with no digit behind.
    """
    if table.date is None:
        return "CAST(NULL AS date)"
    column = quoted(table.date)
    if not table.date_is_text:
        return f"CAST({column} AS date)"
    form = "[0-9][0-9]/[0-9][0-9]/[0-9][0-9][0-9][0-9]"
    return (
        f"CASE WHEN {column} LIKE '{form}%' AND {column} NOT LIKE '{form}[0-9]%'"
        f" THEN TRY_CONVERT(date, LEFT({column}, 10), 103) END"
    )


def in_span(table: Table, span: Span) -> Statement:
    """Return the condition that a row lies in the span."""
    if isinstance(span, Whole):
        return "1 = 1", ()
    assert table.date is not None
    assert not isinstance(span, Changes)
    value = business_date(table) if table.date_is_text else quoted(table.date)
    if isinstance(span, Undated):
        return f"{value} IS NULL", ()
    return f"{value} >= ? AND {value} < ?", (span.start, span.end)


def outside_span(table: Table, span: Span) -> Statement:
    """Return the condition that a row does not lie in the span, be its date NULL or not."""
    condition, values = in_span(table, span)
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END = 0", values


def among(table: Table, keys: Sequence[tuple[Any, ...]]) -> Statement:
    """Return the condition that a row has one of these keys, no more than ``keys_at_once``."""
    # in the column's own type, so that an index of the key is of use
    bound = {name: f"CONVERT({declared(table.columns[name])}, ?)" for name in table.key}
    # pyodbc would cut the fractions of a time off
    values = tuple(str(value) if isinstance(value, time) else value for key in keys for value in key)
    if len(bound) == 1:
        ((name, value),) = bound.items()
        return f"{quoted(name)} IN ({', '.join([value] * len(keys))})", values
    one = " AND ".join(f"{quoted(name)} = {value}" for name, value in bound.items())
    return " OR ".join([f"({one})"] * len(keys)), values


def keys_at_once(table: Table) -> int:
    """Return how many keys a statement can bind."""
    return _MOST_VALUES // len(table.key)


def above(table: Table, mark: bytes) -> Statement:
    """Return the condition that a row's rowversion is above a mark."""
    assert table.rowversion is not None
    return f"{quoted(table.rowversion)} > CONVERT(binary(8), ?)", (mark,)


def select(table: Table, relation: str, span: Span) -> Statement:
    """Return the query for the rows of a span, as ``select_where`` does."""
    return select_where(table, relation, in_span(table, span))


def select_where(table: Table, relation: str, condition: Statement) -> Statement:
    """Return the query for rows, each column as its Arrow type holds it."""
    where, values = condition
    return f"SELECT {_read(table, table.columns)} FROM {relation} WHERE {where}", values


def pairs(table: Table, relation: str, condition: Statement) -> Statement:
    """Return the query for key and rowversion of rows."""
    assert table.rowversion is not None
    where, values = condition
    version = f"CONVERT(binary(8), {quoted(table.rowversion)}) AS {quoted(VERSION)}"
    return f"SELECT {_read(table, table.key)}, {version} FROM {relation} WHERE {where}", values


def _read(table: Table, columns: Iterable[str]) -> str:
    return ", ".join(f"{readable(table.columns[name], quoted(name))} AS {quoted(name)}" for name in columns)


def highest_version(table: Table) -> str:
    """Return the query for the highest rowversion of the replica; not every engine has a MAX of bytes."""
    assert table.rowversion is not None
    version = quoted(table.rowversion)
    return f"SELECT TOP (1) {version} FROM {target_name(table)} WHERE {version} IS NOT NULL ORDER BY {version} DESC"


def digest(table: Table, relation: str, span: Span, level: Level) -> Statement:
    """
    Return the query for (day, rows, sum) of a span; of a table without a date it has one row, also without rows.

    The sum is 0, or that of the rowversions; the server has no checksum of rows that is worth
    the name and that all T-SQL engines have, so rows are summed by ``include.engines.rowsums``.
    """
    if level is Level.CHECKSUM:
        raise ValueError("T-SQL servers have no checksum of their own here")
    total = "0"
    if level is Level.VERSIONS and table.rowversion:
        total = f"COALESCE(SUM(CAST(CAST({quoted(table.rowversion)} AS bigint) AS decimal(38,0))), 0)"
    day = business_date(table)
    condition, values = in_span(table, span)
    # SQL Server refuses to group by a constant
    group = f" GROUP BY {day}" if table.date else ""
    return f"SELECT {day}, COUNT_BIG(*), {total} FROM {relation} WHERE {condition}{group}", values


def columns_of(schema: str, name: str) -> Statement:
    """Return the query for (name, type, length, precision, scale, digits of a second) of a table's columns."""
    return _COLUMNS, (schema, name)
