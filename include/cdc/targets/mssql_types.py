"""
How a column's type, as PostgreSQL's ``format_type`` writes it, is kept in SQL Server, and how texts become its values.

Every text is converted by TRY_CONVERT, which gives NULL where a CONVERT would end the whole transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from include.cdc.values import split

_DIGITS = 6
MOST_PRECISION = 38
#: Of a number without a scale; more digits are refused, not rounded.
_SCALE = 12
_MOST_TEXT = 4000
#: Characters of a key: 900 bytes of the 1,700 that an index takes.
_KEY_TEXT, _KEY_BYTES = 450, 900
#: Of a value that is neither text nor bytes: a decimal takes them.
_MOST_BYTES = 17
#: Keys are told apart as PostgreSQL does: by case, accents and width.
_COLLATION = "Latin1_General_100_BIN2"

_PLAIN = {
    "smallint": "smallint",
    "integer": "int",
    "bigint": "bigint",
    "oid": "bigint",
    "real": "real",
    "double precision": "float(53)",
    "date": "date",
    "uuid": "uniqueidentifier",
}
_TIMES = {
    "time without time zone": "time",
    "timestamp without time zone": "datetime2",
    "timestamp with time zone": "datetimeoffset",
}
_FLOATS = ("real", "double precision")
_BIT = (
    "CASE WHEN {0} IN (N't', N'true', N'1') THEN CONVERT(bit, 1)"
    " WHEN {0} IN (N'f', N'false', N'0') THEN CONVERT(bit, 0) END"
)
#: More than seven digits of a second are no time to SQL Server; what is behind the digits, a zone, stays.
_SHORT = (
    "CASE WHEN {0} LIKE N'%.[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]%' THEN STUFF({0}, CHARINDEX(N'.', {0}) + 8,"
    " PATINDEX(N'%[^0-9]%', SUBSTRING({0}, CHARINDEX(N'.', {0}) + 8, 40) + N'x') - 1, N'') ELSE {0} END"
)
#: PostgreSQL writes whole hours of an offset without the minutes that SQL Server wants.
_OFFSET = "CASE WHEN {0} LIKE N'%:%[+-][0-9][0-9]' THEN {0} + N':00' ELSE {0} END"


@dataclass(frozen=True)
class ColumnType:
    """
    A type in SQL Server.

    :param declared: as a column is declared.
    :param converted: the expression of a value from the text ``{0}``; NULL for what is no value.
    :param lossy: the condition that the value would be less than the text; None where it never is.
    :param written: the expression of a text from the value ``{0}``.
    :param is_text: whether it is compared by a collation.
    :param is_padded: whether values are equal to it that have more blanks, or bytes of zero, at their ends.
    :param digits: precision and scale of a decimal.
    :param size: the most bytes that a value takes in a key.
    """

    declared: str
    converted: str
    lossy: str | None = None
    written: str = "CONVERT(nvarchar(max), {0})"
    is_text: bool = False
    is_padded: bool = False
    digits: tuple[int, int] | None = None
    size: int = _MOST_BYTES

    @property
    def plain(self) -> str:
        """The type without a collation, as an expression names it."""
        return self.declared.partition(" COLLATE ")[0]

    def refuses(self, text: str) -> str:
        """Return the condition that a text, given as an expression, cannot be a value."""
        lossy = f" OR {self.lossy.format(text)}" if self.lossy else ""
        return f"{text} IS NOT NULL AND ({self.converted.format(text)} IS NULL{lossy})"

    def exactly(self, value: str) -> str:
        """Return what differs whenever the value does: an expression, or two."""
        compared = f"CONVERT(varbinary(max), {value})" if self.is_text else value
        return f"{compared}, DATALENGTH({value})" if self.is_padded else compared

    def same(self, one: str, other: str) -> str:
        """Return the condition that two values of a key are the same, to the last blank."""
        ends = f" AND DATALENGTH({one}) = DATALENGTH({other})" if self.is_padded else ""
        return f"{one} = {other}{ends}"


@lru_cache
def column_type(type_text: str, *, is_key: bool = False) -> ColumnType:
    """Return what SQL Server has for a type; what it lacks is kept as text."""
    base, lengths = split(type_text)
    if base in _PLAIN:
        declared = _PLAIN[base]
        style = ", 3" if base in _FLOATS else ""
        return ColumnType(declared, f"TRY_CONVERT({declared}, {{0}})", written=f"CONVERT(nvarchar(max), {{0}}{style})")
    if base == "boolean":
        return ColumnType("bit", _BIT)
    if base == "numeric":
        return _numeric(lengths)
    if base in _TIMES:
        declared = f"{_TIMES[base]}({lengths[0] if lengths else _DIGITS})"
        text = _OFFSET.format(_SHORT) if base == "timestamp with time zone" else _SHORT
        return ColumnType(declared, f"TRY_CONVERT({declared}, {text})", written="CONVERT(nvarchar(max), {0}, 121)")
    if base == "bytea":
        length = str(_KEY_BYTES) if is_key else "max"
        lossy = f"DATALENGTH({{0}}) > {2 * (2 * _KEY_BYTES + 2)}" if is_key else None
        converted = f"TRY_CONVERT(varbinary({length}), SUBSTRING({{0}}, 3, DATALENGTH({{0}})), 2)"
        return ColumnType(
            f"varbinary({length})",
            converted,
            lossy,
            "N'\\x' + CONVERT(nvarchar(max), {0}, 2)",
            is_padded=True,
            size=_KEY_BYTES,
        )
    return _text(lengths[0] if lengths and base.startswith("character") else None, is_key=is_key)


def _numeric(lengths: tuple[int, ...]) -> ColumnType:
    precision, scale = (*lengths, 0)[:2] if lengths else (MOST_PRECISION, _SCALE)
    # 15 and later have scales below 0 and above the precision
    precision, scale = max(precision - min(scale, 0), scale), max(scale, 0)
    precision, scale = min(precision, MOST_PRECISION), min(scale, MOST_PRECISION)
    declared = f"decimal({precision},{scale})"
    digits = f"SUBSTRING({{0}}, CHARINDEX(N'.', {{0}}) + {scale + 1}, {_MOST_TEXT})"
    lossy = f"(CHARINDEX(N'.', {{0}}) > 0 AND {digits} LIKE N'%[^0]%')"
    return ColumnType(declared, f"TRY_CONVERT({declared}, {{0}})", lossy, digits=(precision, scale))


def _text(length: int | None, *, is_key: bool) -> ColumnType:
    """A character beyond U+FFFF takes two of nvarchar's."""
    units = 2 * length if length else None
    if is_key:
        units = min(units or _KEY_TEXT, _KEY_TEXT)
    elif units and units > _MOST_TEXT:
        units = None
    declared = f"nvarchar({units or 'max'})"
    # too long a text is cut here, which is told by its length: it would end the transaction uncut
    converted = f"CONVERT({declared}, {{0}})" if units else "{0}"
    lossy = f"DATALENGTH({{0}}) > {2 * units}" if units else None
    collated = f"{declared} COLLATE {_COLLATION}" if is_key else declared
    size = 2 * (units or _KEY_TEXT)
    return ColumnType(collated, converted, lossy, "{0}", is_text=True, is_padded=True, size=size)
