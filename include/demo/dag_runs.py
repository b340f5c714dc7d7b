"""Run a DAG of the embedded Airflow by hand and wait for its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx

from include.demo.airflow import LocalAirflow
from include.errors import PermanentError

_POLL_SECONDS = 1.0
_TIMEOUT_SECONDS = 900.0


def due_before(now: datetime) -> datetime:
    """Return when the orders profiler, which runs every two hours, became due last."""
    return now.replace(hour=now.hour - now.hour % 2, minute=0, second=0, microsecond=0)


def run_dag(
    airflow: LocalAirflow,
    dag_id: str,
    conf: Mapping[str, Any],
    due: datetime,
    watch: Callable[[str], None],
    timeout: float = _TIMEOUT_SECONDS,
) -> str:
    """
    Trigger a DAG in the place of the scheduled run that just became due, and wait for its end.

    Unpausing would begin that run first. Once the place is taken the schedule waits for the next one.

    :param due: the logical date of that scheduled run.
    :param watch: called with the run's id again and again, and once when it has ended.
    :param timeout: seconds that the run may take.
    :raises PermanentError: if the run failed.
    """
    airflow.pause(dag_id, True)
    try:
        run_id = airflow.trigger(dag_id, conf, due)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.CONFLICT:
            raise
        run_id = airflow.trigger(dag_id, conf)
    airflow.pause(dag_id, False)
    deadline = time.monotonic() + timeout
    while (state := airflow.run_state(dag_id, run_id)) in ("queued", "running"):
        watch(run_id)
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    watch(run_id)
    if state != "success":
        raise PermanentError(f"run {run_id} of {dag_id} ended as {state}; see its last task at {airflow.url}")
    return run_id
