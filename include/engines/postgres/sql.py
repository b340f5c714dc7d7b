"""
The statements that read and compare a span in PostgreSQL: pure, no connection.

COPY takes no parameters, so dates are written as literals, by psycopg; names come
from the catalog and are quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from include.catalog import SqlType, Table
from include.engines.base import Level
from include.engines.policies import pads
from include.engines.postgres.types import postgres_type
from include.windows import Changes, Span, Undated, Whole

Query = sql.Composed

#: A zoned time of PostgreSQL and an ISO text both become ISO text with hours and minutes of offset.
_ZONED = "regexp_replace({}::text, '([+-][0-9]{{2}})$', ' \\1:00')"

#: ADBC decodes a numeric to text anyway, four times slower than the server writes it, and a uuid to bytes.
_READ_AS_TEXT = ("decimal", "money", "smallmoney", "uniqueidentifier")


def names(columns: tuple[str, ...] | list[str], prefix: str = "") -> Query:
    """Return quoted column names with commas between."""
    start = sql.SQL(f"{prefix}.") if prefix else sql.SQL("")
    return sql.SQL(", ").join(start + sql.Identifier(column) for column in columns)


def source_name(table: Table) -> sql.Identifier:
    """Return the quoted name of the table at the source."""
    return sql.Identifier(table.source_schema, table.name)


def source_relation(table: Table, secret: bytes | None) -> sql.Composable:
    """
    Return what is read at the source: the table, or a query of it that holds back what may not leave.

    :param secret: the key of hashed columns.
    :raises NotConfigured: if a column is to be hashed without a key.
    """
    if not table.changed:
        return source_name(table)
    columns = [_held_back(table, name, secret) for name in table.columns]
    return sql.SQL("(SELECT {} FROM {}) AS held_back").format(sql.SQL(", ").join(columns), source_name(table))


def _held_back(table: Table, name: str, secret: bytes | None) -> sql.Composable:
    column, policy = sql.Identifier(name), table.policies.get(name, "copy")
    if policy == "copy":
        return column
    value: sql.Composable = sql.SQL("NULL")
    if policy == "hash":
        inner, outer = (sql.Literal(pad) for pad in pads(table, secret))
        value = sql.SQL("encode(sha256({} || sha256({} || convert_to({}::text, 'UTF8'))), 'hex')").format(
            outer, inner, column
        )
    type_ = sql.SQL(postgres_type(table.columns[name]))
    return sql.SQL("{}::{} AS {}").format(value, type_, column)


def target_name(table: Table) -> sql.Identifier:
    """Return the quoted name of the table in the warehouse."""
    return sql.Identifier(table.target_schema, table.target_table)


def business_date(table: Table) -> Query:
    """
    Return the expression of a row's business date, NULL where there is none.

    A text date is taken apart and checked by arithmetic: whatever the text is, the
    expression does not fail, and being immutable it may be indexed.
    """
    if table.date is None:
        return sql.Composed([sql.SQL("NULL::date")])
    column = sql.Identifier(table.date)
    if not table.date_is_text:
        return sql.SQL("{}::date").format(column)
    part = "substr({column}, {at}, {length})::int"
    day, month, year = (
        sql.SQL(part).format(column=column, at=sql.Literal(at), length=sql.Literal(length))
        for at, length in ((1, 2), (4, 2), (7, 4))
    )
    return sql.SQL(
        "CASE WHEN {column} ~ '^[0-9]{{2}}/[0-9]{{2}}/[0-9]{{4}}($|[^0-9])' AND {year} > 0"
        " AND {month} BETWEEN 1 AND 12 AND {day} BETWEEN 1 AND CASE"
        " WHEN {month} IN (4, 6, 9, 11) THEN 30 WHEN {month} <> 2 THEN 31"
        " WHEN {year} % 4 = 0 AND ({year} % 100 <> 0 OR {year} % 400 = 0) THEN 29 ELSE 28 END"
        " THEN make_date({year}, {month}, {day}) END"
    ).format(column=column, day=day, month=month, year=year)


def in_span(table: Table, span: Span) -> Query:
    """Return the condition that a row lies in the span."""
    if isinstance(span, Whole):
        return sql.Composed([sql.SQL("TRUE")])
    assert table.date is not None
    assert not isinstance(span, Changes)
    value = business_date(table) if table.date_is_text else sql.Composed([sql.Identifier(table.date)])
    if isinstance(span, Undated):
        return sql.SQL("{} IS NULL").format(value)
    return sql.SQL("{value} >= {start} AND {value} < {end}").format(
        value=value, start=sql.Literal(span.start), end=sql.Literal(span.end)
    )


def among(table: Table, keys: Sequence[tuple[Any, ...]]) -> Query:
    """Return the condition that a row has one of these keys."""
    arrays = [
        sql.SQL("{}::{}[]").format(
            sql.Literal([key[place] for key in keys]), sql.SQL(postgres_type(table.columns[name]))
        )
        for place, name in enumerate(table.key)
    ]
    if len(arrays) == 1:
        return sql.SQL("{} = ANY({})").format(names(table.key), arrays[0])
    return sql.SQL("({}) IN (SELECT * FROM unnest({}))").format(names(table.key), sql.SQL(", ").join(arrays))


def above(table: Table, mark: bytes) -> Query:
    """Return the condition that a row's rowversion is above a mark."""
    assert table.rowversion is not None
    return sql.SQL("{} > {}").format(sql.Identifier(table.rowversion), sql.Literal(mark))


def pairs(table: Table, relation: sql.Composable, condition: sql.Composable, level: Level) -> Query:
    """Return the query for key and version of rows: the rowversion, or the hash of all values."""
    assert table.rowversion is not None or level is Level.CHECKSUM
    version = _row_hash(table) if level is Level.CHECKSUM else sql.Identifier(table.rowversion or "")
    keys = [_arrow_value(name, table.columns[name]) for name in table.key]
    return sql.SQL("SELECT {}, {} FROM {} WHERE {}").format(sql.SQL(", ").join(keys), version, relation, condition)


def packed_pairs(table: Table, relation: sql.Composable, condition: sql.Composable) -> Query:
    """
    Return the query for one value: key and rowversion of all rows, eight bytes each, the highest first.

    Sixteen bytes a row; rows by themselves take three times as long to send and to read.
    """
    assert can_be_packed(table)
    return sql.SQL(
        "SELECT string_agg(int8send({}::bigint) || coalesce({}, decode('0000000000000000', 'hex')), ''::bytea)"
        " FROM {} WHERE {}"
    ).format(names(table.key), sql.Identifier(table.rowversion or ""), relation, condition)


def can_be_packed(table: Table) -> bool:
    """Whether a table's key is one integer, and its rows have a rowversion."""
    integers = ("tinyint", "smallint", "int", "bigint")
    return len(table.key) == 1 and table.columns[table.key[0]].base in integers and table.rowversion is not None


def select(table: Table, relation: sql.Composable, span: Span) -> Query:
    """Return the query for the rows of a span, in the catalog's order of columns."""
    columns = sql.SQL(", ").join(_value(name, type_) for name, type_ in table.columns.items())
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(columns, relation, in_span(table, span))


def select_for_arrow(table: Table, relation: sql.Composable, span: Span) -> Query:
    """Return the query for the rows of a span, as ``select_where_for_arrow`` does."""
    return select_where_for_arrow(table, relation, in_span(table, span))


def select_where_for_arrow(table: Table, relation: sql.Composable, condition: sql.Composable) -> Query:
    """Return the query for rows with decimals, identifiers and what is exact only as text as text."""
    columns = [_arrow_value(name, type_) for name, type_ in table.columns.items()]
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(sql.SQL(", ").join(columns), relation, condition)


def _value(name: str, type_: SqlType) -> Query:
    """Return the expression of a column as the warehouse keeps it."""
    return sql.SQL(_ZONED if type_.base == "datetimeoffset" else "{}").format(sql.Identifier(name))


def _arrow_value(name: str, type_: SqlType) -> Query:
    column = sql.Identifier(name)
    if type_.base in _READ_AS_TEXT:
        return sql.SQL("{}::text").format(column)
    if type_.base == "datetime2" and type_.is_exact_only_as_text:
        return sql.SQL("to_char({}, 'YYYY-MM-DD HH24:MI:SS.US') || '0'").format(column)
    if type_.base == "time" and type_.is_exact_only_as_text:
        return sql.SQL("to_char({}::interval, 'HH24:MI:SS.US') || '0'").format(column)
    return _value(name, type_)


def digest(table: Table, relation: sql.Composable, span: Span, level: Level) -> Query:
    """Return the query for (day, rows, sum) of a span; equal rows give equal sums in any order."""
    sums = {
        Level.COUNTS: sql.Composed([sql.SQL("0")]),
        Level.VERSIONS: _version_sum(table),
        Level.CHECKSUM: sql.SQL("coalesce(sum({}), 0)").format(_row_hash(table)),
    }
    return sql.SQL("SELECT {day} AS day, count(*), {sum} FROM {relation} WHERE {condition} GROUP BY 1").format(
        day=business_date(table), sum=sums[level], relation=relation, condition=in_span(table, span)
    )


#: Narrower integers are widened by the server; columns of other types are hashed together, as a record.
_HASHES = {
    "tinyint": "hashint8extended",
    "smallint": "hashint8extended",
    "int": "hashint8extended",
    "bigint": "hashint8extended",
    "decimal": "hash_numeric_extended",
}


def _row_hash(table: Table) -> Query:
    """
    Return the expression of a row's 64-bit hash: the hashes of its columns, mixed by XOR.

    Each column is seeded with its place, so that values which change places are noticed, and
    a NULL hashes to the place itself. Hashing a record of all columns says the same and takes
    half as long again (4.3 against 2.6 CPU seconds for 300,000 rows of 184 columns).
    """
    alone, together = [], []
    for place, (name, type_) in enumerate(table.columns.items()):
        as_text = type_.is_text or type_.base == "datetimeoffset"
        value = _padded(name, type_) if type_.base in ("char", "nchar") else _value(name, type_)
        function = "hashtextextended" if as_text else _HASHES.get(type_.base)
        if function is None:
            together.append(name)
            continue
        alone.append(
            sql.SQL("coalesce({function}({column}, {place}), {place})").format(
                function=sql.Identifier(function), column=value, place=sql.Literal(place)
            )
        )
    if together:
        alone.append(sql.SQL("hash_record_extended(ROW({}), 0)").format(names(together)))
    return sql.SQL(" # ").join(alone)


def _padded(name: str, type_: SqlType) -> Query:
    """A char of PostgreSQL loses its blanks on the way to text; the copy, a varchar, has them."""
    return sql.SQL("rpad({}::text, {})").format(sql.Identifier(name), sql.Literal(type_.length))


def _version_sum(table: Table) -> Query:
    """A late commit may carry a lower rowversion than the highest, so a maximum would miss it."""
    if table.rowversion is None:
        return sql.Composed([sql.SQL("0")])
    return sql.SQL("coalesce(sum(('x' || encode({}, 'hex'))::bit(64)::bigint), 0)").format(
        sql.Identifier(table.rowversion)
    )
