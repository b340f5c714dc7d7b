"""How the source's column types are kept in PostgreSQL: one table, in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping

from include.catalog.types import SqlType

#: varchar of SQL Server counts bytes of a code page, that of PostgreSQL characters: never shorter.
_PLAIN = {
    "tinyint": "smallint",
    "smallint": "smallint",
    "int": "integer",
    "bigint": "bigint",
    "bit": "boolean",
    "real": "real",
    "float": "double precision",
    "money": "numeric(19,4)",
    "smallmoney": "numeric(10,4)",
    "date": "date",
    "datetime": "timestamp(3)",
    "smalldatetime": "timestamp(0)",
    "text": "text",
    "ntext": "text",
    "xml": "text",
    "image": "bytea",
    "binary": "bytea",
    "varbinary": "bytea",
    "uniqueidentifier": "uuid",
    "rowversion": "bytea",
    # timestamptz would forget the offset; the text casts to it
    "datetimeoffset": "varchar(34)",
}
_TIMES = {"time": "time", "datetime2": "timestamp"}


def postgres_type(type_: SqlType) -> str:
    """Return the PostgreSQL type that holds every value of ``type_``; a second's 7th digit excepted."""
    if type_.base in ("varchar", "nvarchar", "char", "nchar"):
        # char(n) pads with blanks here as there; text of the source arrives padded already
        return "text" if type_.length is None else f"varchar({type_.length})"
    if type_.base == "decimal":
        return f"numeric({type_.precision},{type_.scale})"
    if type_.base in _TIMES:
        return f"{_TIMES[type_.base]}({min(type_.fraction or 0, 6)})"
    return _PLAIN[type_.base]


#: The way back, for tables of a source that is PostgreSQL.
_CATALOG_TYPES = {
    "smallint": "smallint",
    "integer": "int",
    "bigint": "bigint",
    "boolean": "bit",
    "real": "real",
    "double precision": "float",
    "date": "date",
    "text": "varchar(max)",
    "bytea": "varbinary(max)",
    "uuid": "uniqueidentifier",
    "character varying": "varchar(max)",
    "timestamp without time zone": "datetime2(6)",
    "timestamp with time zone": "datetimeoffset(6)",
    "time without time zone": "time(6)",
}
_SIZED_CATALOG_TYPES = {
    r"character varying\((\d+)\)": "varchar({})",
    r"character\((\d+)\)": "char({})",
    r"numeric\((\d+,\d+)\)": "decimal({})",
    r"timestamp\((\d)\) without time zone": "datetime2({})",
    r"timestamp\((\d)\) with time zone": "datetimeoffset({})",
    r"time\((\d)\) without time zone": "time({})",
}


#: Names of the DDL as ``format_type`` writes them.
_FORMAT_NAMES = {
    r"varchar\b": "character varying",
    r"(time|timestamp)(\(\d\))": r"\1\2 without time zone",
}


def kept(type_: SqlType) -> SqlType:
    """Return the type that PostgreSQL reports of a column that was made for a type of the catalog."""
    text = postgres_type(type_)
    for pattern, form in _FORMAT_NAMES.items():
        text = re.sub(f"^{pattern}", form, text)
    return sql_type(text)


def is_as_made(columns: Mapping[str, SqlType], found: Mapping[str, SqlType | str]) -> bool:
    """Whether the columns were found with the very types, or with those that PostgreSQL has for them."""
    return all(found.get(name) in (type_, kept(type_)) for name, type_ in columns.items())


def sql_type(text: str) -> SqlType:
    """
    Return the catalog's type of a PostgreSQL type, written as ``format_type`` does.

    :raises ValueError: for a type that cannot be replicated.
    """
    if text in _CATALOG_TYPES:
        return SqlType.parse(_CATALOG_TYPES[text])
    for pattern, form in _SIZED_CATALOG_TYPES.items():
        if found := re.fullmatch(pattern, text):
            return SqlType.parse(form.format(found[1]))
    raise ValueError(f"type {text} cannot be replicated")
