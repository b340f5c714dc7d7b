"""Where a stream ends, and from where the next one goes on."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.cdc.changes import Change, Marker
from include.cdc.collapse import is_visible
from include.cdc.run import CdcRun
from include.cdc.sources.logged import LoggedCdcSource, Place
from include.cdc.sources.postgres import PostgresCdcSource
from include.errors import RetailSyncError

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.cdc.embedded.engine import OffsetOf
    from include.cdc.sources.base import Rows

log = logging.getLogger(__name__)

Offset = Mapping[str, Any]
Parsed = Sequence[Change | Marker | None]

_MARK_SECONDS = 30.0
_GRACE_SECONDS = 10.0
#: A quiet log has its heartbeats all the same, one or more in a second.
_SILENT_SECONDS = 60.0
#: Batches of heartbeats alone; those of the last one were sent after the end was asked for.
_RESTS = 3


@dataclass
class Ending(ABC):
    """
    The end of a stream.

    :param offset: the position from which the stream goes on.
    :param caught_up: whether all is applied that the stream is to apply.
    """

    run: CdcRun
    offset: Offset | None
    caught_up: bool = False
    is_applying: bool = False
    """Whether a batch is being applied just now."""

    @abstractmethod
    def moment(self, tables: Sequence[str]) -> AbstractContextManager[Rows]:
        """Let the stream end exactly at a moment, and give the source as it is then, while the block runs."""

    @abstractmethod
    def cut(self, parsed: Parsed, offset_of: OffsetOf) -> int:
        """Return how many of a batch's events are before the end."""

    @abstractmethod
    def settle(self, count: int, offset_of: OffsetOf) -> int:
        """
        Move ``offset`` on, to where the next stream can begin when the first events of a batch are applied.

        What comes again from there changes nothing.

        :return: how many events it lies behind.
        """

    @abstractmethod
    def watched(self, minutes: float, give_up: Callable[[], None]) -> AbstractContextManager[None]:
        """Let the end come after so long, while the block runs; ``give_up`` ends the stream where it cannot."""

    def is_reached(self) -> bool:
        """Whether there is nothing to apply."""
        return False


def ending_of(run: CdcRun, offset: Offset | None, *, minutes: float) -> Ending:
    """Return the end of a stream that begins at a position, and ends so much later."""
    source = run.at_source
    if isinstance(source, PostgresCdcSource):
        return MarkedEnding(run, offset, source=source)
    assert isinstance(source, LoggedCdcSource)
    return PlacedEnding(run, offset, source=source, until=None if minutes else source.end())


@dataclass(kw_only=True)
class MarkedEnding(Ending):
    """A moment that was written into the log, or the snapshot of one."""

    source: PostgresCdcSource
    until: str | None = None
    """A snapshot: the stream ends before the first transaction that it does not see."""

    def __post_init__(self) -> None:
        self.marker = f"{self.run.id} {uuid.uuid4().hex}"

    @contextmanager
    def moment(self, tables: Sequence[str]) -> Iterator[Rows]:
        """Let the stream end at a snapshot, that of a slot of the moment."""
        with self.source.moment(tables) as (self.until, rows):
            yield rows

    def cut(self, parsed: Parsed, offset_of: OffsetOf) -> int:  # noqa: ARG002 (the events tell)
        """Find the marker, or the first transaction that the snapshot does not see."""
        for index, item in enumerate(parsed):
            if item is None:
                continue
            if self.until is not None and item.txid is not None and not is_visible(item.txid, self.until):
                self.caught_up = True
                return index
            if isinstance(item, Marker) and self.until is None and item.content == self.marker:
                self.caught_up = True
                return index + 1
        return len(parsed)

    def settle(self, count: int, offset_of: OffsetOf) -> int:
        """
        Stop before the last place in the log: only then it is sure that it has brought all it has.

        Debezium goes on after a place, and one place can bring many: the rows of a COPY, the halves of a
        changed key. At the end of the stream a place is over.
        """
        done = count if self.caught_up else _whole(count, offset_of)
        if done:
            self.offset = offset_of(done - 1)
        return done

    @contextmanager
    def watched(self, minutes: float, give_up: Callable[[], None]) -> Iterator[None]:
        """Write the moment at which the stream ends, and until then now and then one that tells how far it is."""
        over = threading.Event()

        def mark() -> None:
            deadline = time.monotonic() + minutes * 60
            try:
                with self.source.session() as session:
                    while (left := deadline - time.monotonic()) > 0 and not over.wait(min(left, _MARK_SECONDS)):
                        self.source.mark(session, f"{self.marker} goes on")
                    if not over.is_set():
                        self.source.mark(session, self.marker)
            except RetailSyncError as error:
                log.warning("replication %s: the end of the stream cannot be marked: %s", self.run.name, error)
                give_up()

        with _beside(mark, over):
            yield


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

        with _beside(watch, over):
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


@contextmanager
def _beside(work: Callable[[], None], over: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_GRACE_SECONDS)


def _whole(count: int, offset_of: OffsetOf) -> int:
    """Return how many of the first events are surely all that their places in the log have brought."""
    if not count:
        return 0
    last = offset_of(count - 1)["lsn"]
    while count and offset_of(count - 1)["lsn"] == last:
        count -= 1
    return count
