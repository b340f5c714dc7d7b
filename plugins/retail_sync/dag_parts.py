"""What the DAGs have in common: retries, and the parameters that several of them take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import Param

from include.settings import Settings


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
