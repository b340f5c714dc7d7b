"""What the parts of a replication ask of the warehouse, whatever its kind: a session, its transactions, its tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from include.cdc.changes import TargetTable
from include.cdc.collapse import Key
from include.cdc.sources.base import Rows, SourceTable

if TYPE_CHECKING:
    import sqlalchemy as sa

    from include.cdc.comparison import TableComparison

#: The values of a row as texts, in the order of its columns.
Texts = tuple[str | None, ...]
#: Columns with their types, as PostgreSQL's ``format_type`` writes them, whatever the warehouse has for them.
Columns = Mapping[str, str]
#: A copy that grows: two of them, or a copy and what readers see, never share a table.
STAGING = "staging"


class Refused(Exception):
    """A value of a column would be rounded or cut; its row becomes a letter."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column}: the value would be rounded or cut")


@dataclass(frozen=True)
class Shape:
    """The key and the columns of a table; both are empty where it is not there."""

    key: tuple[str, ...] = ()
    columns: Columns = field(default_factory=dict)


@dataclass(frozen=True)
class Alteration:
    """
    What becomes of the columns of a table.

    :param added: new columns with their types; ``defaults``: what they have where nothing else is said, as texts.
    :param widened: columns with their new types.
    :param dropped: columns that stay and get a mark; whether each has had to have a value, which ends.
    """

    added: Columns = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    widened: Columns = field(default_factory=dict)
    dropped: Mapping[str, bool] = field(default_factory=dict)


class Writer(ABC):
    """
    Reads and writes rows of a table, within the caller's transaction.

    A row is written only where it differs. What the target refuses raises one of the target's ``refusals``.
    """

    table: TargetTable

    @abstractmethod
    def canonical(self, keys: Sequence[Key]) -> list[Key]:
        """Return keys as the target writes them."""

    @abstractmethod
    def alive(self, keys: Sequence[Key]) -> set[Key]:
        """Return those keys of which the target has a row that is not deleted."""

    @abstractmethod
    def truncate(self, at_ms: int) -> None:
        """Empty the table."""

    @abstractmethod
    def delete(self, deletes: Sequence[tuple[Key, int]]) -> int:
        """Delete rows by their keys, each with the time at which it went; return how many were there."""

    @abstractmethod
    def upsert(self, columns: tuple[str, ...], *, update_only: bool) -> Callable[[Sequence[Texts]], int]:
        """
        Return what writes rows of these columns, and returns how many that changed.

        :param update_only: leave rows out that are not there.
        """


class Target(ABC):
    """
    A session with the warehouse; outside of a transaction each statement commits.

    :param records: the same session, for the project's own tables.
    """

    records: sa.Connection

    refusals: tuple[type[Exception], ...]
    """What is raised for a value or row that the target refuses; the transaction can go on after it."""

    keeps_texts: ClassVar[bool] = False
    """Whether it keeps some types as the texts that arrive, so that these have to be written alike."""

    @abstractmethod
    def reason(self, error: Exception) -> str:
        """Return what was refused, as text without a value of the row."""

    @abstractmethod
    def doing(self, what: str) -> AbstractContextManager[None]:
        """Raise the driver's errors as ours, with what was being done before their texts."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Do all that the block does, or nothing; inside of another one, all or nothing of this part."""

    @property
    @abstractmethod
    def is_in_transaction(self) -> bool:
        """Whether one is open."""

    @property
    @abstractmethod
    def is_lost(self) -> bool:
        """Whether the session has ended."""

    @abstractmethod
    def wait_at_most(self, seconds: float) -> None:
        """Give up from now on, with ``LockTimeout``, what waits longer for a lock."""

    @abstractmethod
    def take_turn(self, name: str) -> None:
        """Wait until nobody else has taken a turn of this name; it ends with the transaction."""

    @abstractmethod
    def create_schema(self, schema: str) -> None:
        """Make a schema that is missing."""

    @abstractmethod
    def shape(self, schema: str, name: str) -> Shape:
        """Return key and columns of a table, that of soft deletes among them."""

    @abstractmethod
    def unmarked(self, table: TargetTable, columns: Sequence[str]) -> dict[str, bool]:
        """Return those columns that have no mark of being dropped yet, and whether each has to have a value."""

    @abstractmethod
    def alter(self, table: TargetTable, change: Alteration) -> None:
        """Alter the columns of a table, in the caller's transaction."""

    @abstractmethod
    def writer(self, table: TargetTable) -> Writer:
        """Return what reads and writes the rows of a table."""

    @abstractmethod
    def begin_copy(self, staging: str, columns: Columns, key: Sequence[str], *, soft: bool) -> None:
        """Make the table of a copy in schema ``staging``, in the place of an older one."""

    @abstractmethod
    def fill(
        self,
        staging: str,
        rows: Rows,
        table: SourceTable,
        columns: Columns,
        between: tuple[Sequence[str] | None, Sequence[str] | None],
    ) -> int:
        """
        Put rows of the source into a copy, in the caller's transaction; returns how many.

        :param between: the key after which they begin, and the last one; None without such an end.
        """

    @abstractmethod
    def finish_copy(self, staging: str, key: Sequence[str]) -> None:
        """Give a copy its key; whoever reads it later finds it analyzed."""

    @abstractmethod
    def drop_copy(self, staging: str) -> None:
        """Remove the table of a copy if it is there."""

    @abstractmethod
    def place(self, staging: str, schema: str, name: str, *, soft: bool) -> None:
        """
        Put a finished copy in the place of what readers see, in the caller's transaction.

        Who may read the old table may read the new one. One that others hang on is filled anew.

        :param soft: rows that only the old table has are taken over, as deleted.
        """

    @abstractmethod
    def compare(self, rows: Rows, tables: Sequence[TargetTable]) -> list[TableComparison]:
        """Compare tables with their copies: ``rows`` at a moment at which exactly what is applied was committed."""
