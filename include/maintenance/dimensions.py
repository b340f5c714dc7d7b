"""The audit of tables that are refreshed whole: how many rows, what they sum up to, when they were last written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from include.catalog import Table
from include.engines.base import Level, Warehouse
from include.metadata import dimension_refresh_audit, etl_progress, now, upsert
from include.replication.progress import Status
from include.windows import WHOLE


def audit(warehouse: Warehouse, run_id: str, table: Table) -> int:
    """Write the row of a table into ``dimension_refresh_audit``; returns how many rows the table has."""
    digest = warehouse.digest(table, WHOLE, Level.CHECKSUM)
    with warehouse.metadata().connect() as connection:
        values = {
            "row_count": digest.rows,
            "table_hash": digest.total,
            "hash_method": digest.method,
            **_last_refresh(connection, table),
            "audited_at": now(),
        }
        upsert(connection, dimension_refresh_audit, {"run_id": run_id, "table_name": table.name}, values)
    return digest.rows


def _last_refresh(connection: sa.Connection, table: Table) -> dict[str, Any]:
    """Return when the table was last written, how long it took and what changed; None for what is not known."""
    query = (
        sa.select(etl_progress)
        .where(
            etl_progress.c.table_name == table.name,
            etl_progress.c.window_name == WHOLE.name,
            etl_progress.c.status.in_([Status.PUBLISHED, Status.VERIFIED]),
            etl_progress.c.finished_at.is_not(None),
        )
        .order_by(etl_progress.c.finished_at.desc(), etl_progress.c.id.desc())
    )
    row = connection.execute(query.limit(1)).mappings().first()
    if row is None:
        return dict.fromkeys(("refreshed_at", "seconds", "rows_changed"))
    return {
        "refreshed_at": row["published_at"] or row["finished_at"],
        "seconds": sum(row[f"seconds_{part}"] or 0.0 for part in ("loading", "publishing", "verifying")),
        "rows_changed": _sum(row[f"rows_{part}"] for part in ("inserted", "updated", "deleted")),
    }


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)
