"""
A source whose log is a line of places: no slot keeps it, nothing of ours can be written into it.

Debezium pins it by a first run that reads how the tables are defined, and where the log is then. A
stream ends at a place that is asked for, and what it has applied is told by the place after it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from include.cdc.changes import Change, Marker
from include.cdc.models import Mode, Replication
from include.cdc.sources.base import CdcSource, LogFacts, Pin, Rows

if TYPE_CHECKING:
    from include.cdc.run import CdcRun
    from include.cdc.state import ReplicationRow

Offset = Mapping[str, Any]
#: Where in a log; later ones are greater.
Place = tuple[Any, ...]


def is_of_log(offset: Offset) -> bool:
    """Whether a position is one of the log: it is not before all definitions were read."""
    return not offset.get("snapshot") and offset.get("snapshot_completed") is not False


@dataclass(frozen=True)
class LoggedCdcSource(CdcSource):
    """A database that is followed by places in its log."""

    has_definitions: ClassVar[bool] = True

    @abstractmethod
    def place_of(self, offset: Offset) -> Place:
        """
        Return the place at which the transaction of an event begins, or an event of no transaction stands.

        What an event says of its source has the names of a position, and gives a place within its transaction.
        """

    def place_at(self, item: Change | Marker | None, offset: Offset) -> Place:
        """Return the place of an event that was read; the position of the last one of a transaction may be after it."""
        return self.place_of(item.origin) if isinstance(item, Change) and item.origin else self.place_of(offset)

    def rest_of(self, offset: Offset) -> Offset | None:  # noqa: ARG002 (elsewhere the place tells)
        """Return the position after an event, of a log that has brought all when heartbeats stay there; else None."""
        return None

    @abstractmethod
    def end(self) -> Place:
        """Return the place after all that is committed now."""

    def is_at(self, end: Place, offset: Offset) -> bool:
        """Whether nothing is to be read from a position up to the end of the log."""
        return self.place_of(offset) >= end

    @abstractmethod
    def behind(self, place: Place) -> int | None:
        """Return how many bytes of log there are from a place on, None where it cannot be told."""

    @abstractmethod
    def gone(self, offset: Offset) -> str | None:
        """Return why what comes after a position cannot be read any more, None if it can."""

    @abstractmethod
    def moment(self, tables: Sequence[str]) -> AbstractContextManager[tuple[Place, Rows]]:
        """Give a place, and the rows of these tables with all that was committed before it, and nothing else."""

    @abstractmethod
    def begin_of(self, offset: Offset) -> Offset:
        """Return the position from which the transaction of an event comes again as a whole."""

    def is_before(self, offset: Offset, other: Offset) -> bool:
        """Whether a position is before another one of the same log."""
        return self.place_of(offset) < self.place_of(other)

    @abstractmethod
    def told(self, offset: Offset) -> str:
        """Return a position as people read it."""

    def refreshed(self, offset: Offset) -> Offset:
        """Return a later position of which all has come too, of a log that forgets positions while it is quiet."""
        return offset

    def await_open(self) -> None:
        """Wait until all transactions have ended whose first changes may be before a position just pinned."""
        return

    def pin(self, run: CdcRun, epoch: str) -> Pin:
        """Let Debezium, or the connector of Kafka Connect, find out where the log is and how the tables are."""
        if run.replication.mode is Mode.KAFKA_CONNECT:
            from include.cdc.kafka.connector import pinned

            return pinned(run, epoch)
        from include.cdc.embedded.pin import pin_in_process

        return pin_in_process(run, epoch)

    def join(self, run: CdcRun) -> None:
        """Do nothing: the log has the changes of every table."""

    def lost(self, replication: Replication, row: ReplicationRow, tables: Sequence[str]) -> str | None:  # noqa: ARG002
        """Return why the saved position cannot be read from any more."""
        offset = (row.position or {}).get("offset")
        return self.gone(offset) if offset else "the position of its stream is not known"

    def await_turn(self, row: ReplicationRow) -> None:
        """Do nothing: several may read the log."""

    def facts(self, row: ReplicationRow) -> LogFacts:
        """Return how much log there is to read, and what of it is gone."""
        offset = (row.position or {}).get("offset")
        if not offset:
            return LogFacts()
        return LogFacts(behind=self.behind(self.place_of(offset)), gone=self.gone(offset))

    def forget(self, replication: Replication, keep: Sequence[str] = ()) -> None:
        """Do nothing: the source keeps its log by its own rules."""
