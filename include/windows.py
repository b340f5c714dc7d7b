"""
Windows and their arithmetic: pure, no clock, no I/O.

A window is a half-open span of business dates, ``[start, end)``. People type and
read inclusive dates; ``Window.inclusive`` and ``Window.last_day`` are the only
places where one becomes the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, order=True, slots=True)
class Window:
    """Half-open span of business dates, ``[start, end)``."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"empty window: {self.start} >= {self.end}")

    @classmethod
    def inclusive(cls, first: date, last: date) -> Window:
        """Return the window of all days from ``first`` to ``last``, both included."""
        return cls(first, last + timedelta(days=1))

    @classmethod
    def of_month(cls, day: date) -> Window:
        """Return the month that ``day`` lies in."""
        first = day.replace(day=1)
        return cls(first, _next_month(first))

    @classmethod
    def parse(cls, text: str) -> Window:
        """
        Read ``2025-10-01/2025-11-01`` (half-open), the form of ``str(window)``.

        :raises ValueError: if the text has another form or the window is empty.
        """
        start, slash, end = text.partition("/")
        if not slash:
            raise ValueError(f"not a window: {text!r}, expected START/END")
        return cls(parse_date(start), parse_date(end))

    def __str__(self) -> str:
        return f"{self.start.isoformat()}/{self.end.isoformat()}"

    @property
    def name(self) -> str:
        """``2025-10`` for a whole month, else the inclusive ``2025-10-05..2025-10-20``."""
        if self.is_month:
            return self.start.isoformat()[:7]
        if self.days == 1:
            return self.start.isoformat()
        return f"{self.start.isoformat()}..{self.last_day.isoformat()}"

    @property
    def last_day(self) -> date:
        """The last day inside the window."""
        return self.end - timedelta(days=1)

    @property
    def days(self) -> int:
        """How many days the window has, at least 1."""
        return (self.end - self.start).days

    @property
    def is_month(self) -> bool:
        """Whether this is exactly one calendar month."""
        return self.start.day == 1 and self.end == _next_month(self.start)

    def overlaps(self, other: Window) -> bool:
        """Whether the two share a day."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Undated:
    """The rows of a table whose date is NULL or cannot be read: no window holds them."""

    name: str = "undated"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Whole:
    """All rows of a table, whatever their date."""

    name: str = "whole"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows that changed, whatever their date: they are put in place one by one."""

    name: str = "changes"

    def __str__(self) -> str:
        return self.name


UNDATED, WHOLE, CHANGES = Undated(), Whole(), Changes()

#: What is written at once: the rows of a window, those without a date, all of them, or those that changed.
Span = Window | Undated | Whole | Changes

_NAMED: dict[str, Span] = {span.name: span for span in (UNDATED, WHOLE, CHANGES)}


def parse_span(text: str) -> Span:
    """
    Read what ``str(span)`` wrote.

    :raises ValueError: if the text is neither the name of a span nor a window.
    """
    return _NAMED.get(text) or Window.parse(text)


def parse_date(text: str) -> date:
    """
    Read a date written ``YYYY-MM-DD``, and only so.

    :raises ValueError: naming the text.
    """
    if not _ISO_DATE.fullmatch(text):
        raise ValueError(f"not a date: {text!r}, expected YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"not a date: {text!r}, {error}") from error


def months(window: Window) -> list[Window]:
    """Cut ``window`` at the first of each month; the parts in order, the ends may be partial."""
    return list(_months(window))


def spans(window: Window) -> list[Span]:
    """Return all that a table has to be asked for: the months of a window, then the undated rows."""
    return [*_months(window), UNDATED]


def month_keys(span: Span) -> list[str]:
    """Return the names of the months that ``span`` touches, in order; they are what is locked."""
    if not isinstance(span, Window):
        return [span.name]
    return [part.start.isoformat()[:7] for part in _months(span)]


def merge(windows: Iterable[Window]) -> list[Window]:
    """Return the same days as few windows as can be, in order; touching windows become one."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return merged


def subtract(wanted: Window, done: Iterable[Window]) -> list[Window]:
    """Return the parts of ``wanted`` that ``done`` leaves uncovered, in order."""
    left: list[Window] = []
    start = wanted.start
    for window in merge(done):
        if window.end <= start or window.start >= wanted.end:
            continue
        if window.start > start:
            left.append(Window(start, window.start))
        start = window.end
    if start < wanted.end:
        left.append(Window(start, wanted.end))
    return left


def _months(window: Window) -> Iterator[Window]:
    start = window.start
    while start < window.end:
        end = min(_next_month(start), window.end)
        yield Window(start, end)
        start = end


def _next_month(day: date) -> date:
    if day.month == 12:
        return date(day.year + 1, 1, 1)
    return date(day.year, day.month + 1, 1)
