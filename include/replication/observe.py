"""Who wants to know how far a window is: the task's log, a bar on the command line."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

log = logging.getLogger(__name__)


class Step(StrEnum):
    """The steps of replicating a window, in order."""

    WAITING = "waiting"
    COMPARING = "comparing"
    READING = "reading"
    STAGED = "staged"
    CHECKED = "checked"
    COMMITTING = "committing"
    PUBLISHED = "published"
    VERIFYING = "verifying"
    DONE = "done"


class Observer(Protocol):
    """Told of each step as it begins, and of the rows and bytes read so far."""

    def step(self, step: Step) -> None:
        """Take note that a step begins."""
        ...

    def rows(self, rows: int, size: int) -> None:
        """Take note of how many rows and bytes were read so far."""
        ...


@dataclass
class LogObserver:
    """Writes rows and rate to the log every ``every`` seconds."""

    name: str
    every: float
    _began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)

    def step(self, step: Step) -> None:
        """Log the step."""
        if step is Step.READING:
            self._began = self._told = time.monotonic()
        log.info("%s: %s", self.name, step.value)

    def rows(self, rows: int, size: int) -> None:
        """Log rows and rate, if it is time."""
        now = time.monotonic()
        if now - self._told < self.every:
            return
        self._told = now
        took = now - self._began
        log.info("%s: %s rows, %.1f MB, %s rows/s", self.name, f"{rows:,}", size / 1e6, f"{rows / took:,.0f}")
