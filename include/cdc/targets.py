"""The tables of a replication in the warehouse, as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.cdc import names, state
from include.cdc.changes import TargetTable
from include.cdc.models import Deletes, Replication
from include.cdc.state import Status, TableRow

if TYPE_CHECKING:
    import psycopg

_COLUMNS = """
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
        coalesce(array_position(i.indkey::int2[], a.attnum), -1)
    FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
    WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""


def targets(session: psycopg.Connection[Any], replication: Replication, epoch: str) -> dict[str, TargetTable]:
    """Return the tables that readers see, by their names at the source."""
    rows = followed(session, replication, epoch).values()
    return {row.source_table: target_of(session, replication, row) for row in rows}


def followed(session: psycopg.Connection[Any], replication: Replication, epoch: str) -> dict[str, TableRow]:
    """Return what is recorded of the tables that readers see and that are followed."""
    rows = state.tables(session, replication.name, epoch)
    return {
        name: row for name, row in rows.items() if row.status is Status.LIVE and replication.holds(row.source_table)
    }


def target_of(session: psycopg.Connection[Any], replication: Replication, row: TableRow) -> TargetTable:
    """Return a table as it is now."""
    schema, name = replication.target_schema, row.target_table
    found = session.execute(_COLUMNS, (f'"{schema}"."{name}"',)).fetchall()
    key = sorted((place, column) for column, _, place in found if place >= 0)
    return TargetTable(
        source=row.source_table,
        schema=schema,
        name=name,
        key=tuple(column for _, column in key),
        columns={column: kind for column, kind, _ in found if column != names.DELETED_AT},
        soft=replication.deletes is Deletes.SOFT,
        snapshot=row.snapshot,
    )
