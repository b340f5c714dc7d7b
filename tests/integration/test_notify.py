"""What is told of a run, from real records of the warehouse, over a real mail server and a real webhook."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseNotifier, Connection
from airflow.sdk.exceptions import AirflowFailException

from include import catalog
from include.errors import CountMismatch
from include.metadata import data_quality_metrics, now, upsert
from include.overview.message import LONGEST_LINE, MOST_LINES, Message, Part
from include.replication.progress import Phase, ProgressRow, Status
from include.windows import Span, Window
from retail_sync.notify import RunNotifier
from retail_sync.notify.health import HealthNotifier
from retail_sync.notify.send import webhook_url
from retail_sync.operators.base import HEALTH_KEY, MESSAGE_KEY
from tests.integration.conftest import Stage
from tests.integration.mailbox import Chat, Mailbox, chat, mailbox

SALES = catalog.load()["APP_4_SALES"]
DAY = Window.parse("2025-10-30/2025-10-31")
SECRET = "T0000/B0000/hush"
RUN = "scheduled__2025-10-31T18:00:00+00:00"


@dataclass
class Desk:
    """The settings and servers by which messages go out, and the warehouse they speak of."""

    stage: Stage
    mailbox: Mailbox
    chat: Chat
    left: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)

    def record(self, phase: Phase, status: Status = Status.VERIFIED, span: Span = DAY, **values: Any) -> None:
        row = ProgressRow(self.stage.warehouse.metadata(), RUN, SALES, span, phase)
        row.start(1)
        row.finish(status, values)

    def end(self, dag_id: str, error: BaseException | None = None, notifier: type[BaseNotifier] = RunNotifier) -> None:
        instance = SimpleNamespace(dag_id=dag_id, task_id="verdict", xcom_pull=lambda task_ids, key: self.left.get(key))
        began = datetime.now(UTC) - timedelta(minutes=3)
        context: Any = {"ti": instance, "run_id": RUN, "dag_run": SimpleNamespace(start_date=began)}
        context["params"] = self.params
        if error:
            context["exception"] = error
        notifier()(context)


@pytest.fixture
def servers() -> Iterator[tuple[Mailbox, Chat]]:
    with mailbox() as box, chat() as room:
        yield box, room


@pytest.fixture
def desk(stage: Stage, servers: tuple[Mailbox, Chat], monkeypatch: pytest.MonkeyPatch) -> Desk:
    box, room = servers
    extra = {"from_email": "sync@example.com", "disable_ssl": True, "disable_tls": True}
    mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": box.port, "extra": extra}
    hook = {"conn_type": "http", "schema": "http", "host": "127.0.0.1/hooks", "port": room.port, "password": SECRET}
    for name, value in {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(mail),
        "AIRFLOW_CONN_CHAT": json.dumps(hook),
        "AIRFLOW_CONN_WAREHOUSE": stage.server.uri(stage.warehouse_connection.database),
        "AIRFLOW__API__BASE_URL": "https://airflow.example.com/retail/",
        "RETAIL_SYNC_NOTIFY": "ann@example.com, bo@example.com",
        "RETAIL_SYNC_NOTIFY_WEBHOOK": "chat",
    }.items():
        monkeypatch.setenv(name, value)
    return Desk(stage, box, room)


def test_a_night_that_repaired_and_failed_is_one_message_each_way(desk: Desk) -> None:
    desk.record(Phase.LOAD, rows_read=400)
    desk.record(Phase.FIX, rows_inserted=5, rows_updated=15, rows_deleted=0)
    desk.record(Phase.SWEEP, Status.FAILED, error="APP_4_SALES <changes>: 5 & 6 differ")
    text = "APP_4_SALES 2025-10-30: APP_4_SALES <changes>: 5 & 6 differ; failed tasks: sweep_0"

    desk.end("nightly_replica", AirflowFailException(text))

    assert desk.mailbox.subjects() == ["nightly_replica: failed, 20 rows repaired"]
    (plain,), (html,), (short,) = desk.mailbox.bodies("plain"), desk.mailbox.bodies("html"), desk.chat.texts
    assert "  APP_4_SALES 2025-10-30: APP_4_SALES <changes>: 5 & 6 differ" in plain
    assert plain.count("differ") == 1
    assert "  failed tasks: sweep_0" in plain
    assert "  APP_4_SALES: 5 inserted, 15 updated" in plain
    assert "  APP_4_SALES: 400 rows" in plain
    assert "  0:03:0" in plain
    assert "APP_4_SALES &lt;changes&gt;: 5 &amp; 6 differ" in html
    assert "<changes>" not in html
    assert "&lt;changes&gt;: 5 &amp; 6 differ" in short
    page = "https://airflow.example.com/retail/plugin/replication"
    run = "https://airflow.example.com/retail/dags/nightly_replica/runs/scheduled__2025-10-31T18%3A00%3A00%2B00%3A00"
    for body in (plain, short):
        assert f"Replication: {page}\n" in body
        assert f"Run: {run}" in body
    assert f'<a href="{page}">Replication</a>' in html
    assert f'<a href="{run}">Run</a>' in html
    assert desk.mailbox.messages[0]["To"] == "ann@example.com, bo@example.com"
    assert desk.chat.paths == [f"/hooks/{SECRET}"]


def test_nothing_is_sent_when_nothing_happened(desk: Desk) -> None:
    desk.end("replica_audit")
    desk.end("warehouse_maintenance")
    desk.record(Phase.LOAD, rows_read=0)
    desk.end("sales_replication")
    desk.record(Phase.LOAD, rows_read=400)
    desk.record(Phase.FIX, rows_inserted=0, rows_updated=0, rows_deleted=0)
    desk.end("nightly_replica")

    assert desk.mailbox.messages == []
    assert desk.chat.texts == []


def test_months_that_were_loaded_are_told(desk: Desk) -> None:
    desk.record(Phase.LOAD, rows_read=1400)

    desk.end("sales_replication")

    assert desk.mailbox.subjects() == ["sales_replication: success"]
    assert "APP_4_SALES: 1,400 rows" in desk.chat.texts[0]


def test_a_metric_over_its_threshold_is_told_once(desk: Desk) -> None:
    values = {"value": 0.25, "rows_counted": 4, "threshold": 0.0, "breach": "fail", "measured_at": now()}
    with desk.stage.warehouse.metadata().connect() as connection:
        for metric, breach in (("orphans", "fail"), ("null_keys", None)):
            key = {"run_id": RUN, "table_name": SALES.name, "metric": metric}
            upsert(connection, data_quality_metrics, key, {**values, "breach": breach})

    desk.end("warehouse_maintenance", AirflowFailException("APP_4_SALES orphans is 0.25, at most 0 is allowed"))

    (plain,) = desk.mailbox.bodies("plain")
    assert plain.count("orphans") == 1
    assert "  fail: APP_4_SALES orphans is 0.25, at most 0 is allowed" in plain
    assert "null_keys" not in plain


def test_an_error_of_a_driver_is_told_by_its_kind_alone(desk: Desk) -> None:
    desk.end("sales_replication", ValueError("row (17, 'Ann Smith')"))

    (plain,) = desk.mailbox.bodies("plain")
    assert "ValueError, see the log" in plain
    assert "Ann Smith" not in plain + desk.mailbox.bodies("html")[0] + desk.chat.texts[0]


def test_a_warehouse_that_is_down_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://nobody:hush@127.0.0.1:9/nowhere")

    desk.end("nightly_replica", CountMismatch("APP_4_SALES: no answer"))

    (plain,) = desk.mailbox.bodies("plain")
    assert "what the run has done is not known" in plain
    assert "APP_4_SALES: no answer" in plain
    assert "hush" not in plain


def test_what_an_orders_sync_has_left_is_told_unless_nothing_changed(desk: Desk) -> None:
    told = {"run_id": "orders-1", "status": "failed", "text": "td: 1 failed\nA1 <down>", "changed": True}
    desk.left = {MESSAGE_KEY: told}
    desk.end("orders_sync_profiler", AirflowFailException("td: 1 failed"))
    desk.left = {MESSAGE_KEY: {**told, "changed": False}}
    desk.end("orders_sync_profiler")

    assert desk.mailbox.subjects() == ["orders_sync_profiler: failed"]
    assert "A1 &lt;down&gt;" in desk.mailbox.bodies("html")[0]


def test_a_webhook_is_tried_three_times_and_its_url_is_not_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    desk.record(Phase.LOAD, rows_read=1400)
    desk.chat.answers = [500, 429]
    desk.end("sales_replication")
    assert len(desk.chat.texts) == 1
    desk.chat.answers = [503, 503, 503]
    desk.end("sales_replication")
    desk.chat.answers = [404]
    desk.end("sales_replication")

    assert len(desk.chat.paths) == 3 + 3 + 1
    assert len(desk.chat.texts) == 1
    assert "'chat': nothing was sent: its server answered 503" in caplog.text
    assert "'chat': nothing was sent: its server answered 404" in caplog.text
    assert "hush" not in caplog.text


def test_one_way_that_fails_does_not_keep_the_other_from_being_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": 9}))
    desk.record(Phase.LOAD, rows_read=1400)

    desk.end("sales_replication")

    assert len(desk.chat.texts) == 1


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"conn_type": "slackwebhook", "password": "T/B/x"}, "https://hooks.slack.com/services/T/B/x"),
        ({"conn_type": "slackwebhook", "password": "https://x.example.com/T"}, "https://x.example.com/T"),
        ({"conn_type": "http", "host": "x.example.com/hooks/", "password": "k"}, "https://x.example.com/hooks/k"),
        ({"conn_type": "http", "host": "x.example.com", "schema": "http", "port": 81}, "http://x.example.com:81"),
        ({"conn_type": "https", "host": "http://x.example.com/a/b", "port": 81}, "http://x.example.com:81/a/b"),
    ],
)
def test_the_url_of_a_webhook_is_that_of_its_connection(parts: dict[str, Any], url: str) -> None:
    assert webhook_url(Connection(conn_id="chat", **parts)) == url


def test_a_long_message_is_cut_and_says_so() -> None:
    message = Message(
        "many\nlines", [Part("Failed", [f"{number} {'x' * 1000}" for number in range(50)]), Part("No", [])]
    )

    assert message.subject == "many lines"
    assert message.text.count("\n  ") == MOST_LINES + 1
    assert message.text.endswith("  and 10 more\n")
    assert "No" not in message.text
    assert message.short.splitlines()[-1] == "• and 45 more"
    assert max(map(len, message.text.splitlines())) == LONGEST_LINE + 2


class Variables:
    """Airflow's variables, as they are seen by a task."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: dict[str, Any] = {}
        monkeypatch.setattr("retail_sync.notify.health.Variable", self)

    def get(self, key: str, default: Any, deserialize_json: bool) -> Any:
        return self.kept.get(key, default)

    def set(self, key: str, value: Any, serialize_json: bool) -> None:
        self.kept[key] = value


def test_a_replication_is_told_when_it_becomes_unhealthy_and_when_it_is_healthy_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Variables(monkeypatch)
    well = {"status": "healthy", "reasons": []}

    def minute(status: str, *reasons: str) -> list[str]:
        desk.left = {HEALTH_KEY: {"shop": {"status": status, "reasons": list(reasons)}, "tills": well}}
        error = AirflowFailException("shop: the slot is lost") if status == "unhealthy" else None
        desk.mailbox.messages.clear()
        desk.end("cdc_replication", error, HealthNotifier)
        return desk.mailbox.subjects()

    assert minute("healthy") == []
    assert minute("unhealthy", "the slot is lost") == ["cdc_replication: shop is unhealthy"]
    assert "the slot is lost" in desk.mailbox.bodies("plain")[0]
    assert minute("unhealthy", "the slot is lost") == []
    assert minute("degraded", "3,000 s behind") == []
    assert minute("unhealthy", "the slot is lost") == []
    assert minute("healthy") == ["cdc_replication: shop is healthy again"]
    assert minute("healthy") == []


def test_a_run_that_fails_each_minute_is_told_once_and_again_only_when_nobody_heard(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Variables(monkeypatch)
    monkeypatch.setenv("RETAIL_SYNC_NOTIFY", "")
    error = AirflowFailException("failed tasks: plan")
    desk.chat.answers = [404]
    for _ in range(3):
        desk.end("cdc_replication", error, HealthNotifier)
    desk.end("cdc_replication", None, HealthNotifier)

    titles = [text.splitlines()[0] for text in desk.chat.texts]
    assert titles == ["*cdc_replication: the run is unhealthy*", "*cdc_replication: the run is healthy again*"]
