"""``pipeline_run_summaries``: the row of a run, with its plan, and its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from include.connections import Connection
from include.errors import LockHeld
from include.locks import LockSpace, Name, hold, holder_of
from include.orders_sync.log import close_dead
from include.orders_sync.planner import Planned, Reason
from include.orders_sync.plans import Plans
from include.orders_sync.summary import Key, LogRow, Summary, summarise
from include.orders_sync.tables import COUNTERS
from include.windows import Window, parse_date

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

_OPEN = """
    INSERT INTO public.pipeline_run_summaries
        (pipeline_name, run_id, run_env, started_at, report_date, overall_status, metrics)
    VALUES (%s, %s, %s, now(), %s, 'running', %s)
    ON CONFLICT (run_id) DO UPDATE
    SET overall_status = 'running', finished_at = NULL, summary_text = NULL, run_env = excluded.run_env,
        report_date = excluded.report_date, metrics = excluded.metrics
"""
_RUNNING = """
    SELECT run_id, metrics->>'launcher' FROM public.pipeline_run_summaries
    WHERE pipeline_name = %s AND run_env = %s AND overall_status = 'running' AND run_id <> %s
"""
_SAVE_PLAN = """
    UPDATE public.pipeline_run_summaries
    SET metrics = jsonb_set(metrics, ARRAY['plan', %s], %s, true) WHERE run_id = %s
"""
_LEAVE = """
    UPDATE public.pipeline_run_summaries
    SET metrics = jsonb_set(metrics, ARRAY['left', %s], jsonb_build_object('status', %s::text, 'error', %s::text), true)
    WHERE run_id = %s
"""
_CLOSE = """
    UPDATE public.pipeline_run_summaries
    SET finished_at = now(), overall_status = %s, summary_text = %s, metrics = metrics || %s WHERE run_id = %s
"""
_ROWS = f"""
    SELECT p.code, store_code, from_date, to_date, status, attempt_no, error_message, {", ".join(COUNTERS)}
    FROM public.orders_sync_log JOIN public.pipelines p ON p.id = pipeline_id WHERE run_id = %s
"""  # noqa: S608 (constants only)
#: Who begins runs: one of Airflow has no process of its own between its tasks.
AIRFLOW, COMMAND = "airflow", "command"


@dataclass(frozen=True)
class Head:
    """
    What is known of a run when it begins.

    :param name: the pipeline, as in the table ``pipelines``.
    :param today: the day of the run in the pipeline's timezone.
    :param launcher: ``airflow`` or ``command``.
    """

    name: str
    run_id: str
    run_env: str
    today: date
    launcher: str
    params: Mapping[str, Any]


def open_run(session: psycopg.Connection[Any], head: Head) -> None:
    """Write the row of a run, or begin it anew, and close those of the same pipeline that died."""
    _close_dead_runs(session, head)
    metrics = {"launcher": head.launcher, "params": dict(head.params), "plan": {}, "left": {}}
    session.execute(_OPEN, (head.name, head.run_id, head.run_env, head.today, Jsonb(metrics)))


def save_plan(session: psycopg.Connection[Any], run_id: str, pipeline: str, plans: Plans) -> None:
    """Keep the windows of a pipeline's stores: who works on a store finds them here, also on another try."""
    content = {code: [_written(item) for item in planned] for code, planned in plans.items()}
    session.execute(_SAVE_PLAN, (pipeline, Jsonb(content), run_id))


def planned_of(session: psycopg.Connection[Any], run_id: str, pipeline: str, store_code: str) -> list[Planned]:
    """Return the windows of a store in a run, oldest first."""
    row = session.execute(
        "SELECT metrics #> ARRAY['plan', %s, %s] FROM public.pipeline_run_summaries WHERE run_id = %s",
        (pipeline, store_code, run_id),
    ).fetchone()
    return [_read(item) for item in (row and row[0]) or []]


def today_of(session: psycopg.Connection[Any], run_id: str) -> date:
    """Return the day of a run, which stays what it was when the run goes on after midnight."""
    row = session.execute(
        "SELECT report_date FROM public.pipeline_run_summaries WHERE run_id = %s", (run_id,)
    ).fetchone()
    if row is None:
        raise LookupError(f"no run {run_id} in pipeline_run_summaries")
    day: date = row[0]
    return day


def leave(session: psycopg.Connection[Any], run_id: str, store_code: str, status: str, reason: str) -> None:
    """
    Record why windows of a store have no row in the log.

    :param status: what these windows ended as: skipped, or failed.
    """
    session.execute(_LEAVE, (store_code, status, reason, run_id))


def close_run(session: psycopg.Connection[Any], control: Connection, run_id: str) -> Summary:
    """Close the row of a run with what its rows of the log say; returns that."""
    rows = _rows(session, run_id)
    for code in sorted({key[1] for key, row in rows.items() if row.status == "running"}):
        _close_unheld(control, code, run_id)
    row = session.execute("SELECT metrics FROM public.pipeline_run_summaries WHERE run_id = %s", (run_id,)).fetchone()
    metrics = row[0] if row else {}
    plans = {
        pipeline: {code: [_read(item) for item in planned] for code, planned in sorted(stores.items())}
        for pipeline, stores in sorted(metrics.get("plan", {}).items())
    }
    left = {code: (why["status"], why["error"]) for code, why in metrics.get("left", {}).items()}
    summary = summarise(run_id, plans, _rows(session, run_id), left)
    session.execute(_CLOSE, (summary.status, summary.text, Jsonb(summary.as_dict()), run_id))
    return summary


def fail_run(session: psycopg.Connection[Any], run_id: str, error: str) -> None:
    """Close the row of a run that came to nothing."""
    session.execute(_CLOSE, ("failed", error, Jsonb({"windows": []}), run_id))


def _close_dead_runs(session: psycopg.Connection[Any], head: Head) -> None:
    """
    Close the rows of runs that never ended.

    A run of the command line holds a lock as long as it lives. One of Airflow is dead when
    the next one begins, since its DAG allows one run at a time.
    """
    for run_id, launcher in session.execute(_RUNNING, (head.name, head.run_env, head.run_id)).fetchall():
        dead = (
            holder_of(session, Name(LockSpace.RUN, run_id)) is None
            if launcher == COMMAND
            else (launcher == head.launcher == AIRFLOW)
        )
        if dead:
            log.warning("run %s of %s never ended, it is closed as failed", run_id, head.name)
            fail_run(session, run_id, f"it never ended: its process died; closed by run {head.run_id}")


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


def _written(item: Planned) -> list[str]:
    return [item.window.start.isoformat(), item.window.last_day.isoformat(), item.reason.value]


def _read(item: list[str]) -> Planned:
    first, last, reason = item
    return Planned(Window.inclusive(parse_date(first), parse_date(last)), Reason(reason))
