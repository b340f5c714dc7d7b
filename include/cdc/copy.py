"""
Copy a table into staging, in pieces by its key, each committed together with how far it is.

A copy that was killed goes on after its last piece. Its later pieces come from a later snapshot;
that is no gap, since the pinned position is older than all of them and changes are applied by key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from include.cdc import names, state
from include.cdc.begin import pinned
from include.cdc.models import Deletes
from include.cdc.run import CdcRun
from include.cdc.sources.base import Rows, SourceTable
from include.cdc.state import Status, TableRow
from include.cdc.targets.base import STAGING, Columns, Target
from include.errors import NotReady
from include.locks import Lock, LockSpace, Name, hold

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Copied:
    """A table that was copied, or had been before."""

    table: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class _Copy:
    """A copy under way."""

    run: CdcRun
    epoch: str
    table: SourceTable
    columns: Columns
    rows: Rows
    seen: str | None
    target: Target

    @property
    def staging(self) -> str:
        return names.staging_table(self.run.name, self.table.name)


def copy_table(run: CdcRun, name: str, told: Callable[[TableRow], None] = lambda _: None) -> Copied:
    """
    Copy a table, or what is left of it.

    :param told: called after each piece.
    :raises LockHeld: if another run copies it.
    :raises NotReady: for a table without a key.
    """
    locks = [Name(LockSpace.REPLICATED_TABLE, f"{run.name} {name}")]
    with (
        hold(run.control, locks, holder=run.holder, wait=0) as lock,
        run.in_warehouse() as target,
    ):
        epoch = pinned(run)
        row = state.tables(target.records, run.name, epoch)[name]
        if row.status in {Status.COPIED, Status.LIVE}:
            log.info("replication %s, step 3/4: %s is copied, %s rows", run.name, name, row.rows_copied)
            return Copied(name, row.rows_copied, row.seconds)
        table = next((table for table in run.at_source.tables(run.replication) if table.name == name), None)
        if table is None or not table.key:
            raise NotReady(f"{name}: is not at the source, or has no key; validate replication {run.name}")
        with run.at_source.snapshot() as rows:
            seen = rows.hold(name)
            return _copy(_Copy(run, epoch, table, _columns(run, rows, name), rows, seen, target), row, lock, told)


def _copy(copy: _Copy, row: TableRow, lock: Lock, told: Callable[[TableRow], None]) -> Copied:
    row = _resumed(copy, row)
    told_at = time.monotonic()
    while row.status is Status.COPYING:
        lock.assert_held()
        row = _piece(copy, row)
        told(row)
        if row.status is Status.COPIED or time.monotonic() - told_at >= copy.run.settings.progress_every:
            told_at = time.monotonic()
            _tell(copy, row)
    return Copied(copy.table.name, row.rows_copied, row.seconds)


def _columns(run: CdcRun, rows: Rows, name: str) -> Columns:
    left_out = run.replication.without.get(name, ())
    return {column: found.type for column, found in rows.columns(name).items() if column not in left_out}


def _resumed(copy: _Copy, row: TableRow) -> TableRow:
    """Go on where a copy stands, or begin it."""
    run, name = copy.run, copy.table.name
    if row.status is Status.COPYING and row.chunk_key and _has_staging(copy):
        log.info("replication %s, step 3/4: %s goes on after %s rows", run.name, name, row.rows_copied)
        return row
    expected, is_soft = copy.table.rows, run.replication.deletes is Deletes.SOFT
    with copy.target.transaction():
        copy.target.begin_copy(copy.staging, copy.columns, copy.table.key, soft=is_soft)
        values = {"target_table": row.target_table, "status": Status.COPYING, "snapshot": copy.seen, "chunk_key": None}
        counts = {"rows_copied": 0, "seconds": 0, "rows_expected": expected}
        state.write_table(copy.target.records, run.name, copy.epoch, name, **values, **counts, run_id=run.id)
    log.info("replication %s, step 3/4: %s begins, about %s rows", run.name, name, expected)
    return replace(row, status=Status.COPYING, snapshot=copy.seen, chunk_key=None, rows_copied=0, seconds=0.0)


def _has_staging(copy: _Copy) -> bool:
    """Whether staging is there with the columns that the source has now."""
    found = copy.target.shape(STAGING, copy.staging).columns
    return {column: kind for column, kind in found.items() if column != names.DELETED_AT} == copy.columns


def _piece(copy: _Copy, row: TableRow) -> TableRow:
    """Copy the next piece, and finish the copy with the last one."""
    began = time.monotonic()
    last = copy.rows.last_key(copy.table, row.chunk_key, copy.run.replication.chunk_rows)
    with copy.target.transaction():
        copied = copy.target.fill(copy.staging, copy.rows, copy.table, copy.columns, (row.chunk_key, last))
        row = replace(row, rows_copied=row.rows_copied + copied, chunk_key=last)
        if last is None:
            copy.target.finish_copy(copy.staging, copy.table.key)
            row = replace(row, status=Status.COPIED)
        row = replace(row, seconds=round(row.seconds + time.monotonic() - began, 3))
        finished = {"copied_at": datetime.now(UTC)} if last is None else {}
        values = {"target_table": row.target_table, "status": row.status, "chunk_key": last, **finished}
        counts = {"rows_copied": row.rows_copied, "seconds": row.seconds}
        state.write_table(copy.target.records, copy.run.name, copy.epoch, row.source_table, **values, **counts)
    return row


def _tell(copy: _Copy, row: TableRow) -> None:
    rate = row.rows_copied / row.seconds if row.seconds else 0.0
    if row.status is Status.COPIED:
        text = "replication %s, step 3/4: %s copied, %s rows in %.1f s (%.0f rows/s)"
        log.info(text, copy.run.name, row.source_table, row.rows_copied, row.seconds, rate)
        return
    total = max(copy.table.rows, row.rows_copied)
    left = (total - row.rows_copied) / rate if rate else 0.0
    text = "replication %s, step 3/4: %s, %s of about %s rows (%.0f rows/s, %.0f s left)"
    log.info(text, copy.run.name, row.source_table, row.rows_copied, total, rate, left)
