"""Compare a span of source and warehouse, each summing its own rows; nothing is loaded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from include.catalog import Table
from include.engines.base import Digest, Level, Snapshot, Source, Warehouse, needs_portable_sums
from include.replication.drift import current_table
from include.windows import Span


class Verify(StrEnum):
    """How a published window is compared with its source."""

    NONE = "none"
    COUNTS = "counts"
    CHECKSUM = "checksum"

    @property
    def level(self) -> Level:
        """The level of comparison; counts where none is asked for."""
        return Level.CHECKSUM if self is Verify.CHECKSUM else Level.COUNTS


@dataclass(frozen=True)
class Comparison:
    """A span on both sides; ``days`` are those that differ, None for the undated."""

    table: str
    window: str
    source: Digest
    copy: Digest

    @property
    def days(self) -> list[date | None]:
        """The days that differ, in order."""
        return self.source.differing(self.copy)

    @property
    def equal(self) -> bool:
        """Whether no day differs."""
        return not self.days


def compare(source: Source, warehouse: Warehouse, table: Table, span: Span, level: Level) -> Comparison:
    """Compare a span of the source, as it is now, with the warehouse: the columns that are copied."""
    table = current_table(source, warehouse, table)
    with source.snapshot(table, span) as snapshot:
        return compare_snapshot(snapshot, warehouse, level)


def compare_snapshot(snapshot: Snapshot, warehouse: Warehouse, level: Level) -> Comparison:
    """Compare what a snapshot holds with the warehouse; both sides are summed at the same time."""
    portable = needs_portable_sums(snapshot, warehouse)
    with ThreadPoolExecutor(max_workers=1) as pool:
        source = pool.submit(snapshot.digest, level, portable=portable)
        copy = warehouse.digest(snapshot.table, snapshot.span, level, portable=portable)
        return Comparison(snapshot.table.name, snapshot.span.name, source.result(), copy)
