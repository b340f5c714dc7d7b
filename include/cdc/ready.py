"""Whether the changes of a replication may be applied now."""

from __future__ import annotations

from include.cdc import state
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow, State, Status
from include.cdc.targets.base import Target
from include.errors import NeedsResync


def must_wait(target: Target, run: CdcRun, row: ReplicationRow) -> str | None:
    """
    Return why nothing is applied now, None if it is.

    :raises NeedsResync: if the log that has to be read is gone.
    """
    if row.epoch is None:
        return "its first copy is not finished"
    if row.state is State.NEEDS_RESYNC:
        raise NeedsResync(f"replication {run.name}: {row.reason}; run it with action=resync")
    if row.state is not State.STREAMING:
        return f"it is {row.state}; run it with action=resume"
    tables = state.tables(target.records, run.name, row.epoch).values()
    copying = [table.source_table for table in tables if table.status is not Status.LIVE]
    return f"{', '.join(copying)} is copied again, and would miss changes" if copying else None
