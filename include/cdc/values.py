"""
Values as Debezium's JSON has them, as texts that PostgreSQL reads.

Found out by streaming every type and its odd values through Debezium 3.6.3 (decimals and binary as
text, times as ISO texts). Some values arrive wrong or not at all: ``doubt`` tells those that may be
so, and the row is read at the source instead. What cannot be told: an array whose first index is not 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

_TYPE = re.compile(r"^([^(\[]+?) ?(?:\(([\d,-]+)\))?( with(?:out)? time zone)?(\[\])?$")

#: Debezium adds the offset of a time zone to the number that stands for infinity.
_DATES = {"-5877611-06-21Z": "infinity", "-5877611-06-22Z": "-infinity"}
_TIMESTAMPS = {"+294247-01-10T04:00:25.2Z": "infinity", "-290308-12-21T19:59:27.6Z": "-infinity"}
_NUMERICS = {"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}
_EPOCH = datetime.fromisoformat("1970-01-01")
_YEAR = re.compile(r"^([+-]?)(\d+)-")
#: Java's calendar of arrays knows neither the days before the Gregorian one nor BC nor infinity.
_SAFE_YEAR = re.compile(r"^(158[3-9]|159\d|1[6-9]\d\d|[2-9]\d{3})-")
_ZERO_INTERVAL = "P0Y0M0DT0H0M0S"

_INTEGERS = ("smallint", "integer", "bigint", "oid")
_DATED = ("date", "timestamp without time zone", "timestamp with time zone")
_TEXTS = ("text", "character varying", "character", "uuid", "json", "jsonb")
_OTHERS = ("inet", "cidr", "macaddr", "int4range", "daterange", "tsrange", "numrange")
#: Of other arrays a large one that an UPDATE did not touch arrives as null.
_MARKED_ARRAYS = ("integer", "bigint", *_TEXTS)
_ELEMENTS = (*_INTEGERS, *_DATED, *_TEXTS, *_OTHERS, "boolean", "real", "double precision", "numeric")

#: The types whose values survive, without lengths; ``[]`` are arrays of one dimension.
SUPPORTED = frozenset(
    {
        *_ELEMENTS,
        *(f"{element}[]" for element in _ELEMENTS),
        *("time without time zone", "interval", "name", "bytea", "macaddr8", "int8range", "tstzrange", "tsvector"),
    }
)


def split(type_text: str) -> tuple[str, tuple[int, ...]]:
    """Return a type of ``format_type`` without lengths, and the lengths: ``numeric[]`` and (10, 2)."""
    found = _TYPE.match(type_text)
    if found is None:
        return type_text, ()
    base, lengths, zone, array = found.groups()
    return f"{base}{zone or ''}{array or ''}", tuple(int(part) for part in lengths.split(",")) if lengths else ()


def has_digits_of(digits: Sequence[int], others: Sequence[int]) -> bool:
    """Whether a number of a precision and scale has all digits of another one, before and behind the point."""
    (precision, scale), (other_precision, other_scale) = digits, others
    return scale >= other_scale and precision - scale >= other_precision - other_scale


def is_supported(type_text: str) -> bool:
    """Whether every value of a type, as ``format_type`` writes it, arrives as it was."""
    return split(type_text)[0] in SUPPORTED


def text(value: Any, type_text: str) -> str | None:
    """Return a value as a column of the type reads it; None stays None."""
    return None if value is None else reader(type_text)(value)


@lru_cache
def reader(type_text: str) -> Callable[[Any], str]:
    """Return what makes texts of values that are not null; what it does not understand it leaves as it is."""
    base = split(type_text)[0]
    if base.endswith("[]"):
        element = reader(base.removesuffix("[]"))
        return lambda values: _array(values, element)
    return _READERS.get(base, _plain)


@lru_cache
def doubt(type_text: str) -> Callable[[Any], bool] | None:
    """Return what tells whether a value, null included, may be another one at the source; None if none may."""
    base = split(type_text)[0]
    if base == "time without time zone":
        return lambda value: isinstance(value, str) and value.startswith("00:00:00") and not value.strip("0:.Z")
    if base == "interval":
        return lambda value: value == _ZERO_INTERVAL
    if base.endswith("[]"):
        element = base.removesuffix("[]")
        return lambda values: _is_doubtful_array(values, element)
    return None


def is_rewritten(kind: str, type_text: str) -> bool:
    """
    Whether Debezium writes a value of a kind of source by another text than the source does.

    PostgreSQL reads both as the same value; where a text is kept as it arrives they differ.
    """
    base = split(type_text)[0]
    return base.endswith("[]") or base == "interval" or (kind == "mysql" and base in ("json", "jsonb"))


def doubt_all(other: Callable[[Any], bool] | None) -> Callable[[Any], bool]:
    """Return a doubt about every value that is not null, and about null where another one has it."""
    return lambda value: value is not None or (other is not None and other(value))


def _is_doubtful_array(values: Any, element: str) -> bool:
    """An array of arrays arrives as one of nulls, or of the names of Java's objects."""
    if not isinstance(values, list):
        return values is None and element not in _MARKED_ARRAYS
    if not values:
        return False
    if element in _DATED and not all(value is None or _SAFE_YEAR.match(str(value)) for value in values):
        return True
    return all(value is None or (isinstance(value, str) and value.startswith("[L")) for value in values)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _boolean(value: Any) -> str:
    return "true" if value is True else "false" if value is False else str(value)


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _numeric(value: Any) -> str:
    return _NUMERICS.get(value, value) if isinstance(value, str) else _number(value)


def _date(value: Any) -> str:
    if _is_count(value):
        return (_EPOCH + timedelta(days=int(value))).date().isoformat()
    return _DATES.get(value) or _dated(value.removesuffix("Z")) if isinstance(value, str) else str(value)


def _timestamp(value: Any) -> str:
    if _is_count(value):
        return (_EPOCH + timedelta(microseconds=int(value))).isoformat(sep=" ")
    return _TIMESTAMPS.get(value) or _dated(value.removesuffix("Z")) if isinstance(value, str) else str(value)


def _is_count(value: Any) -> bool:
    """Whether it is a number, of days or microseconds, as MySQL's come; in an event's headers it is a text."""
    return type(value) is int or (isinstance(value, str) and value.removeprefix("-").isdigit())


def _dated(value: Any) -> str:
    """ISO has a year 0 and signs; PostgreSQL has 1 BC in its place."""
    if not isinstance(value, str):
        return str(value)
    if value[:1] not in "+-" and value[:4] != "0000":
        return value
    found = _YEAR.match(value)
    if found is None:
        return value
    sign, digits = found.groups()
    rest = value[found.end() :]
    year = -int(digits) if sign == "-" else int(digits)
    return f"{year}-{rest}" if year > 0 else f"{1 - year:04}-{rest} BC"


def _time(value: Any) -> str:
    return value.removesuffix("Z") if isinstance(value, str) else str(value)


def _interval(value: Any) -> str:
    return f"{value} microseconds" if _is_count(value) else _plain(value)


def _bytes(value: Any) -> str:
    return f"\\x{value}"


def _array(values: Any, element: Callable[[Any], str]) -> str:
    if not isinstance(values, list):
        return _plain(values)
    return "{" + ",".join("NULL" if value is None else _quoted(element(value)) for value in values) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


_READERS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys((*_INTEGERS, "real", "double precision"), _number),
    "boolean": _boolean,
    "numeric": _numeric,
    "date": _date,
    "time without time zone": _time,
    "timestamp without time zone": _timestamp,
    "timestamp with time zone": _dated,
    "interval": _interval,
    "bytea": _bytes,
}
