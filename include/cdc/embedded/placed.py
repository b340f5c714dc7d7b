"""A stream of a source whose log is a line of places."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.cdc.embedded.ending import Ending, Offset, Parsed, beside
from include.cdc.sources.logged import LoggedCdcSource, Place
from include.errors import RetailSyncError

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.cdc.embedded.engine import OffsetOf
    from include.cdc.sources.base import Rows

log = logging.getLogger(__name__)

#: A quiet log has its heartbeats all the same, one or more in a second.
_SILENT_SECONDS = 60.0
#: Batches of heartbeats alone; those of the last one were sent after the end was asked for.
_RESTS = 3


@dataclass(kw_only=True)
class PlacedEnding(Ending):
    """A place in the log."""

    source: LoggedCdcSource
    until: Place | None = None
    seen_at: float = 0.0
    beat: Offset | None = None
    """The position of the last event, where that was a heartbeat."""
    rests: int = 0
    """How many batches have stayed there since the end is known."""
    rest: Offset | None = None
    """Where the next stream begins when they are enough."""

    @contextmanager
    def moment(self, tables: Sequence[str]) -> Iterator[Rows]:
        """Let the stream end at a place that is found while nobody writes into the tables."""
        with self.source.moment(tables) as (place, rows):
            self.until = place
            yield rows

    def cut(self, parsed: Parsed, offset_of: OffsetOf) -> int:
        """Find the first event at the place or after it; a heartbeat of the log's is one."""
        self.seen_at = time.monotonic()
        until, count = self.until, len(parsed)
        if self._is_at_rest(parsed, offset_of):
            self.caught_up = True
            return count

        def is_beyond(index: int) -> bool:
            return until is not None and self.source.place_at(parsed[index], offset_of(index)) >= until

        # a heartbeat within a transaction may stand before the events of it
        last_change = next((index for index in reversed(range(count)) if parsed[index] is not None), count - 1)
        if not count or not (is_beyond(count - 1) or is_beyond(last_change)):
            return count
        self.caught_up = True
        return next(index for index in range(count) if is_beyond(index))

    def settle(self, count: int, offset_of: OffsetOf) -> int:
        """Go on with the transaction of the last event, or of the first one that is left."""
        offset = self.rest or self.source.begin_of(offset_of(count if self.caught_up else count - 1))
        if not self.offset or not self.source.is_before(offset, self.offset):
            self.offset = offset
        return count

    @contextmanager
    def watched(self, minutes: float, give_up: Callable[[], None]) -> Iterator[None]:
        """
        Ask for the place of the end when its time has come, and notice when the log falls silent.

        One in which nothing happens may have no heartbeats either.
        """
        over = threading.Event()

        def watch() -> None:
            deadline = time.monotonic() + minutes * 60
            self.seen_at = time.monotonic()
            try:
                while not over.wait(1.0):
                    if self.until is None and time.monotonic() >= deadline:
                        self.until = self.source.end()
                        if not self.is_applying and self._is_at(self.until):
                            give_up()
                            return
                    if self.is_applying:
                        self.seen_at = time.monotonic()
                    elif time.monotonic() - self.seen_at > _SILENT_SECONDS:
                        if self.until is None and self._is_at(self.source.end()):
                            self.seen_at = time.monotonic()
                            continue
                        log.warning("replication %s: nothing came for %.0f s", self.run.name, _SILENT_SECONDS)
                        give_up()
                        return
            except RetailSyncError as error:
                log.warning("replication %s: the end of the log cannot be told: %s", self.run.name, error)
                give_up()

        with beside(watch, over):
            yield

    def is_reached(self) -> bool:
        """Whether the log ends where the last stream did, or before."""
        if self.offset is None or self.until is None or not self.source.is_at(self.until, self.offset):
            return False
        self.offset = self.source.refreshed(self.offset)
        return True

    def _is_at_rest(self, parsed: Parsed, offset_of: OffsetOf) -> bool:
        """Whether heartbeats have stayed at a position for long enough to tell that all has come."""
        before = self.beat
        self.beat = offset_of(len(parsed) - 1) if parsed and parsed[-1] is None else None
        is_same = self.beat is not None and self.beat == before
        self.rests = self.rests + 1 if is_same and self.until is not None else 0
        if self.beat is not None and self.rests >= _RESTS:
            self.rest = self.source.rest_of(self.beat)
        return self.rest is not None

    def _is_at(self, end: Place) -> bool:
        return self.offset is not None and self.source.is_at(end, self.offset)
