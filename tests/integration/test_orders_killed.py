"""Killed by SIGKILL, a run leaves no half window; the next one closes its row and fills exactly that window."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

from include.demo.postgres import EmbeddedPostgres
from include.locks import LockSpace, Name, hold
from include.orders_sync.pipelines import TD
from include.settings import PROJECT_ROOT, Settings
from include.windows import Window
from tests.integration.commands import Cli
from tests.integration.orders import Desk, days_before, open_desk


@pytest.fixture
def today() -> date:
    return datetime.now(Settings().pipeline_zone).date()


@pytest.fixture
def desk(server: EmbeddedPostgres, templates: dict[str, str], today: date) -> Iterator[Desk]:
    with open_desk(server, templates, days_before(60, today)) as desk:
        yield desk


def test_a_killed_run_is_closed_and_its_window_filled_by_the_next(desk: Desk, tmp_path: Path, today: date) -> None:
    start = days_before(39, today)
    desk.store("A1", start=start)
    desk.crm.faults.delay = 0.2
    process = subprocess.Popen(
        [sys.executable, "-m", "include", "orders-sync-profiler", "--window-days", "10"],
        cwd=PROJECT_ROOT,
        env={**os.environ, **desk.environment(tmp_path)},
    )
    deadline = time.monotonic() + 60
    while not any(row["status"] == "running" and row["orders_pulled_at"] for row in desk.log()[1:]):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = desk.log()[-1]
    done = [row for row in desk.log() if row["status"] == "success"]
    desk.crm.faults.delay = 0

    summary = desk.profile(today=today, window_days=10)

    assert summary.status == "success"
    closed = next(row for row in desk.log() if row["id"] == killed["id"])
    assert (closed["status"], closed["error_message"]) == (
        "failed",
        f"its process died; closed by run {summary.run_id}",
    )
    refilled = [(row["from_date"], row["to_date"]) for row in desk.log() if row["run_id"] == summary.run_id]
    assert refilled[0] == (done[-1]["to_date"], days_before(-9, done[-1]["to_date"]))
    assert refilled[0][0] <= killed["from_date"] <= refilled[0][1]
    assert refilled[-1][1] == today
    desk.assert_complete(window=Window.inclusive(start, today))
    (row,) = desk.ask("SELECT * FROM public.pipeline_run_summaries WHERE run_id = %s", killed["run_id"])
    assert (row["overall_status"], row["finished_at"] is None) == ("failed", False)
    assert "it never ended" in row["summary_text"]


def test_the_command_exits_1_if_not_all_was_done_and_2_if_nothing_was_begun(
    desk: Desk, tmp_path: Path, today: date
) -> None:
    desk.store("A1", start=days_before(5, today))

    environment = {**desk.environment(tmp_path), "RETAIL_SYNC_CRM_LOCK_WAIT": "0"}
    command = Cli(environment)
    refused = command("td-orders-sync", "--store-code", "A1", "--from-date", "2026-02-02", "--to-date", "2026-02-01")
    assert refused.returncode == 2
    assert "from_date: 2026-02-02 is after to_date 2026-02-01" in refused.stderr
    assert desk.ask("SELECT 1 FROM public.pipeline_run_summaries") == []
    planned = command("plan-orders", "--store-code", "A1")
    assert planned.returncode == 0
    assert "backfill" in planned.stdout
    assert desk.log() == []
    done = command("td-orders-sync", "--store-code", "A1", "--from-date", str(days_before(3, today)), "--orders-only")
    assert (done.returncode, "1 success" in done.stdout) == (0, True)
    with hold(desk.control, [Name(LockSpace.STORE, "A1")], holder="somebody", wait=0):
        locked = command("td-orders-sync", "--store-code", "A1")
    assert (locked.returncode, "failed: A1 is locked by somebody" in locked.stdout) == (1, True)
    environment["AIRFLOW_CONN_CRM_TD"] = desk.crm.connection(attempts=2, pause=0.01, paths={"td_sales": "/nowhere"})
    partial = command("orders-sync-profiler")
    assert (partial.returncode, "1 partial, 0 failed" in partial.stdout) == (1, True)
    desk.crm.faults.window = ("2025-01-01", "2025-01-31")
    failed = command("orders-sync-profiler")
    assert failed.returncode == 1
    assert "1 failed" in failed.stdout
    assert TD.code in failed.stdout
