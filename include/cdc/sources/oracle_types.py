"""
The types of Oracle: what PostgreSQL holds them as, and how their values come there.

A value is copied as a text that the server writes (session: UTC, a point before the fraction, binary
order), and streamed as Debezium 3.6.3 sends it with the settings that all kinds share: found out by
giving the texts of LogMiner to its converters. They know no dates BC, no NaN or infinity: NULL
arrives, and the row is read at the source. Of nine digits of a second PostgreSQL keeps six, rounded
alike on both ways. An empty text is NULL, an empty LOB too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from include.cdc.changes import UNAVAILABLE

_DIGITS = 6
_TEXTS = {"VARCHAR2", "CHAR", "NVARCHAR2", "NCHAR"}
_NATIONAL = {"NVARCHAR2", "NCHAR"}
_FLOATS = {"BINARY_FLOAT": "real", "BINARY_DOUBLE": "double precision"}
_OTHERS = {
    "FLOAT": "numeric",
    "DATE": "timestamp(0) without time zone",
    "INTERVAL YEAR TO MONTH": "interval",
    "INTERVAL DAY TO SECOND": "interval",
    "RAW": "bytea",
    "BLOB": "bytea",
    "CLOB": "text",
    "NCLOB": "text",
}
_TIMESTAMPS = {"TIMESTAMP": "without", "TIMESTAMP WITH TIME ZONE": "with", "TIMESTAMP WITH LOCAL TIME ZONE": "with"}
_WHOLE = ((4, "smallint"), (9, "integer"), (18, "bigint"))
#: The placeholder of a value that an UPDATE did not touch, where bytes arrive as digits.
_UNTOUCHED = UNAVAILABLE.encode().hex()

_MOMENT = "YYYY-MM-DD HH24:MI:SS"
_FORMATS = {
    "DATE": _MOMENT,
    "TIMESTAMP": f"{_MOMENT}.FF9",
    "TIMESTAMP WITH TIME ZONE": f'{_MOMENT}.FF9"+00:00"',
    "TIMESTAMP WITH LOCAL TIME ZONE": f'{_MOMENT}.FF9"+00:00"',
}
#: What concatenates is no NULL in Oracle, even where all of it is.
_EXPRESSIONS = {
    **dict.fromkeys(("NUMBER", "FLOAT"), "TO_CHAR({0}, 'TM9')"),
    **dict.fromkeys(_FLOATS, "TO_CHAR({0}, 'TME')"),
    "INTERVAL YEAR TO MONTH": (
        "NVL2({0}, EXTRACT(YEAR FROM {0}) || ' years ' || EXTRACT(MONTH FROM {0}) || ' mons', NULL)"
    ),
    "INTERVAL DAY TO SECOND": (
        "NVL2({0}, EXTRACT(DAY FROM {0}) || ' days ' || EXTRACT(HOUR FROM {0}) || ' hours '"
        " || EXTRACT(MINUTE FROM {0}) || ' mins ' || TO_CHAR(EXTRACT(SECOND FROM {0}), 'TM9') || ' secs', NULL)"
    ),
    "RAW": "NVL2({0}, '\\x' || RAWTOHEX({0}), NULL)",
}
_SPACED = "REPLACE({}, 'T', ' ')"
_BOUND = {
    **dict.fromkeys(("NUMBER", "FLOAT"), "TO_NUMBER({})"),
    "BINARY_FLOAT": "TO_BINARY_FLOAT({})",
    "BINARY_DOUBLE": "TO_BINARY_DOUBLE({})",
    "DATE": f"TO_DATE(SUBSTR({_SPACED}, 1, 19), '{_MOMENT}')",
    "TIMESTAMP": f"TO_TIMESTAMP({_SPACED}, '{_MOMENT}.FF9')",
    "TIMESTAMP WITH LOCAL TIME ZONE": (f"TO_TIMESTAMP_TZ(REPLACE({_SPACED}, 'Z', '+00:00'), '{_MOMENT}.FF9TZH:TZM')"),
    "RAW": "HEXTORAW(SUBSTR({}, 3))",
    **dict.fromkeys(("VARCHAR2", "CHAR"), "{}"),
    **dict.fromkeys(_NATIONAL, "TO_NCHAR({})"),
}
_LENGTHS = re.compile(r"\(\d+\)")
_CONSTANT = re.compile(r"^(?:(-?\d+(?:\.\d+)?)|N?'((?:[^']|'')*)')$")


@dataclass(frozen=True)
class OracleColumn:
    """
    A column as ``all_tab_cols`` tells it.

    :param characters: of a text, at most; 0 of others.
    :param scale: of intervals and timestamps the digits of a second.
    :param default: the expression of its default.
    """

    name: str
    type: str
    characters: int = 0
    precision: int | None = None
    scale: int | None = None
    default: str | None = None

    @property
    def base(self) -> str:
        """Its type without lengths."""
        return _LENGTHS.sub("", self.type)


def target_type(column: OracleColumn) -> str | None:
    """Return the type that PostgreSQL has for a column, as ``format_type`` writes it; None if there is none."""
    base = column.base
    if base == "NUMBER":
        return _number(column.precision, column.scale)
    if base in _TEXTS:
        return f"character varying({column.characters})"
    if base in _TIMESTAMPS:
        digits = _DIGITS if column.scale is None else min(column.scale, _DIGITS)
        return f"timestamp({digits}) {_TIMESTAMPS[base]} time zone"
    return _FLOATS.get(base) or _OTHERS.get(base)


def _number(precision: int | None, scale: int | None) -> str:
    """A scale below zero rounds before the point; one above the precision has zeros behind it."""
    if scale is None:
        return "numeric"
    digits = precision or 38
    if scale > 0:
        return f"numeric({max(digits, scale)},{scale})"
    whole = digits - scale
    return next((name for most, name in _WHOLE if whole <= most), f"numeric({whole},0)")


def text_of(column: OracleColumn, quoted: str) -> str:
    """Return the expression that gives a column's value as a text that PostgreSQL reads, or NULL; a BLOB as it is."""
    form = _FORMATS.get(column.base)
    if form is None:
        return _EXPRESSIONS.get(column.base, "{0}").format(quoted)
    value = f"SYS_EXTRACT_UTC({quoted})" if column.base == "TIMESTAMP WITH TIME ZONE" else quoted
    written = f"TO_CHAR({value}, '{form}')"
    return f"CASE WHEN {quoted} < DATE '0001-01-01' THEN {written} || ' BC' ELSE {written} END"


def bound(column: OracleColumn) -> str | None:
    """Return the expression, ``{}`` for a text, of a value as the server compares it; None where that is not told."""
    return _BOUND.get(column.base)


def doubtful(column: OracleColumn) -> Callable[[Any], bool] | None:
    """Return what tells whether a value, as Debezium sent it, may be another one at the source; None if none may."""
    base = column.base
    if base in _FLOATS or base in _FORMATS:
        return lambda value: value is None
    if base == "INTERVAL DAY TO SECOND" and (column.scale or 0) > _DIGITS:
        return lambda value: value is not None
    if base == "BLOB":
        return lambda value: value in ("", _UNTOUCHED)
    if base in ("CLOB", "NCLOB"):
        return lambda value: bool(value == "")
    return None


def implicit_default(column: OracleColumn) -> tuple[str | None, bool]:
    """
    Return what rows from before a column was added have in it, as a text that PostgreSQL reads.

    Also returns whether such rows may have got values that cannot be told: those of an expression or a counter.
    """
    default = (column.default or "").strip()
    if not default or default.upper() == "NULL":
        return None, False
    found = _CONSTANT.match(default)
    if found is None or (found[1] is None and column.base not in _TEXTS):
        return None, True
    return (found[1] if found[1] is not None else found[2].replace("''", "'") or None), False
