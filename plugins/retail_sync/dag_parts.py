"""What the DAGs have in common: retries, and the parameters that several of them take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, Param, TriggerRule

from include.settings import Settings
from retail_sync.notify import OrdersSyncNotifier
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


def close_orders_sync(settings: Settings) -> BaseOperator:
    """Return the last task of an orders sync, which tells those who want to hear of it."""
    callbacks: dict[str, Any] = {}
    if recipients := settings.recipients:
        notifier = OrdersSyncNotifier(to=recipients, smtp_conn_id=settings.smtp_connection)
        callbacks = {"on_success_callback": notifier, "on_failure_callback": notifier}
    return CloseSyncOperator(task_id="close", trigger_rule=TriggerRule.ALL_DONE, **callbacks)
