"""How a month of a table is, from the rows that tell of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from include.overview.parts import Letter, unix
from include.replication.progress import Status
from include.windows import Window, subtract

_NEVER = datetime.min.replace(tzinfo=UTC)
_GOOD = frozenset({Status.PUBLISHED, Status.VERIFIED, Status.UNCHANGED})


@dataclass(frozen=True)
class Cell:
    """A cell of the coverage; ``at`` in Unix seconds."""

    letter: Letter
    rows: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    checksum: str | None = None
    at: int | None = None
    run: str | None = None
    note: str | None = None


@dataclass
class Month:
    """
    What is known of a month of a table.

    :param whole: the newest loads of it as a month.
    :param parts: its windows of days since then, by status.
    :param fixed_at: when a row of one of its days was last repaired.
    :param equal_at: when an audit last found all of it equal.
    :param differences: what audits found and nobody repaired.
    """

    window: Window
    whole: Any = None
    parts: list[Any] = field(default_factory=list)
    fixed_at: datetime | None = None
    equal_at: datetime | None = None
    differences: list[Any] = field(default_factory=list)

    @property
    def first_day(self) -> date | None:
        """The first day of it that was worked on."""
        if self.whole is not None:
            return self.window.start
        return min((row["from_date"] for row in self.parts), default=None)

    def cell(self, since: date, today: date) -> Cell | None:
        """
        Return the cell, None where nothing is known.

        :param since: the table's first day of all; earlier days of the month are not missing.
        :param today: the present day, which like later ones is not due yet.
        """
        if self.whole is None and not self.parts:
            return None
        return self._running() or self._failed() or self._there(since, today)

    def _running(self) -> Cell | None:
        rows = [row for row in self._newest() if row["status"] == Status.RUNNING]
        return Cell(Letter.RUNNING, at=unix(rows[-1]["started_at"]), run=rows[-1]["run_id"]) if rows else None

    def _failed(self) -> Cell | None:
        later = [row for row in self.parts if row["status"] in _GOOD]
        done_at = max(self.equal_at or _NEVER, (self.whole and self.whole["good_at"]) or _NEVER)
        for row in self._newest():
            if row["status"] != Status.FAILED or done_at > row["finished_at"]:
                continue
            done = [part for other in later if other["last"] > row.get("last", 0) for part in _windows(other)]
            failed = _windows(row) if "span" in row else [self.window]
            if any(subtract(window, done) for window in failed):
                values = self._figures()
                return Cell(Letter.FAILED, *values, unix(row["finished_at"]), row["run_id"], row["error"])
        return None

    def _there(self, since: date, today: date) -> Cell | None:
        good = [row for row in self.parts if row["status"] in _GOOD]
        loaded = self.whole is not None and self.whole["good_at"] is not None
        if not loaded and not good:
            return None
        unproven = [row for row in good if row["status"] == Status.PUBLISHED]
        proven_at = self.equal_at or _NEVER
        if loaded and self.whole["good_status"] != Status.PUBLISHED:
            proven_at = max(proven_at, self.whole["good_at"])
        left = [] if loaded else self._left(good, since, today)
        last = max(
            (pair for pair in self._ends(loaded, good) if pair[0]), key=lambda pair: pair[0], default=(None, None)
        )
        place = (unix(last[0]), last[1])
        published = any((row["finished_at"] or _NEVER) > proven_at for row in unproven)
        if left or published or (loaded and proven_at == _NEVER):
            note = f"{sum(window.days for window in left)} days are missing" if left else "not compared"
            return Cell(Letter.PUBLISHED, *self._figures(), *place, note)
        since_then = self._changed(_NEVER if not loaded and not self.equal_at else proven_at)
        letter = Letter.CHANGED if since_then else Letter.VERIFIED
        return Cell(letter, *self._figures(), *place, since_then)

    def _left(self, good: Sequence[Any], since: date, today: date) -> list[Window]:
        """Return the days that are due and that no window of days holds."""
        first, end = max(since, self.window.start), min(self.window.end, today)
        done = [window for row in good for window in _windows(row)]
        return subtract(Window(first, end), done) if first < end else []

    def _ends(self, loaded: bool, good: Sequence[Any]) -> list[tuple[Any, Any]]:
        ends = [(row["finished_at"], row["run_id"]) for row in good]
        return [*ends, (self.whole["good_at"], self.whole["good_run"])] if loaded else ends

    def _changed(self, proven_at: datetime) -> str | None:
        """Return what was changed, or found different, after a time."""
        changed = [row for row in self.parts if (row["changed_at"] or _NEVER) > proven_at]
        kinds = ((kind, sum(int(row[kind] or 0) for row in changed)) for kind in ("inserted", "updated", "deleted"))
        if counts := ", ".join(f"{count:,} {kind}" for kind, count in kinds if count):
            return counts
        if (self.fixed_at or _NEVER) > proven_at:
            return "rows were repaired"
        days = sorted({row["from_date"] for row in self.differences if row["audited_at"] > proven_at})
        return f"an audit found differences from {days[0]} on" if days else None

    def _figures(self) -> tuple[int | None, int | None, float | None, str | None]:
        """Return rows, bytes, seconds and checksum of what is there."""
        good = [row for row in self.parts if row["status"] in _GOOD]
        if self.whole is not None and self.whole["good_at"] is not None:
            moved = sum(int(row["inserted"] or 0) - int(row["deleted"] or 0) for row in self.parts)
            rows = int(self.whole["rows_published"] or 0) + moved
            return rows, int(self.whole["size"] or 0), round(self.whole["seconds"], 1), self.whole["checksum"]
        if not good:
            return None, None, None, None
        sums = (sum(row[name] or 0 for row in good) for name in ("rows_published", "size", "seconds"))
        rows, size, seconds = sums
        return int(rows), int(size), round(seconds, 1), None

    def _newest(self) -> list[Any]:
        return [*([self.whole] if self.whole is not None else []), *self.parts]


def _windows(row: Any) -> list[Window]:
    """Return the days of a row of parts: those of its bits, or its span."""
    if row["span"]:
        return [Window.inclusive(row["from_date"], row["to_date"])]
    first, bits = row["from_date"].replace(day=1), int(row["days"])
    days = (first + timedelta(days=number) for number in range(31) if bits >> number & 1)
    return [Window.inclusive(day, day) for day in days]
