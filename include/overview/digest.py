"""The last day in a message: what ran, what was loaded, repaired and late, and what is missing or unwell now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from include.metadata import data_quality_metrics, etl_progress, replica_audit, replica_run_history
from include.overview.message import Part
from include.overview.orders import FAILED, HOLE
from include.overview.outcome import Outcome

if TYPE_CHECKING:
    import psycopg

_ORDERS = """
    SELECT pipeline_name, overall_status, started_at FROM public.pipeline_run_summaries
    WHERE started_at >= %s AND started_at < %s ORDER BY started_at
"""
_ORDER_ROWS = """
    SELECT p.code, sum(COALESCE(orders_inserted, 0) + COALESCE(sales_inserted, 0)),
        sum(COALESCE(orders_updated, 0) + COALESCE(sales_updated, 0)), count(DISTINCT store_code)
    FROM public.orders_sync_log l JOIN public.pipelines p ON p.id = l.pipeline_id
    WHERE l.updated_at >= %s AND l.updated_at < %s GROUP BY 1 ORDER BY 1
"""
_UNWELL = {"degraded", "unhealthy"}


@dataclass(frozen=True)
class Day:
    """
    What is known of a span of time.

    :param runs: rows of ``replica_run_history``.
    :param outcome: what the runs did.
    :param late: rows by how many days late they came.
    :param cells: months of tables by letter, as the page counts them; ``f`` failed, ``m`` missing.
    :param orders: lines about what the orders sync did.
    :param weeks: weeks of stores by letter, as the page counts them; ``f`` failed, ``h`` with holes.
    :param replications: name, status and reasons of each.
    :param unknown: what could not be found out, with the reason.
    """

    runs: Sequence[Mapping[str, Any]] = ()
    outcome: Outcome = field(default_factory=Outcome)
    late: Mapping[int, int] = field(default_factory=dict)
    cells: Mapping[str, int] = field(default_factory=dict)
    orders: Sequence[str] = ()
    weeks: Mapping[str, int] = field(default_factory=dict)
    replications: Sequence[Mapping[str, Any]] = ()
    unknown: Sequence[str] = ()


def parts_of(day: Day) -> list[Part]:
    """Return what is told of a day, without the parts of which there is nothing to tell."""
    failed = [f"{_name(run)}: {run['error'] or 'failed'}" for run in day.runs if run["success"] is False]
    parts = [
        Part("Not known", day.unknown),
        Part("Runs that failed", failed),
        *day.outcome.parts(),
        Part("Came late", [f"{_of(rows, 'row')}, {_of(days, 'day')} late" for days, rows in sorted(day.late.items())]),
        Part("Orders", day.orders),
        Part("Now", _now(day)),
        Part("Runs", _runs(day.runs)),
    ]
    return [part for part in parts if part.lines]


def title_of(day: Day, name: str) -> str:
    """Return the title of a day: its name, and the worst of it."""
    words = []
    if failures := sum(run["success"] is False for run in day.runs):
        words.append(f"{_of(failures, 'run')} failed")
    if day.outcome.rows_repaired:
        words.append(f"{_of(day.outcome.rows_repaired, 'row')} repaired")
    if loaded := sum(day.outcome.loaded.values()):
        words.append(f"{_of(loaded, 'row')} loaded")
    return f"Replication, {name}: {', '.join(words) or 'see below'}"


def runs_between(engine: sa.Engine, since: datetime, until: datetime) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of the history that began in a span of time, and the ids of all runs that did anything in it."""
    began = (etl_progress.c.started_at, data_quality_metrics.c.measured_at, replica_audit.c.audited_at)
    history = sa.select(replica_run_history).where(*_within(replica_run_history.c.started_at, since, until))
    with engine.connect() as connection:
        runs = [dict(row) for row in connection.execute(history.order_by(replica_run_history.c.id)).mappings()]
        ids = {run["run_id"] for run in runs}
        for moment in began:
            query = sa.select(moment.table.c.run_id).where(*_within(moment, since, until)).distinct()
            ids.update(connection.execute(query).scalars())
    return runs, sorted(ids)


def orders_between(control: psycopg.Connection[Any], since: datetime, until: datetime) -> list[str]:
    """Return what the orders sync changed in a span of time, a line a pipeline, and its runs that did not succeed."""
    lines = [
        f"{pipeline}: {_of(new, 'row')} new, {changed:,} changed, {_of(stores, 'store')}"
        for pipeline, new, changed, stores in control.execute(_ORDER_ROWS, (since, until))
        if new or changed
    ]
    statuses = Counter((name, status) for name, status, _ in control.execute(_ORDERS, (since, until)))
    failed = {key: count for key, count in statuses.items() if key[1] in ("failed", "partial")}
    return [*lines, *(f"{name}: {_of(count, 'run')} {status}" for (name, status), count in sorted(failed.items()))]


def _now(day: Day) -> list[str]:
    lines = [
        f"{_of(day.cells[letter], 'month')} of tables {word}"
        for letter, word in (("f", "failed"), ("m", "missing"))
        if day.cells.get(letter)
    ]
    lines += [
        f"{_of(day.weeks[letter], 'week')} of stores {word}"
        for letter, word in ((FAILED, "failed"), (HOLE, "with holes"))
        if day.weeks.get(letter)
    ]
    unwell = [found for found in day.replications if found["status"] in _UNWELL]
    return lines + [f"{found['name']} is {found['status']}: {', '.join(found['reasons'])}" for found in unwell]


def _runs(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    words = {True: "succeeded", False: "failed", None: "not finished"}
    found = Counter((run["run_type"], words[run["success"]]) for run in runs)
    return [f"{type_}: {count} {word}" for (type_, word), count in found.items()]


def _name(run: Mapping[str, Any]) -> str:
    if run["from_date"] is None:
        return str(run["run_type"])
    days = run["from_date"] if run["from_date"] == run["to_date"] else f"{run['from_date']}..{run['to_date']}"
    return f"{run['run_type']} {days}"


def _within(moment: sa.Column[Any], since: datetime, until: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return moment >= since, moment < until


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
