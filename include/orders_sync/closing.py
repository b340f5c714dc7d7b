"""The end of a run: what its rows of the log say of its plan, also of a run that never ended by itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from include.connections import Connection
from include.errors import LockHeld
from include.locks import LockSpace, Name, hold, holder_of
from include.orders_sync.log import close_dead
from include.orders_sync.runs import AIRFLOW, COMMAND, Head, left_in, plans_in
from include.orders_sync.summary import Key, LogRow, Summary, summarise
from include.orders_sync.tables import COUNTERS

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

_CLOSE = """
    UPDATE public.pipeline_run_summaries
    SET finished_at = now(), overall_status = %s, summary_text = %s, metrics = metrics || %s WHERE run_id = %s
"""
_CLOSE_RUNNING = f"{_CLOSE} AND overall_status = 'running'"
_RUNNING = """
    SELECT run_id, metrics->>'launcher', COALESCE(metrics->>'deployment', run_env)
    FROM public.pipeline_run_summaries
    WHERE pipeline_name = %s AND overall_status = 'running' AND run_id <> %s
"""
_ROWS = f"""
    SELECT p.code, store_code, from_date, to_date, status, attempt_no, error_message, {", ".join(COUNTERS)}
    FROM public.orders_sync_log JOIN public.pipelines p ON p.id = pipeline_id WHERE run_id = %s
"""  # noqa: S608 (constants only)


def close_run(session: psycopg.Connection[Any], control: Connection, run_id: str, error: str | None = None) -> Summary:
    """
    Close the row of a run with what its rows of the log say; returns that.

    :param error: why the run failed, whatever its windows say.
    """
    for code in sorted({key[1] for key, row in _rows(session, run_id).items() if row.status == "running"}):
        _close_unheld(control, code, run_id)
    summary = _summed_up(session, run_id, error)
    session.execute(_CLOSE, (summary.status, summary.text, Jsonb(summary.as_dict()), run_id))
    return summary


def close_dead_runs(session: psycopg.Connection[Any], head: Head) -> None:
    """
    Close the rows of runs of the same pipeline that never ended, as failed.

    A run of the command line holds a lock as long as it lives, and ends its row before it gives
    that back. One of Airflow is dead when the next one of the deployment begins, since its DAG
    allows one run at a time.
    """
    for run_id, launcher, deployment in session.execute(_RUNNING, (head.name, head.run_id)).fetchall():
        if launcher == COMMAND:
            dead = holder_of(session, Name(LockSpace.RUN, run_id)) is None
        else:
            dead = launcher == head.launcher == AIRFLOW and deployment == head.deployment
        if not dead:
            continue
        summary = _summed_up(session, run_id, f"it never ended: its process died; closed by run {head.run_id}")
        values = (summary.status, summary.text, Jsonb(summary.as_dict()), run_id)
        if session.execute(_CLOSE_RUNNING, values).rowcount:
            log.warning("run %s of %s never ended, it is closed as failed", run_id, head.name)


def _summed_up(session: psycopg.Connection[Any], run_id: str, error: str | None) -> Summary:
    row = session.execute("SELECT metrics FROM public.pipeline_run_summaries WHERE run_id = %s", (run_id,)).fetchone()
    metrics = (row and row[0]) or {}
    return summarise(run_id, plans_in(metrics), _rows(session, run_id), left_in(metrics), error)


def _close_unheld(control: Connection, store_code: str, run_id: str) -> None:
    """Close what a killed process left of a store, unless somebody works on it."""
    try:
        with hold(control, [Name(LockSpace.STORE, store_code)], holder=f"retail-sync close {run_id}", wait=0) as lock:
            close_dead(lock.session, store_code, run_id)
    except LockHeld as error:
        log.warning("%s", error)


def _rows(session: psycopg.Connection[Any], run_id: str) -> dict[Key, LogRow]:
    rows: dict[Key, LogRow] = {}
    for pipeline, code, first, last, status, attempt, error, *counts in session.execute(_ROWS, (run_id,)):
        known = {name: count for name, count in zip(COUNTERS, counts, strict=True) if count is not None}
        rows[pipeline, code, first, last] = LogRow(status, attempt, error, known)
    return rows
