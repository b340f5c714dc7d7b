"""What became of a run: from its plan and its rows of the log. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

from include.orders_sync.planner import Planned
from include.orders_sync.tables import COUNTERS

#: What a window ends as; the first three are those of the log.
STATUSES = ("success", "partial", "failed", "skipped", "not_run")
_DIED = "its process died"
_ELSEWHERE = "done by another run meanwhile"
#: The reason of a window that a run did before it was planned anew, and that its new plan lacks.
_EARLIER = "earlier"


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
    """A run that ended; ``error`` is why it could not be planned, or did not end by itself."""

    run_id: str
    windows: list[Ending]
    error: str | None = None

    @property
    def status(self) -> str:
        """``failed`` if a window failed or a store was never begun, ``partial`` if only sales are missing."""
        if self.error or any(window.status == "failed" or _was_forgotten(window) for window in self.windows):
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
            return self.error or "nothing to do"
        lines = [self.error] if self.error else []
        for pipeline in sorted({window.pipeline for window in self.windows}):
            count = Counter(window.status for window in self.windows if window.pipeline == pipeline)
            lines.append(f"{pipeline}: " + ", ".join(f"{count[name]} {name.replace('_', ' ')}" for name in STATUSES))
        return "\n".join([*lines, *(_line(window) for window in self.windows if window.error)])

    def as_dict(self) -> dict[str, Any]:
        """Return the summary for the record."""
        return {"windows": [asdict(window) for window in self.windows], "totals": self.totals}


@dataclass(frozen=True)
class Left:
    """
    Why windows have no row in the log.

    :param stores: what kept a store from being worked on, as status and reason by its code.
    :param elsewhere: windows that another run did meanwhile.
    """

    stores: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    elsewhere: Collection[Key] = ()


def summarise(
    run_id: str,
    plans: Mapping[str, Mapping[str, Iterable[Planned]]],
    rows: Mapping[Key, LogRow],
    left: Left,
    error: str | None = None,
) -> Summary:
    """
    Return what became of each planned window, and of those of an earlier plan of the run.

    The latter are no failures of the run, whatever they ended as: what is still due is planned.

    :param plans: the windows by pipeline and store.
    :param error: why the run failed, whatever its windows say.
    """
    endings: list[Ending] = []
    for pipeline, stores in plans.items():
        for code, planned in stores.items():
            endings += _of_store(pipeline, code, planned, rows, left)
    known = {_place(window) for window in endings}
    earlier = [_of_earlier_plan(key, row) for key, row in rows.items() if _written(key) not in known]
    return Summary(run_id, sorted([*endings, *earlier], key=_place), error)


def _of_store(
    pipeline: str, code: str, planned: Iterable[Planned], rows: Mapping[Key, LogRow], left: Left
) -> list[Ending]:
    endings: list[Ending] = []
    stopped_by: str | None = None
    for item in planned:
        key = (pipeline, code, item.window.start, item.window.last_day)
        row = rows.get(key)
        if row is not None:
            ending = _of_row(key, item.reason.value, row)
        elif key in left.elsewhere:
            ending = Ending(*_written(key), item.reason.value, "skipped", error=_ELSEWHERE)
        elif code in left.stores and not stopped_by:
            status, error = left.stores[code]
            ending = Ending(*_written(key), item.reason.value, status, error=error)
        else:
            ending = Ending(*_written(key), item.reason.value, "not_run", stopped_by=stopped_by)
        endings.append(ending)
        if row is not None and ending.status != "success" and stopped_by is None:
            stopped_by = f"{ending.from_date}..{ending.to_date}"
    return endings


def _of_row(key: Key, reason: str, row: LogRow) -> Ending:
    died = row.status == "running"
    return Ending(
        *_written(key),
        reason,
        status="failed" if died else row.status,
        attempt_no=row.attempt_no,
        error=_DIED if died else row.error,
        counts=row.counts,
    )


def _of_earlier_plan(key: Key, row: LogRow) -> Ending:
    ending = _of_row(key, _EARLIER, row)
    if ending.status == "success":
        return ending
    error = f"not planned again; it ended as {ending.status}: {ending.error}"
    return replace(ending, status="skipped", error=error)


def _written(key: Key) -> tuple[str, str, str, str]:
    pipeline, code, first, last = key
    return pipeline, code, first.isoformat(), last.isoformat()


def _place(window: Ending) -> tuple[str, str, str, str]:
    return window.pipeline, window.store_code, window.from_date, window.to_date


def _was_forgotten(window: Ending) -> bool:
    return window.status == "not_run" and window.stopped_by is None


def _is_change(counter: str) -> bool:
    return counter.endswith(("_inserted", "_updated"))


def _line(window: Ending) -> str:
    what = f"{window.pipeline} {window.store_code} {window.from_date}..{window.to_date}"
    return f"{what}: {window.status.replace('_', ' ')}: {window.error}"
