"""What has to be right about a table before its windows are read."""

from __future__ import annotations

import logging

from include.catalog import Table
from include.errors import LockHeld, SchemaMismatch
from include.replication.claims import claim
from include.replication.drift import follow
from include.replication.progress import Phase, ProgressRow, Status
from include.replication.replicate import Run
from include.windows import CHANGES, UNDATED, WHOLE

log = logging.getLogger(__name__)


def prepare(run: Run, table: Table) -> bool:
    """
    Compare the source's table with the catalog, follow what changed, and clean up after dead runs.

    :return: False for a table that the source does not have: an optional one, or one that is refreshed
        whole; it is recorded as ``not_exposed`` and warned about.
    :raises SchemaMismatch: if another table is missing, or the columns do not fit any more.
    """
    shape = run.source.shape(table)
    if shape is None:
        return _not_exposed(run, table)
    if not table.columns:
        raise SchemaMismatch(
            f"{table.name}: the source has it now, the catalog does not know its columns:"
            f" run `python -m include add-table {table.name}`, then `python -m include migrate`"
        )
    follow(run.source, run.warehouse, table, shape)
    drop_dead_staging(run, table)
    return True


def drop_dead_staging(run: Run, table: Table) -> int:
    """Drop the staging tables whose window nobody has locked; returns how many."""
    dropped = 0
    for span in run.warehouse.dead_staging(table):
        phase = Phase.FIX if span == CHANGES else Phase.LOAD
        try:
            with claim(run.control, table, span, phase, holder=run.holder, wait=0):
                run.warehouse.drop_staging(table, span)
        except LockHeld:
            continue
        log.info("%s %s: dropped the staging table of a dead run", table.name, span.name)
        dropped += 1
    return dropped


def _not_exposed(run: Run, table: Table) -> bool:
    span = WHOLE if table.strategy == "refresh" else UNDATED
    progress = ProgressRow(run.warehouse.metadata(), run.id, table, span)
    text = f"{table.name}: the source has no such table"
    progress.start(attempt=1)
    if not table.optional and table.strategy == "window":
        text = f"{text}; if it need not have it, write `optional: true` in tables.yaml"
        progress.finish(Status.FAILED, {"error": text})
        raise SchemaMismatch(text)
    progress.finish(Status.NOT_EXPOSED, {"error": text})
    log.warning("%s; it is left out", text)
    return False
