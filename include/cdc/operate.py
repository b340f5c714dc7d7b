"""What people do with a replication beside starting it: stop, resume, drop."""

from __future__ import annotations

import logging
from typing import Any

from include.cdc import history, incidents, names, state
from include.cdc.kafka import connector
from include.cdc.models import Mode
from include.cdc.run import CdcRun
from include.cdc.state import State
from include.cdc.targets.base import Target
from include.errors import BadRequest, NeedsResync

log = logging.getLogger(__name__)


def stop(run: CdcRun) -> str:
    """
    Let the stream rest; returns what that means for the source.

    The slot stays, and with it all log from here on: the source keeps it until the replication is
    resumed, or dropped.
    """
    with run.applying(run.settings.lock_wait), run.in_warehouse() as target:
        row = run.row(target)
        state.write(target.records, run.name, state=State.STOPPED, reason="stopped by hand", run_id=run.id)
        if _has_connector(run):
            connector.stop(run)
        keeps = run.at_source.keeps(row)
    text = f"replication {run.name} is stopped; {keeps}"
    log.warning("%s", text)
    return text


def resume(run: CdcRun) -> None:
    """
    Let the stream go on where it was stopped.

    :raises NeedsResync: if the log that it has to read is gone.
    :raises BadRequest: for a replication that has no copy yet.
    """
    with run.applying(run.settings.lock_wait), run.in_warehouse() as target:
        row = run.row(target)
        if row.state is State.NEEDS_RESYNC:
            raise NeedsResync(f"replication {run.name}: {row.reason}; run it with action=resync")
        if row.epoch is None:
            raise BadRequest(f"replication {run.name} has no copy yet; run it with action=start")
        if _has_connector(run):
            connector.resume(run)
        state.write(target.records, run.name, state=State.STREAMING, reason=None, run_id=run.id)
        log.info("replication %s is resumed", run.name)


def drop(run: CdcRun) -> None:
    """Follow the source no more: its slots and publication go, the tables in the warehouse stay as they are."""
    with run.pinning(), run.applying(run.settings.lock_wait), run.in_warehouse() as target:
        row = run.row(target)
        if _has_connector(run):
            connector.delete(run)
        run.at_source.forget(run.replication)
        records = target.records
        with target.transaction():
            _drop_staging(run, target, [epoch for epoch in (row.epoch, row.next_epoch) if epoch])
            values: dict[str, Any] = {"epoch": None, "next_epoch": None, "position": None, "next_position": None}
            state.write(records, run.name, **values, state=State.DROPPED, reason="dropped by hand", run_id=run.id)
            state.forget_epochs(records, run.name, [])
            history.forget(records, run.name, [])
            incidents.close(records, run.name)
        log.info("replication %s is dropped; its tables in %s stay", run.name, run.replication.target_schema)


def _has_connector(run: CdcRun) -> bool:
    return run.replication.mode is Mode.KAFKA_CONNECT


def _drop_staging(run: CdcRun, target: Target, epochs: list[str]) -> None:
    for epoch in epochs:
        for table in state.tables(target.records, run.name, epoch):
            target.drop_copy(names.staging_table(run.name, table))
