"""A stream of a source into whose log something of ours can be written."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.cdc.changes import Marker
from include.cdc.collapse import is_visible
from include.cdc.embedded.ending import Ending, Parsed, beside
from include.cdc.sources.postgres import PostgresCdcSource
from include.errors import RetailSyncError

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.cdc.embedded.engine import OffsetOf
    from include.cdc.sources.base import Rows

log = logging.getLogger(__name__)

_MARK_SECONDS = 30.0


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

        with beside(mark, over):
            yield


def _whole(count: int, offset_of: OffsetOf) -> int:
    """Return how many of the first events are surely all that their places in the log have brought."""
    if not count:
        return 0
    last = offset_of(count - 1)["lsn"]
    while count and offset_of(count - 1)["lsn"] == last:
        count -= 1
    return count
