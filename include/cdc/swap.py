"""Put finished copies in the place of what readers see, together with the position of their stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from include.cdc import history, letters, names, state
from include.cdc.begin import pending
from include.cdc.models import Deletes, Mode
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow, State, Status, TableRow
from include.cdc.targets.base import Target
from include.errors import LockTimeout

log = logging.getLogger(__name__)

_DONE = {Status.COPIED, Status.LIVE}


def swap(run: CdcRun) -> list[str]:
    """
    Publish all copied tables at once, in one transaction with the position of the stream.

    Nothing happens while a table of a first copy, or of a whole resync, is not copied yet.

    :return: the tables that readers see anew.
    """
    with run.pinning(), run.applying(run.settings.lock_wait), run.in_warehouse() as target:
        row = run.row(target)
        epoch = pending(row)
        tables = state.tables(target.records, run.name, epoch)
        followed = {table.name for table in run.at_source.tables(run.replication)}
        # what came to the source meanwhile is copied by the next start
        waiting = [name for name, table in tables.items() if name in followed and table.status not in _DONE]
        ready = {name: table for name, table in tables.items() if table.status is Status.COPIED}
        if row.next_epoch and waiting:
            log.info("replication %s, step 4/4: waits for the copy of %s", run.name, ", ".join(waiting))
            return []
        if ready or row.next_epoch:
            _publish_in_turn(run, target, row, ready)
        log.info("replication %s, step 4/4: %s tables are in place", run.name, len(ready))
        if run.replication.mode is Mode.EMBEDDED:
            forget_old_epochs(run, target)
        return sorted(ready)


def _publish_in_turn(run: CdcRun, target: Target, row: ReplicationRow, ready: Mapping[str, TableRow]) -> None:
    """Publish, stepping back whenever readers hold it up, so that others do not queue behind it."""
    wait, deadline = run.settings.publish_lock_wait, time.monotonic() + run.settings.publish_wait
    target.wait_at_most(wait)
    while True:
        try:
            with target.doing(f"replication {run.name}: publishing"), target.transaction():
                _publish(run, target, row, ready)
        except LockTimeout:
            if time.monotonic() > deadline:
                raise
            log.info("replication %s, step 4/4: waits for readers of its tables", run.name)
            time.sleep(wait)
        else:
            return


def _publish(run: CdcRun, target: Target, row: ReplicationRow, ready: Mapping[str, TableRow]) -> None:
    epoch, schema, records = pending(row), run.replication.target_schema, target.records
    is_soft = run.replication.deletes is Deletes.SOFT
    target.create_schema(schema)
    for table in ready.values():
        staged = names.staging_table(run.name, table.source_table)
        target.place(staged, schema, table.target_table, soft=is_soft)
        values = {"target_table": table.target_table, "status": Status.LIVE}
        state.write_table(records, run.name, epoch, table.source_table, **values)
    letters.resolve(records, run.name, list(ready))
    if row.next_epoch:
        fresh: dict[str, Any] = {"epoch": epoch, "next_epoch": None, "next_position": None, "reason": None}
        kept = State.STOPPED if row.state is State.STOPPED else State.STREAMING
        state.write(records, run.name, **fresh, position=row.next_position, state=kept, run_id=run.id)
        state.forget_epochs(records, run.name, [epoch])
        history.forget(records, run.name, [epoch])


def forget_old_epochs(run: CdcRun, target: Target) -> None:
    """
    Let the source keep nothing for epochs that are gone.

    In Kafka Connect mode that waits until the connector reads from another one.
    """
    row = run.row(target)
    run.at_source.forget(run.replication, [epoch for epoch in (row.epoch, row.next_epoch) if epoch])
