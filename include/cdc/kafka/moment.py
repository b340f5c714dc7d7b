"""The moment of the source up to which topics are read for a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.cdc.collapse import is_visible
from include.cdc.events import origin
from include.cdc.sources.logged import LoggedCdcSource
from include.cdc.sources.postgres import PostgresCdcSource

if TYPE_CHECKING:
    from include.cdc.kafka.client import Message
    from include.cdc.sources.base import CdcSource, Rows


@dataclass(frozen=True)
class Moment:
    """
    A moment of the source.

    :param rows: the source as it is then.
    :param is_past: whether a transaction was committed later, by what an event tells of its source, or by a
        position: Debezium names places alike in both.
    """

    rows: Rows
    is_past: Callable[[Mapping[str, Any]], bool]

    def ends(self, message: Message) -> bool:
        """Whether a partition is read up to a message, which is of later."""
        return self.is_past(origin(message.value))


@contextmanager
def moment_of(source: CdcSource, tables: Sequence[str]) -> Iterator[Moment]:
    """Give the moment that is now, as long as the block runs; something of later follows it in the log."""
    if isinstance(source, PostgresCdcSource):
        with source.moment(tables) as (seen, rows):
            with source.session() as session:
                source.mark(session, "a comparison")
            yield Moment(rows, lambda told: told.get("txId") is not None and not is_visible(told["txId"], seen))
        return
    assert isinstance(source, LoggedCdcSource)
    with source.moment(tables) as (place, rows):
        yield Moment(rows, lambda told: bool(told) and source.place_of(told) >= place)
