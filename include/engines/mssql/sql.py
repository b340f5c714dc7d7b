"""
The statements that read and compare a span in T-SQL: pure, no connection.

Each is a pair of text and values, which are bound as ``?``; names come from the catalog and
are quoted. Nothing here needs more than the common core of T-SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from include.catalog import SqlType, Table
from include.engines.base import Level
from include.engines.mssql.types import readable
from include.windows import Span, Undated

_COLUMNS = """
    SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION
    FROM INFORMATION_SCHEMA.COLUMNS
    WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?
    ORDER BY ORDINAL_POSITION
"""

#: A statement and the values of its question marks.
Statement = tuple[str, tuple[Any, ...]]


def quoted(name: str) -> str:
    """Return a name in brackets."""
    return f"[{name.replace(']', ']]')}]"


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
    return f"{quoted(table.source_schema)}.{quoted(table.name)}"


def target_name(table: Table) -> str:
    """Return the quoted name of the table in the warehouse."""
    return f"{quoted(table.target_schema)}.{quoted(table.target_table)}"


def business_date(table: Table) -> str:
    """
    Return the expression of a row's business date, NULL where there is none.

    Text that is not of the declared form is NULL, as it is for the other engines: two digits,
    two digits and four, with no digit behind.
    """
    assert table.date is not None
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
    assert table.date is not None
    value = business_date(table) if table.date_is_text else quoted(table.date)
    if isinstance(span, Undated):
        return f"{value} IS NULL", ()
    return f"{value} >= ? AND {value} < ?", (span.start, span.end)


def outside_span(table: Table, span: Span) -> Statement:
    """Return the condition that a row does not lie in the span, be its date NULL or not."""
    condition, values = in_span(table, span)
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END = 0", values


def select(table: Table, relation: str, span: Span) -> Statement:
    """Return the query for the rows of a span, each column as its Arrow type holds it."""
    columns = ", ".join(f"{readable(type_, quoted(name))} AS {quoted(name)}" for name, type_ in table.columns.items())
    condition, values = in_span(table, span)
    return f"SELECT {columns} FROM {relation} WHERE {condition}", values


def digest(table: Table, relation: str, span: Span, level: Level) -> Statement:
    """
    Return the query for (day, rows, sum) of a span.

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
    return f"SELECT {day}, COUNT_BIG(*), {total} FROM {relation} WHERE {condition} GROUP BY {day}", values


def columns_of(schema: str, name: str) -> Statement:
    """Return the query for (name, type, length, precision, scale, digits of a second) of a table's columns."""
    return _COLUMNS, (schema, name)
