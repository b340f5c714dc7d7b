"""
What runs now: windows, copies and streams of followed databases, windows of the orders sync.

A row that says so is believed as long as somebody holds the lock of its work: a process that died holds none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from include import catalog
from include.cdc.state import State
from include.cdc.state import Status as CopyStatus
from include.cdc.tables import cdc_applies, cdc_replications, cdc_tables
from include.locks import LockSpace, Name
from include.metadata import etl_progress, now
from include.orders_sync.pipelines import PROFILER
from include.overview.parts import FINISHED, iso, unix
from include.replication.observe import Step
from include.replication.progress import Phase, Status
from include.windows import WHOLE, Window

if TYPE_CHECKING:
    import psycopg

_HELD = """
    SELECT classid::bigint, objid::bigint FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = ANY(%s::oid[])
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""
_ORDERS = """
    SELECT p.code, l.store_code, l.from_date, l.to_date, l.run_id, r.pipeline_name, l.updated_at,
        l.orders_pulled_at IS NOT NULL, COALESCE(l.orders_ingested, 0) + COALESCE(l.sales_ingested, 0)
    FROM public.orders_sync_log l JOIN public.pipelines p ON p.id = l.pipeline_id
    LEFT JOIN public.pipeline_run_summaries r ON r.run_id = l.run_id
    WHERE l.status = 'running' ORDER BY l.updated_at, l.id
"""
_SPACES = (LockSpace.WINDOW, LockSpace.TABLE, LockSpace.STORE, LockSpace.REPLICATION, LockSpace.REPLICATED_TABLE)
_STEPS = {Step.COMPARING: "comparing", Step.READING: "reading", Step.STAGED: "publishing", Step.VERIFYING: "verifying"}

#: Whether a lock is held.
_Held = Callable[[Name], bool]


def running(engine: sa.Engine, control: psycopg.Connection[Any] | None) -> dict[str, Any]:
    """
    Return what runs now, the oldest first of each kind.

    ``rows`` of ``expected``, which is null where nobody knows; ``step`` is waiting, comparing, reading, publishing or
    verifying, of orders ``orders`` or ``sales``. The run of an orders sync is its id in the log.

    :param control: None where that database is down: then all that is recorded as running is returned, no orders.
    """
    held = _held(control)
    with engine.connect() as connection:
        items = [*_windows(connection, held), *_copies(connection, held)]
        items += _streams(connection, held) if control is not None else []
    if control is not None:
        items += _orders(control, held)
    return {"at": unix(now()), "items": items}


def _held(control: psycopg.Connection[Any] | None) -> _Held:
    if control is None:
        return lambda _: True
    keys = {tuple(key) for key in control.execute(_HELD, ([int(space) for space in _SPACES],)).fetchall()}
    return lambda name: (name.key[0], name.key[1] % 2**32) in keys


def _windows(connection: sa.Connection, held: _Held) -> Iterator[dict[str, Any]]:
    tables = {table.name: table for table in catalog.load()}
    for row in connection.execute(_open_windows()).mappings():
        table = tables.get(row["table_name"])
        if table is None or held(Name(LockSpace.TABLE, f"{table.target_schema}.{table.target_table}")):
            yield _window(row)


def _open_windows() -> sa.Select[Any]:
    """Select the windows that are not finished, with the rows that the last finished run of each had."""
    before = etl_progress.alias("before")
    last = (
        sa.select(sa.func.max(before.c.id))
        .where(
            before.c.table_name == etl_progress.c.table_name,
            before.c.window_name == etl_progress.c.window_name,
            before.c.status.in_(FINISHED),
            before.c.phase == etl_progress.c.phase,
            before.c.finished_at.is_not(None),
        )
        .scalar_subquery()
    )
    earlier = etl_progress.alias("earlier")
    return (
        sa.select(etl_progress, earlier.c.rows_published.label("rows_before"))
        .outerjoin_from(etl_progress, earlier, earlier.c.id == last)
        .where(etl_progress.c.finished_at.is_(None), etl_progress.c.status.in_([Status.RUNNING, Status.PUBLISHED]))
        .order_by(etl_progress.c.started_at, etl_progress.c.id)
    )


def _window(row: Any) -> dict[str, Any]:
    step = "verifying" if row["status"] == Status.PUBLISHED else _STEPS.get(row["step"], "waiting")
    rows, expected = row["rows_read"] or 0, None
    if row["phase"] == Phase.LOAD:
        expected = row["rows_source"] if row["rows_source"] is not None else row["rows_before"]
    seconds = (now() - row["started_at"]).total_seconds()
    return _item(
        "window",
        _dag(row),
        row["table_name"],
        row["window_name"],
        step,
        rows,
        expected,
        rows / seconds if seconds > 0 else 0.0,
        row["started_at"],
        row["run_id"],
        phase=row["phase"],
        is_reading=step == "reading",
    )


def _dag(row: Any) -> str:
    """Return the DAG that does such work; a window by hand or of an audit looks the same."""
    if row["window_name"] == WHOLE.name:
        return "reference_tables"
    is_day = row["from_date"] is not None and row["from_date"] == row["to_date"]
    return "nightly_replica" if row["phase"] != Phase.LOAD or is_day else "sales_replication"


def _copies(connection: sa.Connection, held: _Held) -> Iterator[dict[str, Any]]:
    query = sa.select(cdc_tables).where(cdc_tables.c.status == CopyStatus.COPYING).order_by(cdc_tables.c.source_table)
    for row in connection.execute(query).mappings():
        if held(Name(LockSpace.REPLICATED_TABLE, f"{row['replication']} {row['source_table']}")):
            rate = row["rows_copied"] / row["seconds"] if row["seconds"] else 0.0
            yield _item(
                *("copy", "cdc_replication", f"{row['replication']} {row['source_table']}", None, "reading"),
                *(row["rows_copied"], row["rows_expected"], rate, None, row["run_id"]),
            )


def _streams(connection: sa.Connection, held: _Held) -> Iterator[dict[str, Any]]:
    """Give the replications whose changes are applied now: only the lock tells."""
    query = sa.select(cdc_replications).where(cdc_replications.c.state == State.STREAMING)
    for row in connection.execute(query.order_by(cdc_replications.c.name)).mappings().all():
        if held(Name(LockSpace.REPLICATION, f"{row['name']} apply")):
            applied, before = row["events"], _events_of_streams(connection, row["name"])
            yield _item(
                *("stream", "cdc_replication", row["name"], None, "applying", applied, None, before, None),
                row["run_id"],
            )


def _events_of_streams(connection: sa.Connection, name: str) -> float:
    """Return the events a second of the stream that ended last."""
    query = (
        sa.select(cdc_applies.c.events, cdc_applies.c.started_at, cdc_applies.c.finished_at)
        .where(cdc_applies.c.replication == name, cdc_applies.c.finished_at.is_not(None))
        .order_by(cdc_applies.c.started_at.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return row[0] / max((row[2] - row[1]).total_seconds(), 0.001) if row else 0.0


def _orders(control: psycopg.Connection[Any], held: _Held) -> Iterator[dict[str, Any]]:
    for code, store, first, last, run, name, began, has_orders, rows in control.execute(_ORDERS).fetchall():
        if held(Name(LockSpace.STORE, store)):
            dag = "orders_sync_profiler" if name == PROFILER else code
            window = Window.inclusive(first, last)
            yield _item(
                *("orders", dag, store, f"{window.start}..{window.last_day}", "sales" if has_orders else "orders"),
                *(rows, None, 0.0, began, run),
            )


def _item(
    kind: str,
    dag: str,
    table: str,
    window: str | None,
    step: str,
    rows: int,
    expected: int | None,
    rate: float,
    started_at: Any,
    run: str | None,
    *,
    phase: str | None = None,
    is_reading: bool = True,
) -> dict[str, Any]:
    left = max(expected - rows, 0) / rate if expected is not None and rate > 0 and is_reading else None
    return {
        "kind": kind,
        "dag": dag,
        "table": table,
        "window": window,
        "phase": phase,
        "step": step,
        "rows": rows,
        "expected": expected,
        "rows_per_second": round(rate, 1),
        "seconds_left": None if left is None else round(left, 1),
        "started_at": iso(started_at),
        "run": run,
    }
