"""A message when a followed database becomes unhealthy, and one when it is healthy again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, Variable

from include.cdc.request import ALL
from include.overview.message import Message, Part
from include.settings import Settings
from retail_sync.notify.links import links_of
from retail_sync.notify.runs import text_of
from retail_sync.notify.send import send
from retail_sync.operators.base import HEALTH_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

#: What was told last is kept by Airflow: the warehouse may be what is down.
TOLD_VARIABLE = "retail_sync_told_unhealthy"
_UNHEALTHY = "unhealthy"
#: A replication in one of these is not well again.
_UNSETTLED = {_UNHEALTHY, "degraded", "copying"}
#: Stands for the run itself, where a task failed and no replication is unhealthy.
_RUN = "the run"

#: Status and reasons by replication.
State = Mapping[str, Mapping[str, Any]]


class HealthNotifier(BaseNotifier):
    """Say what became unhealthy, and what is healthy again; the run of each minute says nothing else."""

    def notify(self, context: Context) -> None:
        """Compare with what was told last, and send what is new; what could not be sent is tried by the next run."""
        settings = Settings()
        try:
            told = list(Variable.get(TOLD_VARIABLE, default=[], deserialize_json=True))
            now = state_of(context)
            whole = (context["params"].get("replication") or ALL) == ALL
            fallen, risen = changes(told, now)
            left = sorted({*told, *fallen} - {*risen} - ({*told} - {*now} if whole else set()))
            if (fallen or risen) and not send(_message(context, now, fallen, risen), settings):
                return
            if left != told:
                Variable.set(TOLD_VARIABLE, left, serialize_json=True)
        except Exception as error:  # noqa: BLE001 (a message that cannot be made fails no run)
            self.log.error("no message was made: %s", text_of(error))  # noqa: TRY400 (a traceback may quote rows)


def state_of(context: Context) -> State:
    """Return how the replications are, and the run itself where no replication tells why it failed."""
    found: State = context["ti"].xcom_pull(task_ids=context["ti"].task_id, key=HEALTH_KEY) or {}
    exception = context.get("exception")
    if exception is None:
        return {**found, _RUN: {"status": "healthy", "reasons": []}}
    if any(health["status"] == _UNHEALTHY for health in found.values()):
        return found
    return {**found, _RUN: {"status": _UNHEALTHY, "reasons": text_of(exception).split("; ")}}


def changes(told: list[str], now: State) -> tuple[list[str], list[str]]:
    """Return what is unhealthy and was not told so, and what was told so and is well again."""
    fallen = [name for name, health in now.items() if health["status"] == _UNHEALTHY and name not in told]
    risen = [name for name in told if name in now and now[name]["status"] not in _UNSETTLED]
    return fallen, risen


def _message(context: Context, now: State, fallen: list[str], risen: list[str]) -> Message:
    words = [f"{name} is unhealthy" for name in fallen]
    words += [f"{name} is {now[name]['status']} again" for name in risen]
    parts = [Part(name, now[name]["reasons"] or ["no reason is known"]) for name in fallen]
    dag_id = context["ti"].dag_id
    return Message(f"{dag_id}: {'; '.join(words)}", parts, links_of(dag_id, context["run_id"]))
