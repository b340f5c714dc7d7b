"""How the source's column types are kept in PostgreSQL: one table, in one place."""

from __future__ import annotations

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
}
_TIMES = {"time": "time", "datetime2": "timestamp", "datetimeoffset": "timestamptz"}


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
