"""How many rows the demo gives a table, and the months it covers: pure."""

from __future__ import annotations

from datetime import date
from zlib import crc32

from include.catalog import Table
from include.windows import Window

#: Rows a month at scale 1 of tables that were empty when the real source was looked at.
_STAND_INS = {
    "APP_4_SALESCREDITNOTE": 1434,
    "APP_4_SALESCREDITNOTEITEM": 2868,
    "APP_4_EPAYMENTLOG": 1434,
    "APP_4_SALESQUANTITIES": 12000,
}
#: Rows a month at any scale: a handful at the real source, too few to show anything.
_FIXED = {"APP_4_ORDER": 17, "APP_4_ORDERITEM": 17}

_LEAST_IN_A_MONTH = 10
_LEAST_IN_ALL = 400
_LARGEST_HANDFUL = 20


def rows_of(table: Table, scale: float) -> int:
    """
    Return the rows of a table: of one month if it is replaced by windows, else in all.

    Refresh tables of fewer than 400 rows are kept whole at any scale, so that
    every store that a sale names exists.
    """
    if not table.columns:
        return 0
    if table.strategy == "window":
        if table.name in _FIXED:
            return _FIXED[table.name]
        rows = table.rows or _STAND_INS.get(table.name, 0)
        return max(_LEAST_IN_A_MONTH, round(rows * scale)) if rows else 0
    if table.rows:
        return max(round(table.rows * scale), min(table.rows, _LEAST_IN_ALL))
    return crc32(table.name.encode()) % (_LARGEST_HANDFUL + 1)


def months_until(last_month: date, months: int) -> list[Window]:
    """Return ``months`` calendar months in order; the last is the one that ``last_month`` lies in."""
    if months < 1:
        raise ValueError(f"months: {months}, expected at least 1")
    number = last_month.year * 12 + last_month.month - 1
    return [Window.of_month(date(n // 12, n % 12 + 1, 1)) for n in range(number - months + 1, number + 1)]
