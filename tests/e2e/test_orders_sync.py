"""The orders sync under the real scheduler, with a CRM over HTTP and a mail server on loopback."""

from __future__ import annotations

import email
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from itertools import pairwise
from typing import Any

import psutil
import pytest
from aiosmtpd.controller import Controller
from psycopg.rows import dict_row

from include.demo.crm import DemoCrm
from include.demo.local_crm import PORT_VARIABLE
from include.demo.postgres import CONTROL
from include.orders_sync.pipelines import BY_GROUP, TD, SyncGroup
from include.orders_sync.request import run_id_of
from include.settings import Settings
from include.windows import Window
from tests.e2e.conftest import MAIL_PORT_VARIABLE, Site

PROFILER, TD_SYNC = "orders_sync_profiler", "td_orders_sync"
STORES = {"A1": SyncGroup.TD, "A2": SyncGroup.TD, "B1": SyncGroup.UC}
DAYS, WINDOW_DAYS = 40, 15


class Mailbox:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        self.messages.append(email.message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        return "250 OK"

    def text(self) -> str:
        """Return the text of all messages."""
        parts = (part for message in self.messages for part in message.walk() if part.get_content_type() == "text/html")
        return "".join(part.get_content() for part in parts)  # type: ignore[attr-defined]

    def subjects(self) -> list[str]:
        return [str(message["Subject"]) for message in self.messages]


class Desk:
    """The site with a CRM and a mailbox."""

    def __init__(self, site: Site, crm: DemoCrm, mailbox: Mailbox) -> None:
        self.site, self.crm, self.mailbox = site, crm, mailbox
        self.today = datetime.now(Settings().pipeline_zone).date()
        self.since = self.today - timedelta(days=DAYS - 1)

    def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with self.site.connect(CONTROL) as connection:
            cursor = connection.cursor(row_factory=dict_row).execute(query, values or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def log(self, store: str) -> list[dict[str, Any]]:
        return self.ask("SELECT * FROM public.orders_sync_log WHERE store_code = %s ORDER BY id", store)

    def summary(self, dag_id: str, run_id: str) -> dict[str, Any]:
        own = run_id_of(dag_id, run_id)
        (row,) = self.ask("SELECT * FROM public.pipeline_run_summaries WHERE run_id = %s", own)
        return row

    def profile(self, **conf: Any) -> str:
        return self.site.trigger({"window_days": WINDOW_DAYS, **conf}, PROFILER)

    def instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        answer = self.site.airflow.request("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100")
        return list(answer["task_instances"])

    def assert_complete(self, store: str) -> None:
        pipeline, window = BY_GROUP[STORES[store]], Window.inclusive(self.since, self.today)
        for report, table in ((pipeline.orders, "orders"), (pipeline.sales, "sales")):
            if report is not None:
                (row,) = self.ask(f"SELECT count(*) FROM public.{table} WHERE store_code = %s", store)
                assert row["count"] == len(self.crm.rows(report, store, window)) > 0


@pytest.fixture(scope="module")
def servers(site: Site) -> Iterator[tuple[DemoCrm, Mailbox]]:
    """The CRM and the mail server; the profiler's run that was missed has had nothing to do."""
    for dag_id in (PROFILER, TD_SYNC):
        site.airflow.pause(dag_id, False)
    path = f"dags/{PROFILER}/dagRuns?run_type=scheduled"
    _await(lambda: site.airflow.request("GET", path)["dag_runs"], "the scheduled run")
    site.finish(site.airflow.request("GET", path)["dag_runs"][0]["dag_run_id"], dag_id=PROFILER)
    environment = site.airflow.environment()
    mailbox = Mailbox()
    since = datetime.now(Settings().pipeline_zone).date() - timedelta(days=DAYS + 10)
    mail = Controller(mailbox, hostname="127.0.0.1", port=int(environment[MAIL_PORT_VARIABLE]))
    mail.start()
    try:
        with DemoCrm(7, since=since, port=int(environment[PORT_VARIABLE])) as crm:
            yield crm, mailbox
    finally:
        mail.stop()
        for dag_id in (PROFILER, TD_SYNC):
            site.airflow.pause(dag_id, True)


@pytest.fixture
def desk(site: Site, servers: tuple[DemoCrm, Mailbox]) -> Iterator[Desk]:
    """Three stores without a log."""
    desk = Desk(site, *servers)
    desk.mailbox.messages.clear()
    _forget(desk)
    for code, group in STORES.items():
        desk.ask(
            "INSERT INTO public.store_master (store_code, sync_group, start_date, cost_center) VALUES (%s, %s, %s, %s)",
            *(code, group.value, desk.since, f"C{code}"),
        )
    yield desk
    desk.crm.faults.delay = 0
    _forget(desk)


def _forget(desk: Desk) -> None:
    desk.ask(
        "TRUNCATE public.orders, public.sales, public.orders_sync_log, public.pipeline_run_summaries,"
        " public.store_master, public.dropped_rows"
    )


def test_the_profiler_fills_every_store_by_itself_and_tells_once(desk: Desk) -> None:
    first = desk.profile()
    assert desk.site.finish(first, dag_id=PROFILER) == "success"
    names = {task["rendered_map_index"] for task in desk.instances(PROFILER, first) if task["map_index"] >= 0}
    assert names == {"TD · A1 · 3 windows", "TD · A2 · 3 windows", "UC · B1 · 3 windows"}
    for store in STORES:
        desk.assert_complete(store)
        rows = desk.log(store)
        assert [row["status"] for row in rows] == ["success"] * 3
        assert all(row["updated_at"] <= later["created_at"] for row, later in pairwise(rows))
    summary = desk.summary(PROFILER, first)
    assert (summary["overall_status"], len(summary["metrics"]["windows"])) == ("success", 9)

    second = desk.profile()
    assert desk.site.finish(second, dag_id=PROFILER) == "success"
    windows = desk.summary(PROFILER, second)["metrics"]["windows"]
    assert [(window["from_date"], window["reason"]) for window in windows] == [(str(desk.today), "overlap")] * 3
    assert desk.mailbox.subjects() == ["orders_sync_profiler: success"]
    assert "td_orders_sync: 6 success" in desk.mailbox.text()


def test_a_killed_worker_leaves_its_store_to_the_next_try_which_goes_on(desk: Desk) -> None:
    desk.crm.faults.delay = 0.3
    run_id = desk.profile(store_code="A1")
    _await(lambda: len([row for row in desk.log("A1") if row["status"] == "success"]) == 1, "the first window")
    _await(lambda: desk.log("A1")[-1]["status"] == "running", "the second window")
    _kill_holder(desk, "A1")
    desk.crm.faults.delay = 0
    assert desk.site.finish(run_id, dag_id=PROFILER) == "success"
    rows = desk.log("A1")
    assert [(row["status"], row["attempt_no"], row["error_message"]) for row in rows] == [
        ("success", 1, None),
        ("success", 2, None),
        ("success", 1, None),
    ]
    desk.assert_complete("A1")


def test_a_pipeline_by_hand_fails_where_a_window_fails_and_says_which(desk: Desk) -> None:
    desk.crm.faults.window = ("2025-01-01", "2025-01-31")
    conf = {"store_codes": ["A1"], "from_date": str(desk.since), "to_date": str(desk.today)}
    failed = desk.site.trigger(conf, TD_SYNC)
    assert desk.site.finish(failed, dag_id=TD_SYNC) == "failed"
    row = desk.summary(TD_SYNC, failed)
    assert row["overall_status"] == "failed"
    assert f"td_orders_sync A1 {desk.since}..{desk.today}: failed" in row["summary_text"]
    desk.crm.faults.window = None
    orders_only = desk.site.trigger({**conf, "orders_only": True}, TD_SYNC)
    assert desk.site.finish(orders_only, dag_id=TD_SYNC) == "success"
    (_, log) = desk.log("A1")
    assert (log["status"], log["sales_pulled_at"], log["orders_downloaded"]) == (
        "success",
        None,
        len(desk.crm.rows(TD.orders, "A1", Window.inclusive(desk.since, desk.today))),
    )
    refused = desk.site.trigger({**conf, "to_date": str(desk.today + timedelta(days=1))}, TD_SYNC)
    assert desk.site.finish(refused, dag_id=TD_SYNC) == "failed"
    assert "has not come yet" in desk.site.log(refused, "plan", dag_id=TD_SYNC)
    assert len(desk.log("A1")) == 2


def _await(condition: Any, what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _kill_holder(desk: Desk, store: str) -> None:
    """Kill the process of our Airflow whose session holds the store's lock."""
    (session,) = desk.ask(
        "SELECT client_port FROM pg_stat_activity WHERE pid IN (SELECT pid FROM retail_sync.lock_holders"
        " WHERE lock_space = 'store') AND application_name LIKE %s",
        f"{PROFILER} td.store%",
    )
    (process,) = (
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.laddr.port == session["client_port"] and connection.pid
    )
    os.kill(process, signal.SIGKILL)
