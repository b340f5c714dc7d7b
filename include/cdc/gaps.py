"""Changes of single tables that are lost, at a source that can lose those."""

from __future__ import annotations

from collections.abc import Mapping

from include.cdc import incidents, state
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow, TableRow
from include.cdc.targets.base import Target
from include.errors import NeedsResync

CAPTURE_GAP = "capture_gap"


def assert_whole(run: CdcRun, target: Target, row: ReplicationRow, tables: Mapping[str, TableRow]) -> None:
    """
    Make sure that no table lacks changes, and keep what is seen of its capture; a table that does is an incident.

    :param row: with the position from which the stream goes on.
    :param tables: what is followed.
    :raises NeedsResync: naming the tables that have to be copied again.
    """
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
