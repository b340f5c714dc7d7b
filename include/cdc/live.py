"""The tables of a replication in the warehouse, as they are now."""

from __future__ import annotations

from include.cdc import names, state
from include.cdc.changes import TargetTable
from include.cdc.models import Deletes, Replication
from include.cdc.state import Status, TableRow
from include.cdc.targets.base import Target


def targets(target: Target, replication: Replication, epoch: str) -> dict[str, TargetTable]:
    """Return the tables that readers see, by their names at the source."""
    rows = followed(target, replication, epoch).values()
    return {row.source_table: target_of(target, replication, row) for row in rows}


def followed(target: Target, replication: Replication, epoch: str) -> dict[str, TableRow]:
    """Return what is recorded of the tables that readers see and that are followed."""
    rows = state.tables(target.records, replication.name, epoch)
    return {
        name: row for name, row in rows.items() if row.status is Status.LIVE and replication.holds(row.source_table)
    }


def target_of(target: Target, replication: Replication, row: TableRow) -> TargetTable:
    """Return a table as it is now."""
    schema, name = replication.target_schema, row.target_table
    shape = target.shape(schema, name)
    return TargetTable(
        source=row.source_table,
        schema=schema,
        name=name,
        key=shape.key,
        columns={column: kind for column, kind in shape.columns.items() if column != names.DELETED_AT},
        soft=replication.deletes is Deletes.SOFT,
        snapshot=row.snapshot,
    )
