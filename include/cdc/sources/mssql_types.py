"""
The types of SQL Server: what PostgreSQL holds them as, and how their values come there.

A value is copied as a text that the server writes, and streamed as Debezium 3.6.3 sends it with the
settings that all kinds share: found out by giving values to its converters. Of seven digits of a
second PostgreSQL keeps six, rounded alike on both ways; an offset from UTC becomes the moment it tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from include.catalog import SqlType
from include.cdc.changes import UNAVAILABLE
from include.engines.mssql.types import sql_type

_DIGITS = 6
_NAMES = {
    "bit": "boolean",
    "tinyint": "smallint",
    "smallint": "smallint",
    "int": "integer",
    "bigint": "bigint",
    "money": "numeric(19,4)",
    "smallmoney": "numeric(10,4)",
    "real": "real",
    "float": "double precision",
    "date": "date",
    "datetime": "timestamp(3) without time zone",
    "smalldatetime": "timestamp(0) without time zone",
    "uniqueidentifier": "uuid",
    "text": "text",
    "ntext": "text",
    "xml": "text",
    **dict.fromkeys(("binary", "varbinary", "image", "rowversion"), "bytea"),
}
_TIMES = {
    "time": "time({}) without time zone",
    "datetime2": "timestamp({}) without time zone",
    "datetimeoffset": "timestamp({}) with time zone",
}
_ALIASES = {"timestamp": "rowversion", "sysname": "nvarchar"}
_BYTES = {"binary", "varbinary", "image", "rowversion"}
_DECIMALS = {"decimal", "numeric", "money", "smallmoney"}
#: Before it Java's calendar has other days, and ten that it lacks.
_DATED, _GREGORIAN = {"date", "datetime2", "datetimeoffset"}, "1583"
#: The placeholder of a value that an UPDATE did not touch, where bytes arrive as digits.
_UNTOUCHED = UNAVAILABLE.encode().hex()

_HEX = "'\\x' + CONVERT(varchar(max), CONVERT(varbinary(max), {0}), 2)"
#: Style 3 has the 17 digits that bring a float back, 121 is ISO with all digits of a second.
_TEXTS = {
    "bit": "CASE {0} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END",
    "money": "CONVERT(varchar(41), CONVERT(decimal(19,4), {0}))",
    "smallmoney": "CONVERT(varchar(41), CONVERT(decimal(10,4), {0}))",
    "decimal": "CONVERT(varchar(41), {0})",
    "real": "CONVERT(varchar(32), {0}, 3)",
    "float": "CONVERT(varchar(32), {0}, 3)",
    "date": "CONVERT(varchar(10), {0}, 23)",
    "uniqueidentifier": "CONVERT(char(36), {0})",
    **dict.fromkeys(("time", "datetime", "smalldatetime", "datetime2"), "CONVERT(varchar(34), {0}, 121)"),
    "datetimeoffset": "CONVERT(varchar(34), {0}, 121)",
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), "CONVERT(varchar(20), {0})"),
    **dict.fromkeys(_BYTES, _HEX),
}
#: ISO texts are read by types that know no language; a ``datetime`` equals none but what was made one.
_BOUND = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), "CONVERT(bigint, {})"),
    "bit": "CONVERT(bit, {})",
    "money": "CONVERT(decimal(19,4), {})",
    "smallmoney": "CONVERT(decimal(10,4), {})",
    "real": "CONVERT(real, {})",
    "float": "CONVERT(float, {})",
    "date": "CONVERT(date, {})",
    "time": "CONVERT(time(7), {})",
    "datetime": "CONVERT(datetime, CONVERT(datetime2(3), {}))",
    "smalldatetime": "CONVERT(smalldatetime, CONVERT(datetime2(0), {}))",
    "datetime2": "CONVERT(datetime2(7), {})",
    "datetimeoffset": "CONVERT(datetimeoffset(7), {})",
    "uniqueidentifier": "CONVERT(uniqueidentifier, {})",
    **dict.fromkeys(_BYTES, "CONVERT(varbinary(8000), SUBSTRING(CONVERT(varchar(max), {}), 3, 16000), 2)"),
}
_CONSTANT = re.compile(r"^\(*(?:(-?\d+(?:\.\d+)?)\)*|N?'((?:[^']|'')*)'\)+)$")
_COLLATION = re.compile(r"^\w+$")


@dataclass(frozen=True)
class MssqlColumn:
    """
    A column as ``sys.columns`` tells it.

    :param type: the system's type that it is of.
    :param length: bytes, -1 for ``max``.
    :param default: the expression of its default.
    """

    name: str
    type: str
    length: int
    precision: int
    scale: int
    collation: str | None = None
    default: str | None = None
    nullable: bool = True
    identity: bool = False

    @property
    def sql_type(self) -> SqlType | None:
        """The catalog's type, None for one that cannot be replicated, such as ``sql_variant``."""
        name = _ALIASES.get(self.type, self.type)
        length = self.length // 2 if name in ("nchar", "nvarchar") and self.length > 0 else self.length
        try:
            return sql_type(name, length, self.precision, self.scale, self.scale)
        except ValueError:
            return None


def target_type(column: MssqlColumn) -> str | None:
    """Return the type that PostgreSQL has for a column, as ``format_type`` writes it; None if there is none."""
    type_ = column.sql_type
    if type_ is None:
        return None
    base = type_.base
    if base in ("decimal", "numeric"):
        return f"numeric({column.precision},{column.scale})"
    if base in _TIMES:
        return _TIMES[base].format(min(column.scale, _DIGITS))
    if base in ("char", "varchar", "nchar", "nvarchar"):
        return f"character varying({type_.length})" if type_.length else "text"
    return _NAMES.get(base)


def text_of(column: MssqlColumn, quoted: str) -> str:
    """Return the expression that gives a column's value as a text that PostgreSQL reads as its type, or NULL."""
    type_ = column.sql_type
    form = "CONVERT(nvarchar(max), {0})" if type_ is None else _TEXTS.get(type_.base, "CONVERT(nvarchar(max), {0})")
    return form.format(quoted)


def bound(column: MssqlColumn) -> str:
    """
    Return the expression, ``{}`` for a text, of a value that the server compares as it sorts the column.

    A Unicode text sorts otherwise than one of a code page, and the database may have another one than the column.
    """
    type_ = column.sql_type
    base = "" if type_ is None else type_.base
    if base in _DECIMALS - {"money", "smallmoney"}:
        return f"CONVERT(decimal({column.precision},{column.scale}), {{}})"
    if base in ("char", "varchar") and column.collation and _COLLATION.match(column.collation):
        return f"CONVERT(varchar(8000), CONVERT(nvarchar(4000), {{}}) COLLATE {column.collation})"
    return _BOUND.get(base, "CONVERT(nvarchar(4000), {})")


def doubtful(column: MssqlColumn) -> Callable[[Any], bool] | None:
    """Return what tells whether a value, as Debezium sent it, may be another one at the source; None if none may."""
    base = column.sql_type.base if column.sql_type is not None else ""
    if base in _BYTES:
        return lambda value: bool(value == _UNTOUCHED)
    if base in _DATED:
        return lambda value: isinstance(value, str) and value < _GREGORIAN
    return None


def implicit_default(column: MssqlColumn) -> tuple[str | None, bool]:
    """
    Return what rows from before a column was added have in it, as a text that PostgreSQL reads.

    Also returns whether such rows may have got values that cannot be told: those of an expression
    or a counter, and of a column that may be NULL, which gets its default only WITH VALUES.
    """
    if column.identity or column.type in ("timestamp", "rowversion"):
        return None, True
    if column.default is None:
        return None, False
    found = _CONSTANT.match(column.default)
    if column.nullable or found is None:
        return None, True
    number, text = found.groups()
    is_text = column.sql_type is not None and column.sql_type.is_text
    if number is not None:
        return number, is_text
    return text.replace("''", "'"), not is_text
