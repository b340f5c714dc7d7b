"""A message about a run, when its last task has ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowException

from include.errors import RetailSyncError
from include.overview.message import Message, Part
from include.settings import Settings
from retail_sync.hooks.engine import EngineHook
from retail_sync.notify.links import links_of
from retail_sync.notify.send import send
from retail_sync.operators.base import MESSAGE_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.overview.outcome import Outcome

#: DAGs that load every night: that they did is in the digest.
_ROUTINE = {"nightly_replica", "reference_tables"}


class RunNotifier(BaseNotifier):
    """
    Say what a run did: what failed, what was repaired, what is over its threshold, and how long it took.

    For the callbacks of a run's last task. Nothing is sent about a run that failed, repaired and loaded
    nothing, nor about a night that only loaded what was due. A message that cannot be made or sent is
    logged and fails nothing.
    """

    def notify(self, context: Context) -> None:
        """Send the message of the run, if there is anything to say."""
        settings = Settings()
        try:
            message = self.message(context, settings)
        except Exception as error:  # noqa: BLE001 (a message that cannot be made fails no run)
            self.log.error("no message was made: %s", text_of(error))  # noqa: TRY400 (a traceback may quote rows)
            return
        if message:
            send(message, settings)

    def message(self, context: Context, settings: Settings) -> Message | None:
        """Return what is told of the run, None for nothing."""
        told = context["ti"].xcom_pull(task_ids=context["ti"].task_id, key=MESSAGE_KEY)
        if told:
            return _of_left(context, told) if told["changed"] else None
        return _of_record(context, settings)


def _of_left(context: Context, told: dict[str, Any]) -> Message:
    """Return the message that the task has left."""
    lines = [told["run_id"], *told["text"].splitlines(), _duration(context)]
    return _message(context, told["status"], [Part("Orders", lines)])


def _of_record(context: Context, settings: Settings) -> Message | None:
    """Return what the warehouse says that the run has done, and what the task itself has failed with."""
    from include.overview.outcome import Outcome

    exception, errors = context.get("exception"), list[str]()
    try:
        outcome = _outcome(context, settings)
    except Exception as error:
        if exception is None:
            raise
        outcome, errors = Outcome(), [f"what the run has done is not known: {text_of(error)}"]
    if exception is not None:
        errors += _left_over(text_of(exception), outcome)
    is_routine = context["ti"].dag_id in _ROUTINE or not outcome.loaded
    if exception is None and not outcome.is_amiss and not outcome.rows_repaired and is_routine:
        return None
    parts = [Part("Run", errors), *outcome.parts(), Part("Duration", [_duration(context)])]
    return _message(context, _verdict(context, outcome), parts)


def _outcome(context: Context, settings: Settings) -> Outcome:
    from include.overview.outcome import outcome_of

    warehouse = EngineHook(settings.warehouse_connection, "retail-sync notify").get_warehouse(settings)
    return outcome_of(warehouse.metadata(), [context["run_id"]])


def _message(context: Context, status: str, parts: Sequence[Part]) -> Message:
    dag_id = context["ti"].dag_id
    return Message(f"{dag_id}: {status}", parts, links_of(dag_id, context["run_id"]))


def _verdict(context: Context, outcome: Outcome) -> str:
    words = ["failed" if context.get("exception") else "success"]
    if outcome.rows_repaired:
        words.append(f"{outcome.rows_repaired:,} rows repaired")
    if outcome.breaches:
        words.append(f"{len(outcome.breaches)} over their thresholds")
    return ", ".join(words)


def _left_over(text: str, outcome: Outcome) -> list[str]:
    """Return what an error says beyond what is told of the run anyway."""
    for known in (*outcome.failed, *outcome.differing, *outcome.breaches):
        text = text.replace(known, "")
    return [part for part in text.split("; ") if part.strip(" ;")]


def text_of(error: object) -> str:
    """Return what may be told: only our own errors are known to hold no row's content, and Airflow's carry ours."""
    if isinstance(error, str | RetailSyncError | AirflowException):
        return str(error)
    return f"{type(error).__name__}, see the log"


def _duration(context: Context) -> str:
    began = context["dag_run"].start_date
    if began is None:
        return "unknown"
    seconds = int((datetime.now(UTC) - began).total_seconds())
    return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
