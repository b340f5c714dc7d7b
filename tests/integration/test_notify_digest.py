"""The digest of a day, from real records of the warehouse and the control database, and the alert of a late run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from include import catalog
from include.demo.postgres import EmbeddedPostgres
from include.metadata import now
from include.overview.digest import Day, orders_between, parts_of, title_of
from include.overview.outcome import Outcome
from include.replication.history import RunRecord, RunType
from include.replication.progress import Phase, ProgressRow, Status
from include.windows import Window
from retail_sync.notify import late
from retail_sync.operators import digest
from tests.integration.conftest import Stage
from tests.integration.mailbox import Chat, chat
from tests.integration.orders import START, open_desk

SALES = catalog.load()["APP_4_SALES"]
DAY = Window.parse("2025-10-30/2025-10-31")


@pytest.fixture
def room(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with chat() as room:
        webhook = f'{{"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": {room.port}}}'
        declared = tmp_path / "replications.yaml"
        declared.write_text("replications: {}\n", encoding="utf-8")
        for name, value in {
            **stage.environment(tmp_path),
            "AIRFLOW_CONN_CHAT": webhook,
            "RETAIL_SYNC_NOTIFY_WEBHOOK": "chat",
            "RETAIL_SYNC_CDC_FILE": str(declared),
            "AIRFLOW__API__BASE_URL": "https://airflow.example.com",
        }.items():
            monkeypatch.setenv(name, value)
        yield room


def send() -> str | None:
    run = SimpleNamespace(data_interval_start=None, data_interval_end=None, run_after=now() + timedelta(minutes=1))
    context: Any = {"dag_run": run}
    return digest.DigestOperator(task_id="digest").execute(context)


def night(stage: Stage, run_id: str) -> None:
    engine = stage.warehouse.metadata()
    for phase, status, values in (
        (Phase.LOAD, Status.VERIFIED, {"rows_read": 400}),
        (Phase.FIX, Status.VERIFIED, {"rows_inserted": 5, "rows_updated": 15, "rows_deleted": 0}),
        (Phase.SWEEP, Status.FAILED, {"error": "APP_4_SALES: 5 < 6"}),
    ):
        row = ProgressRow(engine, run_id, SALES, DAY, phase)
        row.start(1)
        row.finish(status, values)
    for type_, errors in ((RunType.T0, []), (RunType.T1, ["APP_4_SALES 2025-10-30: APP_4_SALES: 5 < 6"])):
        record = RunRecord(engine, run_id, type_)
        record.begin(DAY, [SALES.name])
        record.end(errors)


def test_a_day_without_anything_is_not_told(room: Chat) -> None:
    assert send() is None
    assert room.texts == []


def test_what_was_loaded_repaired_and_failed_is_told_once(stage: Stage, room: Chat) -> None:
    night(stage, "scheduled__1")

    title = send()

    assert title is not None
    assert title.endswith(": 1 run failed, 20 rows repaired, 400 rows loaded")
    (text,) = room.texts
    assert "T1 2025-10-30: APP_4_SALES 2025-10-30: APP_4_SALES: 5 &lt; 6" in text
    assert "APP_4_SALES: 5 inserted, 15 updated" in text
    assert "APP_4_SALES: 400 rows" in text
    assert "Replication: https://airflow.example.com/plugin/replication" in text


def test_a_database_that_is_down_is_told_and_the_rest_with_it(
    stage: Stage, room: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONTROL", "postgres://nobody:hush@127.0.0.1:9/nowhere")
    night(stage, "scheduled__1")

    send()

    (text,) = room.texts
    assert "Not known" in text
    assert "APP_4_SALES: 400 rows" in text
    assert "hush" not in text


def test_what_is_missing_or_unwell_now_is_told_without_any_run() -> None:
    shop = {"name": "shop", "status": "unhealthy", "reasons": ["the slot is lost"]}
    well = {"name": "tills", "status": "healthy", "reasons": []}
    day = Day(cells={"v": 9, "m": 2, "f": 1}, weeks={"s": 4, "h": 1}, replications=[shop, well], late={1: 3, 2: 1})

    told = {part.heading: list(part.lines) for part in parts_of(day)}

    assert told == {
        "Came late": ["3 rows, 1 day late", "1 row, 2 days late"],
        "Now": [
            "1 month of tables failed",
            "2 months of tables missing",
            "1 week of stores with holes",
            "shop is unhealthy: the slot is lost",
        ],
    }
    assert title_of(Day(outcome=Outcome(loaded={"A": 1})), "monday") == "Replication, monday: 1 row loaded"


def test_what_an_orders_sync_changed_is_told_and_one_that_changed_nothing_is_not(
    server: EmbeddedPostgres, templates: dict[str, str]
) -> None:
    began = datetime.now(UTC)
    with open_desk(server, templates, START) as desk:
        desk.store("A1")
        desk.profile()
        between = datetime.now(UTC)
        desk.profile()
        with psycopg.connect(server.dsn(desk.control.database), autocommit=True) as control:
            (told,) = orders_between(control, began, between)
            (row,) = desk.ask("SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM sales) AS rows")

            assert told == f"td_orders_sync: {row['rows']:,} rows new, 0 changed, 1 store"
            assert orders_between(control, between, datetime.now(UTC)) == []


def late_run(**values: Any) -> dict[str, Any]:
    run = {
        "dag_id": "nightly_replica",
        "dag_run_id": "scheduled__1",
        "run_type": "scheduled",
        "state": "running",
        "start_date": "2025-10-31T18:00:05Z",
        **values,
    }
    return {"dag_run": run, "deadline": {"id": "1", "deadline_time": datetime(2025, 10, 31, 21, tzinfo=UTC)}}


def test_a_late_run_is_told_with_what_it_has_done_so_far(stage: Stage, room: Chat) -> None:
    night(stage, "scheduled__1")

    late.tell_late(late_run())

    (text,) = room.texts
    assert text.startswith("*nightly_replica: not finished by 05:00 of 2025-11-01*")
    assert "running, begun 2025-11-01 02:00" in text
    assert "APP_4_SALES: 5 inserted, 15 updated" in text
    assert "Run: https://airflow.example.com/dags/nightly_replica/runs/scheduled__1" in text


def test_a_run_by_hand_is_never_late(room: Chat) -> None:
    late.tell_late(late_run(run_type="manual"))
    late.tell_late(late_run(run_type="backfill"))

    assert room.texts == []
