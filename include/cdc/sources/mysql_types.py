"""
The types of MySQL: what PostgreSQL holds them as, and how their values come there.

A value is copied as a text that the server writes (session: sql_mode '', time_zone '+00:00', utf8mb4),
and streamed as Debezium 3.6.3 sends it with the settings ``SENT``: ISO texts know no negative or long
times, and end the stream at a zero date that may not be NULL.
Found out by streaming every type and its odd values. Dates that no calendar has (zero, year 0,
February 30) are NULL on the target.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from include.cdc.values import text

#: How Debezium has to send values.
SENT = {
    "time.precision.mode": "microseconds",
    "enable.time.adjuster": "false",
    "bigint.unsigned.handling.mode": "precise",
    "key.converter.decimal.format": "NUMERIC",
    "value.converter.decimal.format": "NUMERIC",
}

_SIGNED = {"tinyint": "smallint", "smallint": "smallint", "mediumint": "integer", "int": "integer", "bigint": "bigint"}
_UNSIGNED = {"tinyint": "smallint", "smallint": "integer", "mediumint": "integer", "int": "bigint"}
_TEXTS = ("tinytext", "text", "mediumtext", "longtext", "enum", "set")
_BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_SHAPES = ("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon")
_SPATIAL = (*_SHAPES, "geometrycollection", "geomcollection")
_OTHERS = {
    **dict.fromkeys(_TEXTS, "text"),
    **dict.fromkeys((*_BYTES, *_SPATIAL), "bytea"),
    "float": "real",
    "double": "double precision",
    "year": "smallint",
    "date": "date",
    "time": "interval",
    "json": "jsonb",
    "vector": "real[]",
}
_MOMENTS = {"datetime": "without", "timestamp": "with"}
_DATED = ("date", *_MOMENTS)

#: Java reads these as MySQL does, or gives U+FFFD; of others it may make another letter of what is not ASCII.
_EXACT_SETS = frozenset(
    {
        *("ascii", "utf8mb3", "utf8mb4", "utf16", "utf16le", "utf32", "ucs2", "latin1", "latin2", "latin5", "latin7"),
        *("cp850", "cp852", "cp932", "cp1250", "cp1251", "cp1257", "euckr", "gb2312", "koi8r", "macce", "macroman"),
    }
)
#: Some of its letters take the places of ASCII's.
_NO_ASCII = "swe7"

_VALID = "year({0}) > 0 and month({0}) > 0 and dayofmonth({0}) between 1 and dayofmonth(last_day({0}))"
_BACKSLASH_X = "_utf8mb4 0x5C78"
#: What is longer than a packet would be NULL, with a warning: this is an error.
_TOO_LONG = "(select 1 union all select 2)"
_HEX = f"if(length({{0}}) >= @@max_allowed_packet div 2, {_TOO_LONG}, concat({_BACKSLASH_X}, hex({{0}})))"
#: EWKB, as PostGIS reads it: the SRID, which MySQL has in front, comes after the type, with a flag there.
_EWKB = (
    f"if(left(hex({{0}}), 8) = '00000000', concat({_BACKSLASH_X}, substr(hex({{0}}), 9)),"
    f" concat({_BACKSLASH_X}, '01', substr(hex({{0}}), 11, 6), '20', left(hex({{0}}), 8), substr(hex({{0}}), 19)))"
)
#: The server itself writes six digits; sign, exponent and fraction of each number make it exact.
_VECTOR = (
    "(select concat('{{', trim(leading '[' from trim(trailing ']' from cast(json_arrayagg("
    "if(bits & 0x80000000, -1e0, 1e0) * if((bits >> 23) & 255,"
    " (1e0 + (bits & 0x7fffff) / 8388608e0) * pow(2e0, ((bits >> 23) & 255) - 127e0),"
    " (bits & 0x7fffff) * pow(2e0, -149e0))) as char))), '}}') from (select cast(conv(concat("
    "substr(hex({0}), 8 * n - 1, 2), substr(hex({0}), 8 * n - 3, 2), substr(hex({0}), 8 * n - 5, 2),"
    " substr(hex({0}), 8 * n - 7, 2)), 16, 10) as unsigned) as bits from json_table("
    "concat('[', repeat('0,', vector_dim({0}) - 1), '0]'), '$[*]' columns (n for ordinality)) as places) as numbers)"
)

#: An opaque value inside JSON: a date or time, which has other digits there, or bytes in base64.
_OPAQUE = re.compile(r"\d{4}-\d\d-\d\d|-?\d+:|(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")
_EXACT_DIGITS = 15
_LENGTHS = re.compile(r"\(([\d,]+)\)")


def target_type(data_type: str, column_type: str) -> str | None:
    """
    Return the type that PostgreSQL has for a column, as ``format_type`` writes it; None if there is none.

    The parameters are those of ``information_schema.columns``.
    """
    lengths = _LENGTHS.search(column_type)
    length = lengths[1] if lengths else "0"
    if data_type in _SIGNED:
        if "unsigned" in column_type:
            return _UNSIGNED.get(data_type, "numeric(20,0)")
        return _SIGNED[data_type]
    if data_type == "decimal":
        return f"numeric({length})"
    if data_type == "bit":
        return {"1": "boolean", "64": "numeric(20,0)"}.get(length, "bigint")
    if data_type in ("char", "varchar"):
        return f"character varying({length})" if length != "0" else "text"
    if data_type in _MOMENTS:
        return f"timestamp({length}) {_MOMENTS[data_type]} time zone"
    return _OTHERS.get(data_type)


def text_of(column: str, column_type: str) -> str:
    """
    Return the expression that gives a column's value as a text that PostgreSQL reads as its type, or NULL.

    :param column: its quoted name.
    """
    return _expression(column_type).format(column)


def _expression(column_type: str) -> str:
    kind = _kind(column_type)
    if kind in ("char", "varchar", *_TEXTS):
        return "convert({0} using utf8mb4)"
    if kind in _BYTES:
        return _HEX
    if kind in _SPATIAL:
        return _EWKB
    if kind in ("float", "double"):
        # a cast to char alone has six digits of a float, and cuts long doubles
        return "cast(cast({0} as json) as char)"
    if kind == "bit":
        return "elt({0} + 1, 'false', 'true')" if column_type == "bit(1)" else "cast(cast({0} as unsigned) as char)"
    if kind in _DATED:
        zone = ", '+00'" if kind == "timestamp" else ""
        return f"if({_VALID}, concat(cast({{0}} as char){zone}), null)"
    return {"year": "cast({0} + 0 as char)", "vector": _VECTOR}.get(kind, "cast({0} as char)")


def doubtful(
    column_type: str, character_set: str | None = None, default: str | None = None
) -> Callable[[Any], bool] | None:
    """
    Return what tells whether a value, as Debezium sent it, may be another one at the source; None if none may.

    :param character_set: the column's.
    :param default: its ``column_default``: a zero date that may not be NULL arrives as that, or as 1970.
    """
    kind = _kind(column_type)
    if kind in _SPATIAL or (kind == "bit" and column_type != "bit(1)"):
        return lambda value: value is not None
    if kind == "year":
        return lambda value: bool(value == 1900)
    if kind in _DATED:
        zeros = {"1970-01-01", "1970-01-01 00:00:00", _trimmed(default or "")}
        type_ = "date" if kind == "date" else f"timestamp {_MOMENTS[kind]} time zone"
        return lambda value: value is not None and _trimmed(text(value, type_) or "") in zeros
    if kind == "json":
        return _is_doubtful_json
    if kind in ("char", "varchar", *_TEXTS):
        is_listed = kind in ("enum", "set")
        return lambda value: isinstance(value, str) and _is_doubtful_text(value, character_set, is_listed)
    return None


def fits_key(column_type: str, character_set: str | None = None) -> bool:
    """Whether every value arrives as it is, as those of a key have to: rows are found by them."""
    kind = _kind(column_type)
    if kind in ("enum", "set"):
        return character_set in _EXACT_SETS and not any("\\" in word or "," in word for word in _words(column_type))
    if kind in ("char", "varchar"):
        return character_set in _EXACT_SETS
    return kind not in _SPATIAL and (kind != "bit" or column_type == "bit(1)")


def implicit_default(column_type: str, default: str | None, extra: str, nullable: bool) -> tuple[str | None, bool]:
    """
    Return what rows from before a column was added have in it, as a text that PostgreSQL reads.

    The parameters are those of ``information_schema.columns``, in a session of time zone UTC. Also
    returns whether such rows may have got values that cannot be told: those of an expression or a
    counter, and constants that the server does not tell, bytes and what utf8mb3 does not have.
    """
    kind = _kind(column_type)
    if "GENERATED" in extra or "auto_increment" in extra:
        return None, True
    if default is None:
        return (None, False) if nullable else _zero(column_type)
    if (kind in _BYTES and default) or "?" in default:
        return None, True
    if kind == "bit":
        number = int(default.removeprefix("b'").rstrip("'"), 2)
        return (("false", "true")[number] if column_type == "bit(1)" else str(number)), False
    if kind in _DATED:
        zone = "+00" if kind == "timestamp" else ""
        return (None if default.startswith("0000") or "-00" in default[:10] else default + zone), False
    return ("\\x" if kind in _BYTES else default), False


def _zero(column_type: str) -> tuple[str | None, bool]:
    """Return what a column has that may not be NULL and has no default."""
    kind = _kind(column_type)
    if kind in _DATED:
        return None, False
    if kind == "vector" or kind in _SPATIAL:
        return None, True
    if kind == "enum":
        return _words(column_type)[0], False
    if kind == "binary":
        return "\\x" + "00" * int(column_type[len("binary(") : -1]), False
    if kind in _BYTES:
        return "\\x", False
    if kind in ("char", "varchar", *_TEXTS):
        return "", False
    others = {"json": "null", "time": "00:00:00"}
    return ("false" if column_type == "bit(1)" else others.get(kind, "0")), False


def _kind(column_type: str) -> str:
    return re.split(r"[ (]", column_type, maxsplit=1)[0]


def _words(column_type: str) -> list[str]:
    """Return the words of an enum or set."""
    return [word.replace("''", "'") for word in re.findall(r"'((?:[^']|'')*)'", column_type)]


def _trimmed(moment: str) -> str:
    """Return a date or time in one way of writing it."""
    written = moment.replace("T", " ").removesuffix("Z")
    return written.rstrip("0").rstrip(".") if "." in written else written


def _is_doubtful_text(value: str, character_set: str | None, is_listed: bool) -> bool:
    """Commas of an enum's words arrive with backslashes."""
    if "\ufffd" in value or (is_listed and "\\" in value):
        return True
    return character_set not in _EXACT_SETS and (character_set == _NO_ASCII or not value.isascii())


def _is_doubtful_json(value: Any) -> bool:
    """Numbers with exponents arrive with all digits of their binary value, opaque values in other texts."""
    return isinstance(value, str) and _has_doubtful(json.loads(value, parse_int=_Number, parse_float=_Number))


class _Number(str):
    """A number as it was written."""


def _has_doubtful(value: Any) -> bool:
    if isinstance(value, _Number):
        return len(value.lstrip("-0.").replace(".", "")) > _EXACT_DIGITS
    if isinstance(value, str):
        return _OPAQUE.match(value) is not None
    if isinstance(value, dict):
        return any(map(_has_doubtful, value.values()))
    return isinstance(value, list) and any(map(_has_doubtful, value))
