"""The pages of one reading of a report, and whether they fit together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from include.errors import ReportChanged, ReportUnusable
from include.orders_sync.feeds.frames import Record, header_of, rows_of, text_frame, without_summaries
from include.orders_sync.reports import Report
from include.windows import Window


@dataclass
class Pages:
    """
    What was read so far, from page 1 on.

    A row that was on an earlier page already means that rows moved while they were read, and that others are
    missing; or the report itself has it twice. It is the report's own if the next whole reading is the same.

    :param size: how many rows a page has, as asked for; the server may say that it is less.
    :param earlier: digests of the whole readings before this one that had such rows; this one's is added.
    """

    report: Report
    window: Window
    size: int
    earlier: set[bytes] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    rows: int = 0
    """Rows of data; totals are records, and no rows."""
    total: int | None = None
    frame: pl.DataFrame | None = None
    """The whole report, once its last page is there; without a total, that is the first empty one."""
    _number: int = 0
    _seen: set[bytes] = field(default_factory=set)
    _doubles: int = 0
    _content: bytes = b""

    @property
    def next_number(self) -> int:
        """The page to ask for."""
        return self._number + 1

    def add(self, answer: Any) -> None:
        """
        Take the next page.

        :raises ReportChanged: if it does not fit to those before it; they have to be read again.
        :raises ReportUnusable: if it is of another window, lacks a column, or is no page at all.
        """
        data = _data(answer)
        self._check_window(answer)
        self._number += 1
        self._check_place(answer)
        rows = rows_of(self.report, data)
        self._check_rows(rows)
        self.records += data
        self.rows += rows.height
        self._check_total(answer)
        if rows.is_empty() or self.rows == self.total:
            self._finish()

    def _check_window(self, answer: Mapping[str, Any]) -> None:
        asked = self.window.start.isoformat(), self.window.last_day.isoformat()
        told = answer.get("startDate"), answer.get("endDate")
        if told != asked:
            raise ReportUnusable(f"asked for {asked[0]}..{asked[1]}, the answer is of {told[0]}..{told[1]}")

    def _check_place(self, answer: Mapping[str, Any]) -> None:
        """A page that has another number or size than it should is not the next one."""
        number, size = _count(answer, "page"), _count(answer, "pageSize")
        if number not in (None, self._number):
            raise ReportChanged(f"page {number} came instead of page {self._number}")
        if size and size != self.size:
            changed, self.size = self._number > 1, size
            if changed:
                raise ReportChanged(f"from page {self._number} on, pages have {size} rows")

    def _check_rows(self, rows: pl.DataFrame) -> None:
        """A page of which most was there already is never the next one."""
        marks = _marks(self.report, rows)
        page = hashlib.sha256(b"".join(content for content, *_ in marks)).digest()
        doubles = sum(not self._seen.isdisjoint(row) for row in marks)
        if page in self._seen or (doubles > 1 and doubles * 2 > rows.height):
            raise ReportChanged(f"page {self._number} repeats an earlier one")
        self._doubles += doubles
        self._seen.update([page], *marks)
        for content, *_ in marks:
            self._content = hashlib.sha256(self._content + content).digest()

    def _check_total(self, answer: Mapping[str, Any]) -> None:
        total = _count(answer, "total")
        if total is not None and self.total not in (None, total):
            raise ReportChanged(f"{self.total} rows became {total} on page {self._number}")
        self.total = self.total if total is None else total
        if self.total is not None and self.rows > self.total:
            raise ReportChanged(f"{self.rows} rows came, {self.total} were announced")

    def _finish(self) -> None:
        frame = without_summaries(self.report, text_frame(self.report, self.records))
        if self.total not in (None, self.rows):
            raise ReportChanged(f"page {self._number} is empty, after {self.rows} of {self.total} rows")
        if self._doubles and self._content not in self.earlier:
            self.earlier.add(self._content)
            raise ReportChanged(f"rows of earlier pages came again: {self._doubles}")
        self.frame = frame


def _marks(report: Report, rows: pl.DataFrame) -> list[tuple[bytes, ...]]:
    """Return by what each row is known again: all it tells, and if it is an order its number and date."""
    contents = map(_digest, rows.select(field.header for field in report.columns).iter_rows())
    if report.target == "sales":  # an order may be paid twice in one second
        return [(content,) for content in contents]
    keys = rows.select(header_of(report, report.number), header_of(report, report.date)).iter_rows()
    return [(content, _digest(key)) if all(key) else (content,) for content, key in zip(contents, keys, strict=True)]


def _digest(texts: Sequence[str | None]) -> bytes:
    return hashlib.sha256(json.dumps(texts).encode()).digest()


def _data(answer: Any) -> list[Record]:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(record, dict) for record in data):
        raise ReportUnusable("the answer is no page of a report")
    return data


def _count(answer: Mapping[str, Any], name: str) -> int | None:
    """Return a number of the answer, None if it is left out; numbers are read as text."""
    value = answer.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isdecimal():
        raise ReportUnusable(f"{name} of the answer is no number")
    return int(value)
