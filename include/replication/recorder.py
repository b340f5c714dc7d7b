"""How far a window is while it runs, in its row of ``etl_progress``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from include.replication.observe import Observer, Step
from include.replication.progress import ProgressRow

#: Not those around the commit: its transaction holds the row.
_RECORDED = frozenset({Step.COMPARING, Step.READING, Step.STAGED, Step.VERIFYING})


@dataclass
class Recorder:
    """Tells an observer, and records the step, and every ``every`` seconds the rows and bytes read so far."""

    observer: Observer
    progress: ProgressRow
    every: float
    _recorded: float = field(default_factory=time.monotonic)

    def step(self, step: Step) -> None:
        """Record the step, and pass it on."""
        if step in _RECORDED:
            self.progress.note({"step": step, **({"rows_read": 0, "bytes_read": 0} if step is Step.READING else {})})
            self._recorded = time.monotonic()
        self.observer.step(step)

    def rows(self, rows: int, size: int) -> None:
        """Pass rows and bytes on, and record them if it is time."""
        if time.monotonic() - self._recorded >= self.every:
            self._recorded = time.monotonic()
            self.progress.note({"rows_read": rows, "bytes_read": size})
        self.observer.rows(rows, size)
