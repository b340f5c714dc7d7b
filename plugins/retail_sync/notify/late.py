"""A message about a scheduled run that is not done by the time that is set for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from include.overview.message import Message, Part
from include.overview.outcome import outcome_of
from include.settings import Settings
from retail_sync.hooks.engine import EngineHook
from retail_sync.notify.links import links_of
from retail_sync.notify.runs import text_of
from retail_sync.notify.send import send

log = logging.getLogger(__name__)

_SCHEDULED = "scheduled"


def tell_late(context: Mapping[str, Any]) -> None:
    """
    Say that a run has missed its deadline, and what it has done so far.

    Airflow's scheduler has this run by its executor when the time has passed. A run by hand or of a backfill
    has no deadline.

    :param context: ``dag_run`` as Airflow's API describes it, and ``deadline`` with ``deadline_time``.
    """
    run, settings = context["dag_run"], Settings()
    if run["run_type"] != _SCHEDULED:
        log.info("%s is no scheduled run: nothing is told", run["dag_run_id"])
        return
    dag_id, run_id = run["dag_id"], run["dag_run_id"]
    due = _moment(context["deadline"]["deadline_time"]).astimezone(settings.zone)
    state = f"{run['state']}, begun {_told(run['start_date'], settings)}"
    title = f"{dag_id}: not finished by {due:%H:%M} of {due:%Y-%m-%d}"
    send(Message(title, [Part("Run", [state]), *_parts(run_id, settings)], links_of(dag_id, run_id)), settings)


def _parts(run_id: str, settings: Settings) -> list[Part]:
    try:
        warehouse = EngineHook(settings.warehouse_connection, "retail-sync notify").get_warehouse(settings)
        return outcome_of(warehouse.metadata(), [run_id]).parts()
    except Exception as error:  # noqa: BLE001 (that it is late is told in any case)
        return [Part("So far", [f"what the run has done is not known: {text_of(error)}"])]


def _told(moment: str | None, settings: Settings) -> str:
    return f"{_moment(moment).astimezone(settings.zone):%Y-%m-%d %H:%M}" if moment else "not yet"


def _moment(given: str | datetime) -> datetime:
    return given if isinstance(given, datetime) else datetime.fromisoformat(given)
