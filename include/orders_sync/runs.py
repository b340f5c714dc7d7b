"""``pipeline_run_summaries``: the row of a run, with its plan, and why windows were left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from include.orders_sync.planner import Planned, Reason
from include.orders_sync.plans import Plans
from include.orders_sync.summary import Key, Left
from include.windows import Window, parse_date

if TYPE_CHECKING:
    import psycopg

_OPEN = """
    INSERT INTO public.pipeline_run_summaries
        (pipeline_name, run_id, run_env, started_at, report_date, overall_status, metrics)
    VALUES (%s, %s, %s, now(), %s, 'running', %s)
    ON CONFLICT (run_id) DO UPDATE
    SET overall_status = 'running', finished_at = NULL, summary_text = NULL, run_env = excluded.run_env,
        report_date = excluded.report_date, metrics = excluded.metrics
"""
_SAVE_PLAN = """
    UPDATE public.pipeline_run_summaries
    SET metrics = metrics || jsonb_build_object(
        'plan', (metrics->'plan') || jsonb_build_object(%(pipeline)s::text, %(plan)s::jsonb),
        'planned_at', (metrics->'planned_at') || jsonb_build_object(%(pipeline)s::text, %(at)s::text),
        'left', (metrics->'left') - %(stores)s::text[],
        'elsewhere', (metrics->'elsewhere') - %(stores)s::text[]
    )
    WHERE run_id = %(run_id)s
"""
_LEAVE = """
    UPDATE public.pipeline_run_summaries
    SET metrics = jsonb_set(metrics, ARRAY['left', %s], jsonb_build_object('status', %s::text, 'error', %s::text), true)
    WHERE run_id = %s
"""
_FORGET_LEFT = """
    UPDATE public.pipeline_run_summaries SET metrics = metrics #- ARRAY['left', %(store)s]
    WHERE run_id = %(run_id)s AND metrics->'left' ? %(store)s
"""
#: A row of many windows is not written anew for a store that has nothing to tell.
_LEAVE_ELSEWHERE = """
    UPDATE public.pipeline_run_summaries
    SET metrics = jsonb_set(metrics, ARRAY['elsewhere', %(store)s], %(windows)s, true)
    WHERE run_id = %(run_id)s AND COALESCE(metrics #> ARRAY['elsewhere', %(store)s], '[]') <> %(windows)s
"""
#: Who begins runs: one of Airflow has no process of its own between its tasks.
AIRFLOW, COMMAND = "airflow", "command"


@dataclass(frozen=True)
class Head:
    """
    What is known of a run when it begins.

    :param name: the pipeline, as in the table ``pipelines``.
    :param today: the day of the run in the pipeline's timezone.
    :param launcher: ``airflow`` or ``command``.
    :param deployment: who we are, whatever the run is asked to call itself.
    """

    name: str
    run_id: str
    run_env: str
    today: date
    launcher: str
    deployment: str
    params: Mapping[str, Any]


def open_run(session: psycopg.Connection[Any], head: Head) -> None:
    """Write the row of a run, or begin it anew."""
    metrics = {
        "launcher": head.launcher,
        "deployment": head.deployment,
        "params": dict(head.params),
        **{name: {} for name in ("plan", "planned_at", "left", "elsewhere")},
    }
    session.execute(_OPEN, (head.name, head.run_id, head.run_env, head.today, Jsonb(metrics)))


def server_time(session: psycopg.Connection[Any]) -> datetime:
    """Return the time by the clock of the log."""
    row = session.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def save_plan(session: psycopg.Connection[Any], run_id: str, pipeline: str, plans: Plans, planned_at: datetime) -> None:
    """
    Keep the windows of a pipeline's stores: who works on a store finds them here, also on another try.

    :param planned_at: the server's time before the log was read: what succeeds later is not in the plan.
    """
    content = {code: [_written(item) for item in planned] for code, planned in plans.items()}
    values = {"pipeline": pipeline, "plan": Jsonb(content), "at": planned_at.isoformat(), "stores": list(plans)}
    session.execute(_SAVE_PLAN, {**values, "run_id": run_id})


def planned_of(session: psycopg.Connection[Any], run_id: str, pipeline: str, store_code: str) -> list[Planned]:
    """Return the windows of a store in a run, oldest first."""
    row = session.execute(
        "SELECT metrics #> ARRAY['plan', %s, %s] FROM public.pipeline_run_summaries WHERE run_id = %s",
        (pipeline, store_code, run_id),
    ).fetchone()
    return [_read(item) for item in (row and row[0]) or []]


def plans_in(metrics: Mapping[str, Any]) -> dict[str, Plans]:
    """Return the windows of all stores, in the order of pipelines and codes."""
    return {
        pipeline: {code: [_read(item) for item in planned] for code, planned in sorted(stores.items())}
        for pipeline, stores in sorted(metrics.get("plan", {}).items())
    }


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
    Record what kept a store from being worked on, or on to its end.

    :param status: what its windows without a row in the log end as: skipped, or failed.
    """
    session.execute(_LEAVE, (store_code, status, reason, run_id))


def forget_left(session: psycopg.Connection[Any], run_id: str, store_code: str) -> None:
    """Forget what kept an earlier try from a store: this one says anew how it ends."""
    session.execute(_FORGET_LEFT, {"run_id": run_id, "store": store_code})


def leave_elsewhere(
    session: psycopg.Connection[Any], run_id: str, pipeline: str, store_code: str, windows: Sequence[Window]
) -> None:
    """Record which windows of a store another run did meanwhile, in place of what was said before."""
    content = [[pipeline, window.start.isoformat(), window.last_day.isoformat()] for window in windows]
    session.execute(_LEAVE_ELSEWHERE, {"run_id": run_id, "store": store_code, "windows": Jsonb(content)})


def left_in(metrics: Mapping[str, Any]) -> Left:
    """Return why windows have no row in the log."""
    elsewhere: set[Key] = {
        (pipeline, code, parse_date(first), parse_date(last))
        for code, windows in metrics.get("elsewhere", {}).items()
        for pipeline, first, last in windows
    }
    stores = {code: (why["status"], why["error"]) for code, why in metrics.get("left", {}).items()}
    return Left(stores, elsewhere)


def _written(item: Planned) -> list[str]:
    return [item.window.start.isoformat(), item.window.last_day.isoformat(), item.reason.value]


def _read(item: list[str]) -> Planned:
    first, last, reason = item
    return Planned(Window.inclusive(parse_date(first), parse_date(last)), Reason(reason))
