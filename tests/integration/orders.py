"""A control database, a CRM over HTTP, and the orders sync between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from include.connections import Connection, parse
from include.demo.crm import DemoCrm
from include.demo.postgres import EmbeddedPostgres
from include.orders_sync import crm as connections
from include.orders_sync import engine
from include.orders_sync.feeds.base import Download, Feed
from include.orders_sync.pipelines import PROFILER, TD, UC, Pipeline, Store
from include.orders_sync.reports import Report
from include.orders_sync.request import read_profile, read_sync
from include.orders_sync.summary import Summary
from include.orders_sync.sync import SyncRun
from include.settings import Settings
from include.windows import Window
from tests.integration.conftest import drop_database, fresh_database

TODAY, START = date(2026, 1, 11), date(2025, 12, 1)
WHOLE = Window.inclusive(START, TODAY)
#: Quick: a refused page is asked for twice, a store is tried twice.
SETTINGS = Settings(retries=1, retry_delay=0, crm_lock_wait=5)


class Wrapped:
    """A real feed with something that happens before a report is fetched."""

    def __init__(self, feed: Feed, before: Callable[[Report, Store, Window], None]) -> None:
        self._feed, self._before = feed, before

    def fetch(self, report: Report, store: Store, window: Window) -> Download:
        self._before(report, store, window)
        return self._feed.fetch(report, store, window)

    def close(self) -> None:
        self._feed.close()


def _nothing(report: Report, store: Store, window: Window) -> None:
    pass


@dataclass
class Desk:
    """Everything of a test; ``before`` is called with each report, store and window before it is fetched."""

    server: EmbeddedPostgres
    control: Connection
    crm: DemoCrm
    before: Callable[[Report, Store, Window], None] = _nothing
    settings: Settings = SETTINGS
    runs: int = field(default=0, init=False)

    def store(self, code: str, group: str = "TD", start: date | None = START, **values: Any) -> None:
        row = {"store_code": code, "sync_group": group, "start_date": start, "cost_center": f"C{code}", **values}
        columns, places = ", ".join(row), ", ".join(["%s"] * len(row))
        self.ask(f"INSERT INTO public.store_master ({columns}) VALUES ({places})", *row.values())

    def run(self, run_id: str | None = None, today: date = TODAY, **options: Any) -> SyncRun:
        self.runs += 1
        return SyncRun(
            id=run_id or f"run {self.runs}",
            run_env="test",
            today=today,
            control=self.control,
            settings=self.settings,
            open_feed=self.open_feed,
            holder=run_id or f"run {self.runs}",
            **options,
        )

    def open_feed(self, store: Store) -> Feed:
        text = self.crm.connection(attempts=2, pause=0.01)
        connection = connections.find_crm(store.pipeline, store.code, lambda name: connections.parse_crm(name, text))
        return Wrapped(connections.feed_of(connection, self.settings.pipeline_zone), self.before)

    def profile(self, run_id: str | None = None, today: date = TODAY, **values: Any) -> Summary:
        request = read_profile(values, "test", 4)
        return engine.profile(self.run(run_id, today), PROFILER, request, values, lambda _: None)

    def sync(self, pipeline: Pipeline, *codes: str, run_id: str | None = None, **values: Any) -> Summary:
        request = read_sync({"store_codes": list(codes), **values}, pipeline, TODAY, "test")
        run = self.run(run_id, scope=request.scope)
        return engine.sync(run, pipeline, request, values, 4, lambda _: None)

    def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(
            self.server.dsn(self.control.database), autocommit=True, row_factory=dict_row
        ) as connection:
            cursor = connection.execute(query, values or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def log(self, store: str = "A1") -> list[dict[str, Any]]:
        return self.ask("SELECT * FROM public.orders_sync_log WHERE store_code = %s ORDER BY id", store)

    def windows(self, store: str = "A1") -> list[tuple[str, str, str]]:
        """Return first day, last day and status of the rows of the log."""
        return [(str(row["from_date"]), str(row["to_date"]), row["status"]) for row in self.log(store)]

    def contents(self) -> list[list[dict[str, Any]]]:
        """Return all rows of the final tables, with everything a rerun must not touch."""
        return [self.ask(f"SELECT *, xmin FROM public.{table} ORDER BY id") for table in ("orders", "sales")]

    def assert_complete(self, store: str = "A1", group: str = "TD", window: Window = WHOLE) -> None:
        """Make sure that the tables hold what the reports have now, once."""
        pipeline = {"TD": TD, "UC": UC}[group]
        found = self.ask("SELECT order_number FROM public.orders WHERE store_code = %s", store)
        name = "order_no" if group == "TD" else "booking_id"
        expected = [row[name] for row in self.crm.rows(pipeline.orders, store, window)]
        assert sorted(row["order_number"] for row in found) == sorted(expected)
        if pipeline.sales:
            paid = self.ask("SELECT order_number FROM public.sales WHERE store_code = %s", store)
            payments = [row["order_number"] for row in self.crm.rows(pipeline.sales, store, window)]
            assert sorted(row["order_number"] for row in paid) == sorted(payments)

    def environment(self, local_dir: Path) -> dict[str, str]:
        """Return the variables under which the command line works on these."""
        crm = json.loads(self.crm.connection(attempts=2, pause=0.01))
        return {
            "AIRFLOW_CONN_CONTROL": self.server.uri(self.control.database),
            "AIRFLOW_CONN_CRM_TD": json.dumps(crm),
            "AIRFLOW_CONN_CRM_UC": json.dumps(crm),
            "RETAIL_SYNC_LOCAL_DIR": str(local_dir),
            "RETAIL_SYNC_RETRIES": "1",
            "RETAIL_SYNC_RETRY_DELAY": "0",
            "RETAIL_SYNC_RUN_ENV": "test",
        }


def days_before(count: int, today: date = TODAY) -> date:
    return today - timedelta(days=count)


@contextmanager
def open_desk(server: EmbeddedPostgres, templates: dict[str, str], since: date) -> Iterator[Desk]:
    """Give a control database of its own, and a CRM with orders since a day."""
    name = fresh_database(server, "orders", templates["control"])
    with DemoCrm(7, since=since) as crm:
        yield Desk(server, control_of(server, name), crm)
    drop_database(server, name)


def control_of(server: EmbeddedPostgres, database: str) -> Connection:
    return parse("control", server.uri(database))
