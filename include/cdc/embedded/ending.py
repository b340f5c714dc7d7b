"""Where a stream ends, and from where the next one goes on."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.cdc.changes import Change, Marker
from include.cdc.run import CdcRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.cdc.embedded.engine import OffsetOf
    from include.cdc.sources.base import Rows

Offset = Mapping[str, Any]
Parsed = Sequence[Change | Marker | None]

_GRACE_SECONDS = 10.0


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
    from include.cdc.embedded.marked import MarkedEnding
    from include.cdc.embedded.placed import PlacedEnding
    from include.cdc.sources.logged import LoggedCdcSource
    from include.cdc.sources.postgres import PostgresCdcSource

    source = run.at_source
    if isinstance(source, PostgresCdcSource):
        return MarkedEnding(run, offset, source=source)
    assert isinstance(source, LoggedCdcSource)
    return PlacedEnding(run, offset, source=source, until=None if minutes else source.end())


@contextmanager
def beside(work: Callable[[], None], over: threading.Event) -> Iterator[None]:
    """Do work in a thread of its own while the block runs; ``over`` tells it to end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_GRACE_SECONDS)
