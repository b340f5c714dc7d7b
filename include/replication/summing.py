"""What the rows of a snapshot sum up to, found while they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from include.engines.base import Digest, Level, Snapshot, Warehouse, needs_portable_sums
from include.engines.rowsums import RowSums
from include.engines.transfer import Tee


class Sums(Protocol):
    """The digest of a snapshot, once its rows were read."""

    @property
    def tees(self) -> list[Tee]:
        """What has to see the rows."""
        ...

    def digest(self) -> Digest:
        """Return what the rows sum up to; waits for it."""
        ...

    def rows(self) -> int:
        """Return how many rows the source itself counts in the snapshot."""
        ...


@contextmanager
def summing(snapshot: Snapshot, warehouse: Warehouse, level: Level) -> Iterator[Sums]:
    """
    Sum up the rows while the block reads them.

    A server that has a checksum in common with the warehouse sums by itself, at the same
    time. Otherwise the source counts first, and the rows are summed as they pass by.
    """
    if not needs_portable_sums(snapshot, warehouse):
        with ThreadPoolExecutor(max_workers=1) as pool:
            yield _ByServer(pool.submit(snapshot.digest, level))
        return
    counted = snapshot.digest(Level.COUNTS)
    yield _OnTheWay(counted, RowSums(snapshot.table)) if level is Level.CHECKSUM else _Counted(counted)


class _ByServer:
    def __init__(self, summed: Future[Digest]) -> None:
        self._summed = summed
        self.tees: list[Tee] = []

    def digest(self) -> Digest:
        return self._summed.result()

    def rows(self) -> int:
        return self._summed.result().rows


class _OnTheWay:
    def __init__(self, counted: Digest, sums: RowSums) -> None:
        self._counted, self._sums = counted, sums
        self.tees: list[Tee] = [sums.tee]

    def digest(self) -> Digest:
        return self._sums.digest()

    def rows(self) -> int:
        return self._counted.rows


class _Counted:
    def __init__(self, counted: Digest) -> None:
        self._counted = counted
        self.tees: list[Tee] = []

    def digest(self) -> Digest:
        return self._counted

    def rows(self) -> int:
        return self._counted.rows
