"""
What the replication asks of a database, whichever it is.

A ``Source`` is read, a ``Warehouse`` is written; neither knows the other. How rows get
from one to the other is chosen by the pair, in ``include.engines.transfer``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from include.catalog import SqlType, Table
from include.windows import Span

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa


class Level(StrEnum):
    """How closely two copies of a span are compared, the cheapest first."""

    COUNTS = "counts"
    VERSIONS = "versions"
    CHECKSUM = "checksum"


@dataclass(frozen=True, slots=True)
class DaySum:
    """A day of a span: its rows, and an order-independent sum over them (0 for counts)."""

    rows: int
    sum: int = 0


@dataclass(frozen=True, slots=True)
class Digest:
    """
    What a span looks like, day by day; None is the day of rows without a date.

    ``method`` names how the sums were made: only digests of one method can be compared.
    """

    method: str
    days: Mapping[date | None, DaySum]

    @property
    def rows(self) -> int:
        """Rows of the span."""
        return sum(day.rows for day in self.days.values())

    @property
    def total(self) -> str:
        """The sum of all days as 16 hex digits."""
        return f"{sum(day.sum for day in self.days.values()) % 2**64:016x}"

    def differing(self, other: Digest) -> list[date | None]:
        """
        Return the days on which the two are not equal, in order, the undated last.

        :raises ValueError: if their methods differ.
        """
        if self.method != other.method:
            raise ValueError(f"digests of methods {self.method} and {other.method} cannot be compared")
        days = {day for day in self.days.keys() | other.days.keys() if self.days.get(day) != other.days.get(day)}
        return sorted(days, key=lambda day: (day is None, day or date.min))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows and bytes that went into a staging table."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Changed:
    """How many rows are new, have other values, or are gone."""

    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish changed: rows put in place, rows it replaced, and rows whose date had moved."""

    rows: int
    replaced: int
    moved: int
    changed: Changed | None = None
    """What became of the rows of a whole table, where key and rowversion tell."""


#: The column of pairs that holds a row's version: its rowversion, or a hash of its values.
VERSION = "row version"


#: Called with the rows and bytes that were read so far, as often as there is something new.
OnRows = Callable[[int, int], None]


class Snapshot(Protocol):
    """One consistent view of a span at the source, until it is closed."""

    @property
    def table(self) -> Table:
        """The table."""
        ...

    @property
    def span(self) -> Span:
        """The span."""
        ...

    @property
    def own_checksum(self) -> str | None:
        """The method by which the server sums rows itself, None if it cannot."""
        ...

    def digest(self, level: Level, *, portable: bool = False) -> Digest:
        """
        Return the rows' digest.

        By its own checksum, where the server has one, it may be asked from another thread
        while batches are read.

        :param portable: sum the rows here instead of by the server's own checksum.
        """
        ...

    def batches(self, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Return the rows as batches of about ``batch_bytes``, in the catalog's columns and types."""
        ...

    def at(self, span: Span) -> Snapshot:
        """Return the same view of another span of the table."""
        ...

    def pairs(self, level: Level, *, portable: bool = False) -> Iterator[pa.RecordBatch]:
        """
        Return key and version of each row: the columns of the key, then ``VERSION``.

        :param level: VERSIONS for the rowversion, CHECKSUM for a hash of all values.
        :param portable: hash the rows here instead of by the server's own checksum.
        """
        ...

    def pairs_above(self, mark: bytes) -> Iterator[pa.RecordBatch]:
        """Return key and rowversion of the rows of any date whose rowversion is above ``mark``."""
        ...

    def rows_of(self, keys: pa.Table) -> Iterator[pa.RecordBatch]:
        """Return the rows that have these keys, whatever their date; keys that are gone have none."""
        ...


class Source(Protocol):
    """A database that is read, and never written."""

    def columns(self, table: Table) -> list[str] | None:
        """Return the names of the columns that the database has now, None without the table."""
        ...

    def shape(self, table: Table) -> Mapping[str, SqlType | str] | None:
        """
        Return the columns that the source has now, None without the table.

        A type that cannot be replicated is given by the server's name of it.
        """
        ...

    def canonical(self, type_: SqlType) -> SqlType:
        """Return how ``shape`` gives a column that was made for a type of the catalog."""
        ...

    def column_types(self, schema: str, name: str) -> dict[str, SqlType] | None:
        """
        Return the columns of a table that need not be in the catalog, None without the table.

        :raises SchemaMismatch: for a type that cannot be replicated.
        """
        ...

    def snapshot(self, table: Table, span: Span) -> AbstractContextManager[Snapshot]:
        """Open a consistent view of a span."""
        ...

    def check(self) -> dict[str, Any]:
        """Return version, rights and the like; raises if it cannot be reached."""
        ...


class Staging(Protocol):
    """The place of a window that no one else writes and no reader sees."""

    @property
    def table(self) -> Table:
        """The table."""
        ...

    @property
    def span(self) -> Span:
        """The span."""
        ...

    @property
    def rows(self) -> int:
        """The rows that were loaded."""
        ...

    def as_kept(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the batches as the warehouse can keep them; digits of time that it cannot are cut off and counted."""
        ...

    def load(self, batches: Iterator[pa.RecordBatch], on_rows: OnRows) -> Loaded:
        """Write all batches, or nothing."""
        ...


class Warehouse(Protocol):
    """The database that holds the copy."""

    def shape(self, table: Table) -> Mapping[str, SqlType | str] | None:
        """
        Return the columns that the replica has now, None without the table.

        A type that cannot be replicated is given by the server's name of it.
        """
        ...

    def canonical(self, type_: SqlType) -> SqlType:
        """Return how ``shape`` gives a column that was made for a type of the catalog."""
        ...

    def add_columns(self, table: Table, columns: Mapping[str, SqlType]) -> None:
        """Add columns to the replica, NULL in the rows that are there; those it has are left alone."""
        ...

    def metadata(self) -> sa.Engine:
        """Return an engine for the project's own tables; each connection commits by itself."""
        ...

    def staging(self, table: Table, span: Span) -> AbstractContextManager[Staging]:
        """Make the staging table of a span, taking the place of what a dead run left there."""
        ...

    def publish(
        self, staging: Staging, record: Callable[[Published], sa.Update], before_commit: Callable[[], None]
    ) -> Published:
        """
        Replace the span by the staging table's rows in one transaction.

        :param record: makes the progress row's update, run inside the transaction.
        :param before_commit: called last; what it raises rolls everything back.
        """
        ...

    def patch(
        self,
        staging: Staging,
        gone: pa.Table,
        record: Callable[[Changed], Sequence[sa.Executable]],
        before_commit: Callable[[], None],
    ) -> Changed:
        """
        Put the staging table's rows in the place of those with their keys, in one transaction.

        :param gone: keys of rows that are deleted.
        :param record: makes the statements that are run inside the transaction.
        :param before_commit: called last; what it raises rolls everything back.
        """
        ...

    def pairs(self, table: Table, span: Span, level: Level, *, portable: bool = False) -> Iterator[pa.RecordBatch]:
        """Return key and version of each row of a span of the copy, as ``Snapshot.pairs`` does."""
        ...

    def pairs_of(self, table: Table, keys: pa.Table) -> Iterator[pa.RecordBatch]:
        """Return key and rowversion of the rows of the copy that have these keys, whatever their date."""
        ...

    def highest_version(self, table: Table) -> bytes | None:
        """Return the highest rowversion of the copy, None without rows."""
        ...

    @property
    def own_checksum(self) -> str | None:
        """The method by which the server sums rows itself, None if it cannot."""
        ...

    def digest(self, table: Table, span: Span, level: Level, *, portable: bool = False) -> Digest:
        """
        Return the digest of a span of the copy.

        :param portable: sum the rows here instead of by the server's own checksum.
        """
        ...

    def dead_staging(self, table: Table) -> list[Span]:
        """Return the spans of which a staging table is there."""
        ...

    def drop_staging(self, table: Table, span: Span) -> None:
        """Remove a span's staging table if it is there."""
        ...

    def check(self) -> dict[str, Any]:
        """Return version, rights and the like; raises if it cannot be reached."""
        ...


def needs_portable_sums(snapshot: Snapshot, warehouse: Warehouse) -> bool:
    """Whether the two have no checksum in common, so that their rows are summed here."""
    return snapshot.own_checksum is None or snapshot.own_checksum != warehouse.own_checksum
