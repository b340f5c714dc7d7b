"""What the DAGs have in common: retries, and the parameters that several of them take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time, timedelta
from typing import Any

from airflow.sdk import BaseNotifier, BaseOperator, Param, TriggerRule
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from include.settings import Settings
from retail_sync.notify import RunNotifier
from retail_sync.notify.late import tell_late
from retail_sync.notify.send import is_wanted
from retail_sync.operators.orders import CloseSyncOperator


def default_args(settings: Settings) -> dict[str, Any]:
    """Return the arguments of all tasks: tried again with growing pauses."""
    return {
        "owner": "retail-sync",
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_delay),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
    }


def tables_param(names: Sequence[str]) -> Param:
    """Return a choice of tables, none of them meaning all."""
    return Param(
        [],
        type=["null", "array"],
        items={"type": "string", "enum": list(names)},
        examples=list(names),
        description="None for all of them",
    )


def day_param(description: str) -> Param:
    """Return a date picker that may stay empty."""
    return Param(None, type=["null", "string"], format="date", description=description)


def flag_param(default: bool, description: str) -> Param:
    """Return a switch."""
    return Param(default, type="boolean", description=description)


def text_param(description: str) -> Param:
    """Return a field for a name that may stay empty."""
    return Param(None, type=["null", "string"], description=description)


def told(settings: Settings, notifier: type[BaseNotifier] = RunNotifier) -> dict[str, Any]:
    """Return the callbacks of a run's last task, by which those who want it hear of the run."""
    if not is_wanted(settings):
        return {}
    callback = notifier()
    return {"on_success_callback": callback, "on_failure_callback": callback}


def done_by(settings: Settings, due: time, begins: time) -> DeadlineAlert | None:
    """
    Return the alert of a nightly run that is not done by a time; None where nobody would hear of it.

    Its interval is a day, so it begins a day after its logical date. The scheduler watches, and an executor
    sends the message: no triggerer is needed.

    :param due: the first such time after the run begins, by the clock of the DAG's timezone.
    :param begins: when it begins.
    """
    if not is_wanted(settings):
        return None
    late = _since_midnight(due) - _since_midnight(begins)
    after = late if late > timedelta() else late + timedelta(days=1)
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
        interval=timedelta(days=1) + after,
        callback=SyncCallback(tell_late),
        name=f"done by {due:%H:%M}",
    )


def _since_midnight(moment: time) -> timedelta:
    return timedelta(hours=moment.hour, minutes=moment.minute, seconds=moment.second)


def close_orders_sync(settings: Settings) -> BaseOperator:
    """Return the last task of an orders sync."""
    return CloseSyncOperator(task_id="close", trigger_rule=TriggerRule.ALL_DONE, **told(settings))
