"""
How the catalog's column types are kept in SQL Server: one table, in one place.

Three forms of a type: as the replica declares it, as a staging table takes it from a bulk
copy, and as it is read into Arrow. In between the server converts, which it does exactly,
while a client's bulk copy may not: a ``datetime`` was seen to arrive one tick low.
"""

from __future__ import annotations

from include.catalog import SqlType

_MOST_NVARCHAR = 4000

#: Base type: what a staging table takes instead.
_STAGED = {
    "rowversion": "binary(8)",
    "money": "decimal(19,4)",
    "smallmoney": "decimal(10,4)",
    "datetime": "datetime2(3)",
    "smalldatetime": "datetime2(0)",
    "uniqueidentifier": "nvarchar(36)",
    "image": "varbinary(max)",
}

#: Base type: how a value is written in the SELECT that is read into Arrow; others are read as they are.
_READ = {
    "rowversion": "CONVERT(binary(8), {})",
    "money": "CONVERT(decimal(19,4), {})",
    "smallmoney": "CONVERT(decimal(10,4), {})",
    "datetime": "CONVERT(datetime2(3), {})",
    "smalldatetime": "CONVERT(datetime2(0), {})",
    "uniqueidentifier": "LOWER(CONVERT(char(36), {}))",
    "xml": "CONVERT(nvarchar(max), {})",
    "text": "CONVERT(varchar(max), {})",
    "ntext": "CONVERT(nvarchar(max), {})",
    "image": "CONVERT(varbinary(max), {})",
}

#: Style 121 is ISO with all digits of a second and the offset, where there is one.
_READ_AS_TEXT = "CONVERT(varchar(34), {}, 121)"


def declared(type_: SqlType) -> str:
    """Return the type of a replica's column: the source's own, but a rowversion cannot be written."""
    return "binary(8)" if type_.base == "rowversion" else str(type_)


def staged(type_: SqlType) -> str:
    """Return the type of a staging table's column, which a bulk copy from Arrow fills without loss."""
    if type_.is_text:
        length = type_.length
        return f"nvarchar({length})" if length and length <= _MOST_NVARCHAR else "nvarchar(max)"
    if type_.is_exact_only_as_text:
        return "nvarchar(34)"
    if type_.base == "binary":
        return f"varbinary({type_.length})"
    return _STAGED.get(type_.base, str(type_))


def readable(type_: SqlType, column: str) -> str:
    """Return the expression by which a quoted column is read into the Arrow type of ``type_``."""
    form = _READ_AS_TEXT if type_.is_exact_only_as_text else _READ.get(type_.base, "{}")
    return form.format(column)


def kept(type_: SqlType) -> SqlType:
    """Return the type that the server reports of a replica's column."""
    return SqlType.parse("binary(8)") if type_.base == "rowversion" else type_


def sql_type(
    data_type: str,
    length: int | None = None,
    precision: int | None = None,
    scale: int | None = None,
    fraction: int | None = None,
) -> SqlType:
    """
    Return the catalog's type of a row of ``INFORMATION_SCHEMA.COLUMNS``.

    :param length: characters or bytes, -1 for ``max``.
    :param fraction: digits of a second.
    :raises ValueError: for a type that cannot be replicated, such as ``sql_variant``.
    """
    base = data_type.lower()
    if base in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"):
        return SqlType.parse(f"{base}({'max' if length in (None, -1) else length})")
    if base in ("decimal", "numeric"):
        return SqlType.parse(f"decimal({precision},{scale or 0})")
    if base in ("time", "datetime2", "datetimeoffset"):
        return SqlType.parse(f"{base}({7 if fraction is None else fraction})")
    try:
        return SqlType.parse(base)
    except ValueError:
        raise ValueError(f"type {data_type} cannot be replicated") from None


#: Bytes that a driver reserves for a value of a column without a small limit.
_UNBOUNDED = 4096


def row_bytes(types: list[SqlType]) -> int:
    """Return about how many bytes a driver reserves for a row: text and binary columns at their full length."""
    return sum(_width(type_) for type_ in types)


def _width(type_: SqlType) -> int:
    if type_.is_text:
        return 2 * (type_.length or _UNBOUNDED)
    if type_.base in ("binary", "varbinary", "image"):
        return type_.length or _UNBOUNDED
    return 36 if type_.is_exact_only_as_text or type_.base == "uniqueidentifier" else 16
