"""What the parts of a replication ask of a source, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from include.cdc import names
from include.cdc.changes import TargetTable
from include.cdc.models import Replication
from include.connections import Connection

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    from include.cdc.run import CdcRun
    from include.cdc.state import ReplicationRow

#: Of a PostgreSQL table without one an UPDATE fails at the source as soon as it is published.
Identity = Literal["d", "f", "i", "n"]


@dataclass(frozen=True)
class SourceTable:
    """
    A table of the source.

    :param name: ``schema.table``; of MySQL ``database.table``.
    :param key: the columns of its primary key, or of the index that is its replica identity.
    :param rows: about how many rows it has; 0 where the source never counted them.
    :param identity: d for the primary key, f for the whole row, i for an index, n for nothing.
    """

    name: str
    key: tuple[str, ...]
    rows: int
    identity: Identity = "d"


class Column(NamedTuple):
    """
    A column of a source.

    :param type: its type on the target, as PostgreSQL's ``format_type`` writes it; what the target cannot
        have is named as the source names it.
    :param missing: the value, as text, that rows from before the column was added have by its default.
    :param rewritten: whether such rows may have got values of which the stream tells nothing. Of columns
        that were always there it means nothing.
    :param doubt: tells whether a value that Debezium sends may be another one at the source, beyond what its
        type on the target tells.
    """

    type: str
    missing: str | None = None
    rewritten: bool = False
    doubt: Callable[[Any], bool] | None = None


@dataclass(frozen=True)
class Pin:
    """
    A position of the log from which nothing is lost.

    :param position: what the replication's row keeps of it.
    :param history: how the tables are defined there, a line a definition, of servers whose log does not say.
    """

    position: Mapping[str, Any]
    history: Sequence[str] = ()


@dataclass(frozen=True)
class Slot:
    """
    A replication slot.

    :param wal_status: reserved, extended, unreserved or lost.
    :param behind: bytes of log that were written since what was confirmed.
    """

    name: str
    active: bool
    wal_status: str
    confirmed: str
    safe_bytes: int | None
    behind: int


@dataclass(frozen=True)
class LogFacts:
    """
    What a source says of the log that a replication has to read.

    :param slots: the slots that have to be there, None for one that is not; of PostgreSQL.
    :param kept_bytes: how much log the source keeps for a slot, None without a limit or an answer.
    :param behind: bytes of log from the saved position on, where no slot tells.
    :param gone: what has to be read and is not there any more.
    """

    slots: Mapping[str, Slot | None] = field(default_factory=dict)
    kept_bytes: int | None = None
    behind: int | None = None
    gone: str | None = None


@dataclass(frozen=True)
class Gaps:
    """
    What a source says of single tables.

    :param lost: why changes of a table are lost.
    :param seen: what is seen of the other tables, for the next look to go on from.
    """

    lost: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)


class Rows(Protocol):
    """The rows of a source, as they are at one moment, or now."""

    def hold(self, table: str) -> str | None:
        """
        Let a table not be rewritten while it is read; return what is seen of it, where the stream can tell.

        :raises SourceChanged: if it was rewritten since the moment that is read, and looks empty.
        """
        ...

    def columns(self, table: str) -> dict[str, Column]:
        """Return the columns of a table in their order, generated ones left out."""
        ...

    def last_key(self, table: SourceTable, after: Sequence[str] | None, rows: int) -> list[str] | None:
        """Return the key, as texts, of the row that is so many rows after a key; None if there are fewer."""
        ...

    def pipe(
        self,
        table: SourceTable,
        columns: Mapping[str, str],
        between: tuple[Sequence[str] | None, Sequence[str] | None],
        target: psycopg.Connection[Any],
        staging: sql.Identifier,
    ) -> int:
        """
        Put rows into a table of the target; returns how many there are.

        :param columns: what is copied, with the types that the target has for it.
        :param between: the key after which they begin, and the last one; None without such an end.
        """
        ...

    def texts(
        self,
        table: SourceTable,
        columns: Mapping[str, str],
        between: tuple[Sequence[str] | None, Sequence[str] | None],
    ) -> Iterator[Sequence[str | None]]:
        """Return rows as texts that PostgreSQL reads as these types; parameters as of ``pipe``."""
        ...

    def fetch(
        self, table: TargetTable, columns: Sequence[str], keys: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, str | None]]:
        """Return rows by their keys, as texts that PostgreSQL reads."""
        ...


@dataclass(frozen=True)
class CdcSource(ABC):
    """The source of a replication."""

    connection: Connection
    application: str = "retail-sync cdc"

    has_definitions: ClassVar[bool] = False
    """Whether Debezium needs to know how the tables were defined: the log does not say."""

    has_gaps: ClassVar[bool] = False
    """Whether changes of single tables can be lost, see ``gaps``."""

    @abstractmethod
    def tables(self, replication: Replication) -> list[SourceTable]:
        """Return the tables that a replication follows, in the order of their names."""

    @abstractmethod
    def pin(self, run: CdcRun, epoch: str) -> Pin:
        """Pin the log for an epoch, anew if that was done before; what it keeps is for good."""

    @abstractmethod
    def join(self, run: CdcRun) -> None:
        """Let the changes of tables that are followed since the log was pinned come too."""

    def await_writers(self) -> None:
        """Wait until all transactions have ended of which the stream does not tell all: they began before a join."""
        return

    @abstractmethod
    def reading(self) -> AbstractContextManager[Rows]:
        """Read rows as they are now."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Rows]:
        """Read rows as they are at one moment: that of the first question, or of the first ``hold``."""

    @abstractmethod
    def lost(self, replication: Replication, row: ReplicationRow, tables: Sequence[str]) -> str | None:
        """Return what of the log that a stream has to read is gone, None if nothing is."""

    def gaps(self, row: ReplicationRow, seen: Mapping[str, str | None]) -> Gaps:  # noqa: ARG002 (few sources have them)
        """
        Return what is lost of single tables, where the source can lose those.

        :param seen: what is recorded of the followed tables: at their copies, or at the last look.
        """
        return Gaps()

    @abstractmethod
    def await_turn(self, row: ReplicationRow) -> None:
        """
        Wait until nobody else reads the log of a replication, where the source can tell.

        :raises StreamBroken: if somebody goes on.
        """

    @abstractmethod
    def engine_settings(self, replication: Replication, epoch: str, tables: Sequence[str]) -> dict[str, str]:
        """Return what Debezium is told of this kind of source."""

    def partition(self) -> dict[str, str]:
        """Return what Debezium calls the log of the source."""
        return {"server": names.TOPIC_PREFIX}

    @abstractmethod
    def facts(self, row: ReplicationRow) -> LogFacts:
        """Return what the source says of the log that has to be read."""

    @abstractmethod
    def keeps(self, row: ReplicationRow) -> str:
        """Say what the source keeps of its log for a replication that is stopped."""

    @abstractmethod
    def forget(self, replication: Replication, keep: Sequence[str] = ()) -> None:
        """Remove what the source keeps for a replication; ``keep``: only for other epochs than these."""
