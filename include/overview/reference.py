"""The reference tables: rows, last refresh, and the change against the refresh before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from include.catalog import Table
from include.metadata import etl_progress
from include.overview.parts import FINISHED, SECONDS_COLUMNS, iso, short_error, total, whole
from include.replication.progress import Phase
from include.windows import WHOLE


def reference(engine: sa.Engine, tables: Iterable[Table]) -> dict[str, Any]:
    """
    Return the tables that are refreshed whole, in the order of the catalog, also those never refreshed.

    ``rows`` are those of the newest refresh that was finished, ``rows_before`` those of the one before; the rest is
    of the newest refresh. Times are ISO 8601 in UTC.
    """
    names = [table.name for table in tables if table.strategy == "refresh"]
    with engine.connect() as connection:
        newest = {row["table_name"]: row for row in connection.execute(_newest(names)).mappings()}
        rows: dict[str, list[int | None]] = {}
        for name, count in connection.execute(_last_two(names)):
            rows.setdefault(name, []).append(whole(count))
    return {"tables": [_shown(name, newest.get(name), rows.get(name, [])) for name in names]}


def _shown(name: str, row: Any, rows: list[int | None]) -> dict[str, Any]:
    now, before = (*rows, None, None)[:2]
    return {
        "name": name,
        "rows": now,
        "rows_before": before,
        "status": row and row["status"],
        "finished_at": iso(row["finished_at"]) if row else None,
        "seconds": round(row["seconds"], 1) if row else None,
        "run": row and row["run_id"],
        "error": row and row["error"],
    }


def _newest(names: list[str]) -> sa.Select[Any]:
    latest = (
        sa.select(sa.func.max(etl_progress.c.id))
        .where(etl_progress.c.table_name.in_(names), etl_progress.c.window_name == WHOLE.name)
        .group_by(etl_progress.c.table_name)
    )
    columns = (etl_progress.c[name] for name in ("table_name", "status", "finished_at", "run_id"))
    seconds = total(etl_progress, SECONDS_COLUMNS).label("seconds")
    return sa.select(*columns, seconds, short_error()).where(etl_progress.c.id.in_(latest))


def _last_two(names: list[str]) -> sa.Select[Any]:
    """Select table and rows of the last two refreshes of each, the newer first."""
    place = sa.func.row_number().over(partition_by=etl_progress.c.table_name, order_by=etl_progress.c.id.desc())
    ranked = (
        sa.select(etl_progress.c.table_name, etl_progress.c.rows_published, place.label("place"))
        .where(
            etl_progress.c.table_name.in_(names),
            etl_progress.c.window_name == WHOLE.name,
            etl_progress.c.phase == Phase.LOAD,
            etl_progress.c.status.in_(FINISHED),
        )
        .subquery("ranked")
    )
    query = sa.select(ranked.c.table_name, ranked.c.rows_published).where(ranked.c.place <= 2)
    return query.order_by(ranked.c.table_name, ranked.c.place)
