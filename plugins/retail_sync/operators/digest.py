"""Tell what the last day was, in one message."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from include import catalog
from include.cdc import loader
from include.errors import RetailSyncError
from include.settings import Settings
from retail_sync.hooks.engine import EngineHook
from retail_sync.notify.links import links_of
from retail_sync.notify.send import is_wanted, send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from include.overview.digest import Day


class DigestOperator(BaseOperator):
    """
    Send the digest of the run's data interval, or of the day before a run by hand; nothing where nothing happened.

    A database that cannot be read is named in it. Fails, to be tried again, if the message could not be sent.
    """

    def execute(self, context: Context) -> str | None:
        """Return the title of what was sent, None for nothing."""
        from include.overview.digest import parts_of, title_of
        from include.overview.message import Message

        settings, (since, until) = Settings(), _span(context)
        day = day_of(settings, since, until)
        if not (parts := parts_of(day)):
            self.log.info("nothing happened")
            return None
        name = f"{since.astimezone(settings.zone):%Y-%m-%d %H:%M} to {until.astimezone(settings.zone):%Y-%m-%d %H:%M}"
        message = Message(title_of(day, name), parts, links_of())
        self.log.info("%s", message.text)
        if is_wanted(settings) and not send(message, settings):
            raise AirflowException("the digest could not be sent, see above")
        return message.subject


def day_of(settings: Settings, since: datetime, until: datetime) -> Day:
    """Return what happened in a span of time, and how things are now."""
    from include.overview.digest import Day

    known: dict[str, Any] = {}
    unknown: list[str] = []
    for gather in (_of_warehouse, _of_control):
        with _noted(unknown):
            known |= gather(settings, since, until)
    return Day(**known, unknown=unknown)


def _of_warehouse(settings: Settings, since: datetime, until: datetime) -> dict[str, Any]:
    from include.overview.coverage import coverage
    from include.overview.digest import runs_between
    from include.overview.nights import nights
    from include.overview.outcome import outcome_of
    from include.overview.replications import replications

    engine = EngineHook(settings.warehouse_connection, "retail-sync digest").get_warehouse(settings).metadata()
    today = until.astimezone(settings.zone).date()
    runs, ids = runs_between(engine, since, until)
    night = nights(engine, today, 1)
    is_of_the_day = any(found["run"] in ids for found in night["nights"])
    return {
        "runs": runs,
        "outcome": outcome_of(engine, ids),
        "late": {found["days_late"]: found["rows"] for found in night["late"]} if is_of_the_day else {},
        "cells": coverage(engine, catalog.load(), today, settings.zone)["counts"],
        "replications": replications(engine, loader.load(settings.cdc_file))["replications"],
    }


def _of_control(settings: Settings, since: datetime, until: datetime) -> dict[str, Any]:
    from include.engines.postgres.connect import connect
    from include.engines.postgres.errors import translated
    from include.overview.digest import orders_between
    from include.overview.orders import orders

    connection = EngineHook(settings.control_connection).get_conn()
    with translated("the control database"), connect(connection, "retail-sync digest", autocommit=True) as session:
        today = until.astimezone(settings.pipeline_zone).date()
        return {"orders": orders_between(session, since, until), "weeks": orders(session, today)["counts"]}


@contextmanager
def _noted(unknown: list[str]) -> Iterator[None]:
    """Errors of a driver may quote a row: only the kind of theirs is noted."""
    try:
        yield
    except RetailSyncError as error:
        unknown.append(str(error))
    except Exception as error:  # noqa: BLE001 (the rest of the digest is told all the same)
        unknown.append(type(error).__name__)


def _span(context: Context) -> tuple[datetime, datetime]:
    run = context["dag_run"]
    start, end = run.data_interval_start, run.data_interval_end
    if start is not None and end is not None and start < end:
        return start, end
    return run.run_after - timedelta(days=1), run.run_after
