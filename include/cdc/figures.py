"""What a stream has done, while it goes on and for the record."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.cdc.apply import Applied
from include.cdc.changes import Change, Marker
from include.cdc.tables import cdc_applies
from include.metadata import now

if TYPE_CHECKING:
    from include.cdc.run import CdcRun
    from include.cdc.state import ReplicationRow
    from include.cdc.targets.base import Target

_STATUS = Path("/proc/self/status")
#: Figures, and the columns that keep them.
_RECORDED = {
    **{name: name for name in ("events", "upserted", "deleted", "dead", "batches", "memory_mb")},
    "lag": "lag_seconds",
}


@dataclass
class Figures:
    """
    What a stream has applied.

    :param lag: seconds from the commit at the source to its apply, of what was applied last.
    """

    events: int = 0
    upserted: int = 0
    deleted: int = 0
    dead: int = 0
    batches: int = 0
    lag: float | None = None
    _began: float = field(default_factory=time.monotonic)

    def add(self, events: int, applied: Applied) -> None:
        """Count a batch."""
        self.events += events
        self.batches += 1
        self.upserted += applied.upserted
        self.deleted += applied.deleted
        self.dead += applied.dead

    def saw(self, at: datetime | None) -> None:
        """Take the time when the source committed what was just applied; None where nothing tells."""
        if at:
            self.lag = round(max((datetime.now(UTC) - at).total_seconds(), 0.0), 1)

    def progress(self) -> dict[str, Any]:
        """Return how far the stream is, for who waits."""
        return {"message": "progress", "events": self.events, "lag": self.lag}

    def as_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "events": self.events,
            "upserted": self.upserted,
            "deleted": self.deleted,
            "dead": self.dead,
            "batches": self.batches,
            "lag": self.lag,
            "seconds": round(time.monotonic() - self._began, 2),
            "memory_mb": most_memory(),
        }


def record(
    target: Target,
    run: CdcRun,
    row: ReplicationRow,
    figures: Figures,
    *,
    began: datetime,
    caught_up: bool,
    error: str | None,
    consumer: int = 0,
) -> None:
    """Write the row of a stream that began then and has ended; nothing where the session is lost."""
    if target.is_lost:
        return
    values = figures.as_dict()
    whose = {"run_id": run.id, "replication": row.name, "epoch": row.epoch, "consumer": consumer}
    did = {column: values[name] for name, column in _RECORDED.items()}
    end = {"started_at": began, "finished_at": now(), "caught_up": caught_up, "error": error}
    target.records.execute(cdc_applies.insert().values(**whose, **did, **end))


def latest(items: Sequence[Change | Marker]) -> datetime | None:
    """Return when the source committed the last of some changes and markers; None where nothing tells."""
    at = max((item.at_ms for item in items), default=0)
    return datetime.fromtimestamp(at / 1000, UTC) if at else None


def most_memory() -> float:
    """
    Return the most memory that the process had at once, in megabytes.

    Linux tells it of the program that runs; what ``getrusage`` tells may be that of the process from
    which it was begun.
    """
    if _STATUS.exists() and (found := re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)):
        return round(int(found[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
