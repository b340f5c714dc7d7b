"""What became of a run: from its plan and its rows of the log. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from include.orders_sync.planner import Planned
from include.orders_sync.tables import COUNTERS

#: What a window ends as; the first three are those of the log.
STATUSES = ("success", "partial", "failed", "skipped", "not_run")
_DIED = "its process died"


@dataclass(frozen=True)
class LogRow:
    """What the log says of a window of a run."""

    status: str
    attempt_no: int
    error: str | None
    counts: dict[str, int]


#: A window of a run: pipeline, store, first and last day.
Key = tuple[str, str, date, date]


@dataclass(frozen=True)
class Ending:
    """What became of a planned window; dates inclusive."""

    pipeline: str
    store_code: str
    from_date: str
    to_date: str
    reason: str
    status: str
    attempt_no: int = 0
    error: str | None = None
    stopped_by: str | None = None
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """A run that ended."""

    run_id: str
    windows: list[Ending]

    @property
    def status(self) -> str:
        """``failed`` if a window failed or a store was never begun, ``partial`` if only sales are missing."""
        if any(window.status == "failed" or _was_forgotten(window) for window in self.windows):
            return "failed"
        return "partial" if any(window.status == "partial" for window in self.windows) else "success"

    @property
    def changed(self) -> bool:
        """Whether anybody wants to hear of it: rows came or changed, or something went wrong."""
        return self.status != "success" or any(self.totals[name] for name in COUNTERS if _is_change(name))

    @property
    def totals(self) -> dict[str, int]:
        """The rows of all windows together, by counter."""
        return {name: sum(window.counts.get(name, 0) for window in self.windows) for name in COUNTERS}

    @property
    def text(self) -> str:
        """A line a pipeline with the windows by status, then a line for each window that did not succeed."""
        if not self.windows:
            return "nothing to do"
        lines = []
        for pipeline in sorted({window.pipeline for window in self.windows}):
            count = Counter(window.status for window in self.windows if window.pipeline == pipeline)
            lines.append(f"{pipeline}: " + ", ".join(f"{count[name]} {name.replace('_', ' ')}" for name in STATUSES))
        return "\n".join([*lines, *(_line(window) for window in self.windows if window.error)])

    def as_dict(self) -> dict[str, Any]:
        """Return the summary for the record."""
        return {"windows": [asdict(window) for window in self.windows], "totals": self.totals}


def summarise(
    run_id: str,
    plans: Mapping[str, Mapping[str, Iterable[Planned]]],
    rows: Mapping[Key, LogRow],
    left: Mapping[str, tuple[str, str]],
) -> Summary:
    """
    Return what became of each planned window.

    :param plans: the windows by pipeline and store.
    :param left: status and reason of a store's windows that are not in the log, by its code.
    """
    endings: list[Ending] = []
    for pipeline, stores in plans.items():
        for code, planned in stores.items():
            endings += _of_store(pipeline, code, planned, rows, left.get(code))
    return Summary(run_id, endings)


def _of_store(
    pipeline: str, code: str, planned: Iterable[Planned], rows: Mapping[Key, LogRow], left: tuple[str, str] | None
) -> list[Ending]:
    endings: list[Ending] = []
    stopped_by: str | None = None
    for item in planned:
        first, last = item.window.start, item.window.last_day
        row = rows.get((pipeline, code, first, last))
        base = (pipeline, code, first.isoformat(), last.isoformat(), item.reason.value)
        if row is None:
            status, error = left if left and not stopped_by else ("not_run", None)
            endings.append(Ending(*base, status, error=error, stopped_by=stopped_by))
            continue
        died = row.status == "running"
        ending = Ending(
            *base,
            status="failed" if died else row.status,
            attempt_no=row.attempt_no,
            error=_DIED if died else row.error,
            counts=row.counts,
        )
        endings.append(ending)
        if ending.status != "success" and stopped_by is None:
            stopped_by = f"{ending.from_date}..{ending.to_date}"
    return endings


def _was_forgotten(window: Ending) -> bool:
    return window.status == "not_run" and window.stopped_by is None


def _is_change(counter: str) -> bool:
    return counter.endswith(("_inserted", "_updated"))


def _line(window: Ending) -> str:
    what = f"{window.pipeline} {window.store_code} {window.from_date}..{window.to_date}"
    return f"{what}: {window.status.replace('_', ' ')}: {window.error}"
