"""What the rows of a snapshot sum up to, found while they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from include.engines.base import Digest, Level, Snapshot, Warehouse, needs_portable_sums
from include.engines.rowsums import RowSums
from include.engines.transfer import Tee


@dataclass(frozen=True)
class Sums:
    """The digest of a snapshot, once its rows were read."""

    tees: list[Tee]
    """What has to see the rows."""
    digest: Callable[[], Digest]
    """Returns what the rows sum up to; waits for it."""
    counted: Callable[[], Digest]
    """Returns what the source itself counts in the snapshot; waits for it."""


@contextmanager
def summing(snapshot: Snapshot, warehouse: Warehouse, level: Level) -> Iterator[Sums]:
    """
    Sum up the rows while the block reads them.

    A server that has a checksum in common with the warehouse sums by itself, at the same
    time. Otherwise the source counts first, and the rows are summed as they pass by.
    """
    if not needs_portable_sums(snapshot, warehouse):
        with ThreadPoolExecutor(max_workers=1) as pool:
            summed = pool.submit(snapshot.digest, level)
            yield Sums([], summed.result, summed.result)
        return
    counts = snapshot.digest(Level.COUNTS)
    if level is not Level.CHECKSUM:
        yield Sums([], lambda: counts, lambda: counts)
        return
    sums = RowSums(snapshot.table)
    yield Sums([sums.tee], sums.digest, lambda: counts)
