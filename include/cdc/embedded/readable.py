"""Whether a source still has all that a stream has to read; the engine would go on without a word."""

from __future__ import annotations

from collections.abc import Mapping

from include.cdc import state
from include.cdc.gaps import assert_whole
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow, State, TableRow
from include.cdc.targets.base import Target
from include.errors import NeedsResync


def assert_readable(run: CdcRun, target: Target, row: ReplicationRow, tables: Mapping[str, TableRow]) -> None:
    """
    Make sure that the log is there with all that has to be read, and that nobody else reads it for us.

    Where changes of single tables are lost, nothing is applied until these are copied again.

    :param tables: what is followed.
    :raises NeedsResync: if changes are lost.
    :raises StreamBroken: if somebody else reads the log.
    """
    if gone := run.at_source.lost(run.replication, row, list(tables)):
        state.write(target.records, run.name, state=State.NEEDS_RESYNC, reason=gone)
        raise NeedsResync(f"replication {run.name}: {gone}: changes are lost; run it with action=resync")
    assert_whole(run, target, row, tables)
    run.at_source.await_turn(row)
