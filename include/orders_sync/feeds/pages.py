"""The pages of one reading of a report, and whether they fit together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from include.errors import ReportChanged, ReportUnusable
from include.orders_sync.feeds.frames import Record, count_of_rows, text_frame, without_summaries
from include.orders_sync.reports import Report
from include.windows import Window


@dataclass
class Pages:
    """
    What was read so far, from page 1 on.

    :param size: how many rows a page has, as asked for; the server may say that it is less.
    """

    report: Report
    window: Window
    size: int
    records: list[Record] = field(default_factory=list)
    rows: int = 0
    """Rows of data; totals are records, and no rows."""
    total: int | None = None
    frame: pl.DataFrame | None = None
    """The whole report, once its last page is there."""
    _number: int = 0
    _seen: set[bytes] = field(default_factory=set)

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
        self._check_place(answer, data)
        self.records += data
        self.rows += count_of_rows(self.report, data)
        self._check_total(answer)
        is_short = len(data) < self.size
        complete = is_short if self.total is None else self.rows == self.total
        if is_short or complete:
            self.frame = without_summaries(self.report, text_frame(self.report, self.records))
        if is_short and not complete:
            raise ReportChanged(f"page {self._number} is the last, with {self.rows} of {self.total} rows")

    def _check_window(self, answer: Mapping[str, Any]) -> None:
        asked = self.window.start.isoformat(), self.window.last_day.isoformat()
        told = answer.get("startDate"), answer.get("endDate")
        if told != asked:
            raise ReportUnusable(f"asked for {asked[0]}..{asked[1]}, the answer is of {told[0]}..{told[1]}")

    def _check_place(self, answer: Mapping[str, Any], data: list[Record]) -> None:
        """A page that was there already, or has another number or size than it should, is not the next one."""
        number, size = _count(answer, "page"), _count(answer, "pageSize")
        if number not in (None, self._number):
            raise ReportChanged(f"page {number} came instead of page {self._number}")
        if size and size != self.size:
            changed, self.size = self._number > 1, size
            if changed:
                raise ReportChanged(f"from page {self._number} on, pages have {size} rows")
        content = hashlib.sha256(json.dumps(data).encode()).digest()
        if data and content in self._seen:
            raise ReportChanged(f"page {self._number} repeats an earlier one")
        self._seen.add(content)

    def _check_total(self, answer: Mapping[str, Any]) -> None:
        total = _count(answer, "total")
        if total is not None and self.total not in (None, total):
            raise ReportChanged(f"{self.total} rows became {total} on page {self._number}")
        self.total = self.total if total is None else total
        if self.total is not None and self.rows > self.total:
            raise ReportChanged(f"{self.rows} rows came, {self.total} were announced")


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
