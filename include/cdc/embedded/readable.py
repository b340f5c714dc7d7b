"""Whether a source still has all that a stream has to read; the engine would go on without a word."""

from __future__ import annotations

from collections.abc import Mapping

from include.cdc import incidents, state
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow, State, TableRow
from include.cdc.targets.base import Target
from include.errors import NeedsResync

CAPTURE_GAP = "capture_gap"


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
    _assert_whole(run, target, row, tables)
    run.at_source.await_turn(row)


def _assert_whole(run: CdcRun, target: Target, row: ReplicationRow, tables: Mapping[str, TableRow]) -> None:
    assert row.epoch is not None
    found = run.at_source.gaps(row, {name: table.snapshot for name, table in tables.items()})
    for name, text in found.lost.items():
        severity = incidents.Severity.UNHEALTHY
        incidents.report(target, run.name, CAPTURE_GAP, name, severity, f"{text}; resync the table")
    if found.lost:
        for name in tables.keys() - found.lost.keys():
            incidents.close(target.records, run.name, CAPTURE_GAP, name)
        told = "; ".join(f"{name}: {text}" for name, text in sorted(found.lost.items()))
        raise NeedsResync(f"replication {run.name}: {told}: changes are lost; run it with action=resync and tables")
    incidents.close(target.records, run.name, CAPTURE_GAP)
    for name, seen in found.seen.items():
        if seen != tables[name].snapshot:
            state.write_table(target.records, run.name, row.epoch, name, snapshot=seen)
