"""Decide which tables a replication has to copy, and pin the position from which its stream begins."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from include.cdc import history, names, state
from include.cdc.kafka import connector
from include.cdc.models import Mode
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow, State, Status
from include.cdc.targets.base import Target
from include.errors import BadRequest

log = logging.getLogger(__name__)

#: States in which a stream that was stopped on purpose stays so while a copy is made beside it.
_KEPT = {State.STREAMING, State.STOPPED, State.NEEDS_RESYNC}


def begin(run: CdcRun, *, resync: bool = False, tables: Sequence[str] = ()) -> list[str]:
    """
    Return the tables that have no finished copy, now recorded as pending.

    A copy that was begun goes on, whatever is asked for. Rows that merely happen to be in a
    target table do not count as copied.

    :param resync: copy anew: everything, beside the copy that readers see, or some ``tables``.
    :raises BadRequest: for tables that are not followed, or of a replication that was never copied.
    """
    with run.pinning(), run.in_warehouse() as target, target.transaction():
        followed = {table.name: table for table in run.at_source.tables(run.replication)}
        if unknown := [name for name in tables if name not in followed]:
            raise BadRequest(f"replication {run.name} does not follow {', '.join(unknown)}")
        row = state.read(target.records, run.name)
        if row is None or row.state is State.DROPPED:
            state.write(target.records, run.name, state=State.NEW, run_id=run.id, epoch=None, position=None)
            row = run.row(target)
        epoch = _epoch(run, target, row, whole=resync and not tables)
        if resync and tables:
            _again(run, target, row, epoch, tables)
        known = state.tables(target.records, run.name, epoch)
        for name, table in followed.items():
            if name not in known:
                named = run.replication.target_of(name)
                values = {"target_table": named, "status": Status.PENDING, "rows_expected": table.rows}
                state.write_table(target.records, run.name, epoch, name, **values)
        known = state.tables(target.records, run.name, epoch)
        left = [name for name in followed if known[name].status in {Status.PENDING, Status.COPYING}]
        log.info("replication %s, step 1/4: %s of %s tables have to be copied", run.name, len(left), len(followed))
        return left


def pending(row: ReplicationRow) -> str:
    """Return the epoch that is copied: the one that is made, else the present one, to which tables are added."""
    epoch = row.next_epoch or row.epoch
    assert epoch is not None
    return epoch


def pinned(run: CdcRun) -> str:
    """
    Return the epoch that is copied, after its position was pinned, by this run if nobody has.

    What is copied is read later, so that nothing is in neither the copy nor the stream. A position
    that a run pinned which died before it could record it is pinned anew, nothing was copied then.
    """
    with run.pinning(), run.in_warehouse() as target:
        row = run.row(target)
        epoch = pending(row)
        if row.next_epoch is None or row.next_position is not None:
            run.at_source.join(run)
        else:
            pin = run.at_source.pin(run, epoch)
            with target.transaction():
                history.append(target.records, run.name, epoch, pin.history)
                state.write(target.records, run.name, next_position=pin.position)
            log.info("replication %s, step 2/4: the log is pinned at %s", run.name, pin.position["pinned"])
    if row.next_epoch is None:
        if run.replication.mode is Mode.KAFKA_CONNECT:
            connector.join(run, epoch)
        run.at_source.await_writers()
    return epoch


def _epoch(run: CdcRun, target: Target, row: ReplicationRow, *, whole: bool) -> str:
    if row.next_epoch is not None:
        return row.next_epoch
    if row.epoch is not None and not whole:
        return row.epoch
    epoch = names.new_epoch(datetime.now(UTC))
    if row.epoch is not None and epoch <= row.epoch:
        # begun in the same second, or the clock was set back: two copies may not share a slot
        epoch = str(int(row.epoch) + 1)
    state.write(target.records, run.name, next_epoch=epoch, next_position=None, run_id=run.id)
    if row.state not in _KEPT:
        state.write(target.records, run.name, state=State.COPYING)
    log.info("replication %s: epoch %s begins", run.name, epoch)
    return epoch


def _again(run: CdcRun, target: Target, row: ReplicationRow, epoch: str, tables: Sequence[str]) -> None:
    """Let tables be copied again; while they are the stream waits, so that it misses nothing of them."""
    if row.epoch is None:
        raise BadRequest(f"replication {run.name} has no copy yet; run it with action=start")
    with run.applying(run.settings.lock_wait):
        for name in tables:
            values = {"target_table": run.replication.target_of(name), "status": Status.PENDING, "chunk_key": None}
            state.write_table(target.records, run.name, epoch, name, **values, snapshot=None, rows_copied=0, seconds=0)
