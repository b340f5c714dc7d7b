"""Arrow arrays out of NumPy ones, in exactly the types that a binary COPY into the source needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.catalog import SqlType
from include.demo.facts import NONE, UNIT, Ints, day_number
from include.engines.arrow import arrow_type

FIRST_DATE, LAST_DATE = day_number(date.min), day_number(date.max)
#: SQL Server's datetime: its first day, and the last moment that it can hold.
FIRST_DATETIME, LAST_DATETIME = day_number(date(1753, 1, 1)), LAST_DATE

#: Text is made for the days from the first to the last of these; further ones have the two forms at the end.
_TEXT_FROM, _TEXT_TO = date(1990, 1, 1), date(2059, 12, 31)
_MICROS = 1_000_000
_TICKS = np.array([0, 3_000, 7_000])


def numbers(values: Ints, type_: SqlType) -> Any:
    """Return whole numbers as integers or as text; ``NONE`` becomes NULL."""
    mask = values == NONE
    if type_.is_text:
        return pa.array(values, mask=mask).cast(pa.string())
    exact = arrow_type(type_)
    return pa.array(np.where(mask, 0, values).astype(exact.to_pandas_dtype()), mask=mask)


def amounts(values: Ints, type_: SqlType) -> Any:
    """Return amounts counted in 1/10,000 as a decimal or as text; ``NONE`` becomes NULL."""
    if type_.is_text:
        return _decimals(values, pa.decimal128(16, 4)).cast(pa.string())
    scaled = values if type_.scale == 4 else np.where(values == NONE, NONE, values // UNIT * 10 ** (type_.scale or 0))
    return _decimals(scaled, arrow_type(type_))


def dates(days: Ints) -> Any:
    """Return dates by their days since 1970-01-01; ``NONE`` becomes NULL."""
    mask = days == NONE
    return pa.array(np.where(mask, 0, days).astype(np.int32), mask=mask).cast(pa.date32())


def datetimes(days: Ints, seconds: Ints) -> Any:
    """Return datetimes on SQL Server's ticks (milliseconds end in 0, 3 or 7); the last day gets its last moment."""
    mask = days == NONE
    micros = np.where(mask, 0, days) * (86_400 * _MICROS) + seconds * _MICROS + _TICKS[seconds % 3]
    micros = np.where(days == FIRST_DATETIME, FIRST_DATETIME * 86_400 * _MICROS, micros)
    micros = np.where(days == LAST_DATETIME, (LAST_DATETIME + 1) * 86_400 * _MICROS - 3_000, micros)
    return pa.array(micros, mask=mask).cast(pa.timestamp("us"))


def date_texts(days: Ints) -> Any:
    """Return dates as ``dd/mm/yyyy``; ``NONE`` becomes NULL."""
    first, forms = _date_forms()
    ordinary = len(forms) - 2
    place = np.where(days == FIRST_DATE, ordinary, np.where(days == LAST_DATE, ordinary + 1, days - first))
    return forms.take(pa.array(np.where(days == NONE, 0, place), mask=days == NONE))


def time_texts(days: Ints, seconds: Ints) -> Any:
    """Return times as ``hh:mm:ss``, NULL where the day is ``NONE``."""
    return _time_forms().take(pa.array(seconds, mask=days == NONE))


def datetime_texts(days: Ints, seconds: Ints) -> Any:
    """Return ``dd/mm/yyyy hh:mm:ss``; ``NONE`` becomes NULL."""
    return pc.binary_join_element_wise(date_texts(days), time_texts(days, seconds), " ")


def labels(texts: Any, index: Ints) -> Any:
    """Return the texts at the places of ``index``; ``NONE`` becomes NULL."""
    return texts.take(pa.array(index, mask=index == NONE))


def texts(values: Sequence[str], type_: SqlType) -> Any:
    """Return texts cut to the length of the type."""
    array = pa.array(values, pa.string())
    return array if type_.length is None else pc.utf8_slice_codeunits(array, 0, type_.length)


def rowversions(values: Ints) -> Any:
    """Return numbers as 8 bytes each, the highest first."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 8
    return pa.Array.from_buffers(
        pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(values.astype(">i8").tobytes())]
    )


def _decimals(values: Ints, type_: Any) -> Any:
    """Lay out 128-bit numbers, the low half first."""
    mask = values == NONE
    halves: npt.NDArray[np.int64] = np.empty((len(values), 2), np.int64)
    halves[:, 0] = np.where(mask, 0, values)
    halves[:, 1] = halves[:, 0] >> 63
    valid = pa.py_buffer(np.packbits(~mask, bitorder="little").tobytes())
    return pa.Array.from_buffers(type_, len(values), [valid, pa.py_buffer(halves)])


@cache
def _date_forms() -> tuple[int, Any]:
    days = (_TEXT_TO - _TEXT_FROM).days + 1
    forms = [(_TEXT_FROM + timedelta(days=n)).strftime("%d/%m/%Y") for n in range(days)]
    return day_number(_TEXT_FROM), pa.array([*forms, "01/01/0001", "31/12/9999"])


@cache
def _time_forms() -> Any:
    return pa.array([f"{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}" for n in range(86_400)])
