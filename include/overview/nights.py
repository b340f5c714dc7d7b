"""The last nights: what each loaded and repaired of each table, how late rows came, which thresholds were broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa

from include.metadata import data_quality_metrics, etl_progress, replica_fixes, replica_run_history
from include.overview.parts import CHANGED_COLUMNS, iso, short_error, whole
from include.replication.history import RunType
from include.replication.progress import Phase, Status

#: What a table of a night ends as, the worst last; a sweep is never compared as a whole.
_RANKS = (Status.VERIFIED, Status.PUBLISHED, Status.NOT_EXPOSED, Status.RUNNING, Status.FAILED)

_Nights = dict[str, dict[str, Any]]


def nights(engine: sa.Engine, today: date, count: int = 60) -> dict[str, Any]:
    """
    Return the newest ``count`` nights, the newest last.

    ``late`` counts the rows that fix checks of these nights inserted, by the days between their date and the day
    that the night loaded; what sweeps fetched has no date here. Days are business dates, times ISO 8601 in UTC.

    :param today: the present business day; later ones are none of its nights.
    """
    with engine.connect() as connection:
        found = _runs(connection, today, count)
        tables = _tables(connection, list(found)) if found else {}
        late = _late(connection, found) if found else []
        breaches = _breaches(connection)
    return {
        "nights": [{**night, "tables": tables.get(run, [])} for run, night in reversed(found.items())],
        "late": late,
        "breaches": breaches,
    }


def _runs(connection: sa.Connection, today: date, count: int) -> _Nights:
    """Return the newest runs by id, the newest first, T-0 and T-1 of a run together."""
    history = replica_run_history
    query = (
        sa.select(history)
        .where(history.c.run_type.in_([RunType.T0, RunType.T1]))
        .order_by(history.c.started_at.desc(), history.c.id.desc())
        .limit(2 * count)
    )
    parts: dict[str, list[Any]] = {}
    for row in connection.execute(query).mappings():
        parts.setdefault(row["run_id"], []).append(row)
    found = {run: _night(run, rows) for run, rows in parts.items()}
    known = [(run, night) for run, night in found.items() if night["day"] <= today.isoformat()]
    return dict(known[:count])


def _night(run: str, rows: Sequence[Any]) -> dict[str, Any]:
    ends, outcomes = [row["finished_at"] for row in rows], [row["success"] for row in rows]
    return {
        "day": max(row["to_date"] for row in rows).isoformat(),
        "run": run,
        "success": None if None in outcomes else all(outcomes),
        "started_at": iso(min(row["started_at"] for row in rows)),
        "finished_at": None if None in ends else iso(max(ends)),
    }


def _tables(connection: sa.Connection, runs: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    loads = etl_progress.c.phase == Phase.LOAD
    worst = sa.case(
        (sa.and_(etl_progress.c.phase == Phase.SWEEP, etl_progress.c.status == Status.PUBLISHED), 0),
        *((etl_progress.c.status == status, rank) for rank, status in enumerate(_RANKS)),
        else_=0,
    )
    query = (
        sa.select(
            etl_progress.c.run_id,
            etl_progress.c.table_name,
            sa.func.sum(sa.case((loads, etl_progress.c.rows_read), else_=0)).label("loaded"),
            *(
                sa.func.sum(sa.case((loads, 0), else_=etl_progress.c[name])).label(name.removeprefix("rows_"))
                for name in CHANGED_COLUMNS
            ),
            sa.func.max(worst).label("worst"),
            sa.func.min(short_error().element).label("error"),
            sa.func.min(etl_progress.c.id).label("first"),
        )
        .where(etl_progress.c.run_id.in_(runs))
        .group_by(etl_progress.c.run_id, etl_progress.c.table_name)
        .order_by(sa.func.min(etl_progress.c.id))
    )
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(query).mappings():
        counts = {name: int(row[name] or 0) for name in ("loaded", "inserted", "updated", "deleted")}
        tables.setdefault(row["run_id"], []).append(
            {"name": row["table_name"], **counts, "status": _RANKS[row["worst"]].value, "error": row["error"]}
        )
    return tables


def _late(connection: sa.Connection, found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, int]]:
    """Return how many rows came so many days late: of each day that was repaired, or was checked alone before."""
    by_day = sa.select(
        replica_fixes.c.run_id, replica_fixes.c.table_name, replica_fixes.c.day, replica_fixes.c.rows_inserted
    ).where(replica_fixes.c.run_id.in_(list(found)))
    alone = sa.select(
        etl_progress.c.run_id, etl_progress.c.table_name, etl_progress.c.from_date, etl_progress.c.rows_inserted
    ).where(
        etl_progress.c.run_id.in_(list(found)),
        etl_progress.c.phase == Phase.FIX,
        etl_progress.c.from_date == etl_progress.c.to_date,
        etl_progress.c.rows_inserted > 0,
    )
    repaired = {(run, table, day): rows for run, table, day, rows in connection.execute(by_day)}
    for run, table, day, rows in connection.execute(alone):
        repaired.setdefault((run, table, day), rows)
    late: Counter[int] = Counter()
    for (run, _, day), rows in repaired.items():
        late[(date.fromisoformat(found[run]["day"]) - day).days] += rows
    return [{"days_late": days, "rows": rows} for days, rows in sorted(late.items()) if days > 0 and rows]


def _breaches(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return what was over its threshold in the newest maintenance run."""
    metrics = data_quality_metrics
    newest = sa.select(metrics.c.run_id).order_by(metrics.c.id.desc()).limit(1).scalar_subquery()
    query = (
        sa.select(metrics)
        .where(metrics.c.run_id == newest, metrics.c.breach.is_not(None))
        .order_by(metrics.c.breach, metrics.c.table_name, metrics.c.metric)
    )
    return [
        {
            "table": row["table_name"],
            **{name: row[name] for name in ("metric", "value", "threshold", "breach")},
            "rows": whole(row["rows_counted"]),
            "measured_at": iso(row["measured_at"]),
            "from": row["from_date"] and row["from_date"].isoformat(),
            "to": row["to_date"] and row["to_date"].isoformat(),
        }
        for row in connection.execute(query).mappings()
    ]
