"""A real Airflow on embedded servers, over a source with the three months before this one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include import catalog
from include.connections import parse
from include.demo.airflow import LocalAirflow
from include.demo.embedded import Embedded
from include.demo.generate import generate
from include.demo.postgres import AIRFLOW, SOURCE, WAREHOUSE
from include.engines.base import Level
from include.engines.postgres import PostgresSource, PostgresWarehouse
from include.metadata import metadata
from include.replication.history import history_of
from include.replication.progress import rows_of_run
from include.replication.verify import compare
from include.settings import PROJECT_ROOT, Settings
from include.windows import Window, spans

DAG_ID = "sales_replication"
MAIL_PORT_VARIABLE = "TEST_MAIL_PORT"
#: What is followed: nothing, until a test writes it.
CDC_FILE = "replications.yaml"
MONTHS = 3
SCALE = 0.0003


#: Tasks are forks of the scheduler: what that has loaded, each of the hundreds need not load. That a task has ended
#: is seen at once or at the next heartbeat, for which the setting takes whole seconds only.
LOCAL_SETTINGS = """
import include.engines.postgres
import include.metadata
import include.replication.replicate
from airflow.sdk.execution_time import supervisor

supervisor.MIN_HEARTBEAT_INTERVAL = 0.1
"""


@dataclass(frozen=True)
class Site:
    """The whole project at work."""

    embedded: Embedded
    months: list[Window]

    @property
    def airflow(self) -> LocalAirflow:
        return self.embedded.airflow

    @property
    def source(self) -> PostgresSource:
        return PostgresSource(parse("pos_source", self.embedded.postgres.uri(SOURCE)))

    @property
    def warehouse(self) -> PostgresWarehouse:
        return PostgresWarehouse(parse("warehouse", self.embedded.postgres.uri(WAREHOUSE)))

    def connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self.embedded.postgres.dsn(database), autocommit=True)

    def trigger(self, conf: dict[str, Any], dag_id: str = DAG_ID) -> str:
        return self.airflow.trigger(dag_id, conf)

    def finish(self, run_id: str, timeout: float = 300, dag_id: str = DAG_ID) -> str:
        """Wait until a run has ended, and return its state."""
        deadline = time.monotonic() + timeout
        while (state := self.airflow.run_state(dag_id, run_id)) in ("queued", "running"):
            assert time.monotonic() < deadline, f"{run_id} is still {state}"
            time.sleep(0.3)
        return state

    def progress(self, run_id: str) -> list[dict[str, Any]]:
        return rows_of_run(self.warehouse.metadata(), run_id)

    def history(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the rows of a run in the history, by type."""
        return {row["run_type"]: row for row in history_of(self.warehouse.metadata(), run_id)}

    def differing(self, tables: list[str], window: Window) -> list[tuple[str, str]]:
        """Return the (table, window) pairs that are not equal in source and warehouse."""
        pairs = [(catalog.load()[name], span) for name in tables for span in spans(window)]
        return [
            (table.name, span.name)
            for table, span in pairs
            if not compare(self.source, self.warehouse, table, span, Level.CHECKSUM).equal
        ]

    def task_states(self, run_id: str, dag_id: str = DAG_ID) -> dict[str, set[str]]:
        """Return the states of each task of a run, all those of a mapped one."""
        instances = self.airflow.request("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=500")
        states: dict[str, set[str]] = {}
        for instance in instances["task_instances"]:
            states.setdefault(instance["task_id"], set()).add(instance["state"])
        return states

    def log(self, run_id: str, task_id: str, try_number: int = 1, dag_id: str = DAG_ID) -> str:
        """Return the log of an unmapped task."""
        answer = self.airflow.request(
            "GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        )
        return str(answer["content"])

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an ``airflow`` command against this Airflow."""
        return subprocess.run(
            [Path(sys.executable).with_name("airflow"), *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def replicate(self, table: str, window: Window) -> subprocess.Popen[bytes]:
        """Begin to replicate a table from the command line."""
        dates = ("--start-date", str(window.start), "--end-date", str(window.last_day))
        return subprocess.Popen([sys.executable, "-m", "include", "replicate", table, *dates], env=self._environment())

    def check(self) -> subprocess.CompletedProcess[str]:
        """Run the command line's check."""
        return self.include("check")

    def include(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line."""
        return subprocess.run(
            [sys.executable, "-m", "include", *arguments],
            env={**self._environment(), "COLUMNS": "400"},
            capture_output=True,
            text=True,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.airflow.environment(), "PYTHONPATH": str(PROJECT_ROOT)}

    def empty_warehouse(self) -> None:
        """Make the warehouse as new, and forget every run but those of the schedule, which would come again."""
        with self.connect(WAREHOUSE) as connection:
            replicas = [f'"dbo"."{table.target_table}"' for table in catalog.load() if table.columns]
            own = [f'"{table.schema}"."{table.name}"' for table in metadata.sorted_tables]
            connection.execute(f"TRUNCATE {', '.join([*replicas, *own])}")
        with self.connect(AIRFLOW) as connection:
            connection.execute("DELETE FROM asset_dag_run_queue")
            connection.execute("DELETE FROM asset_event")
            connection.execute("DELETE FROM backfill_dag_run")
            connection.execute("DELETE FROM dag_run WHERE run_type <> 'scheduled'")
            connection.execute("DELETE FROM backfill")


def _months_before(today: date) -> list[Window]:
    found: list[Window] = []
    for _ in range(MONTHS):
        first = found[0].start if found else today.replace(day=1)
        found.insert(0, Window.of_month(first - timedelta(days=1)))
    return found


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    months = _months_before(datetime.now(Settings().zone).date())
    embedded = _Embedded(tmp_path_factory.mktemp("site"))
    embedded.postgres.start()
    generate(embedded.postgres.dsn(SOURCE), catalog.load(), scale=SCALE, months=MONTHS, last_month=months[-1].start)
    (embedded.local_dir / CDC_FILE).write_text("replications: {}\n", encoding="utf-8")
    config = embedded.airflow.home / "config"
    config.mkdir(parents=True)
    (config / "airflow_local_settings.py").write_text(LOCAL_SETTINGS, encoding="utf-8")
    try:
        embedded.start()
        embedded.airflow.pause(DAG_ID, True)
        yield Site(embedded, months)
    finally:
        embedded.stop()


class _Embedded(Embedded):
    """The embedded default, with retries that a test can wait for."""

    @property
    def airflow(self) -> LocalAirflow:
        settings = {"RETAIL_SYNC_RETRY_DELAY": "1", "RETAIL_SYNC_LOCK_WAIT": "60", **self._mail()}
        settings["RETAIL_SYNC_CDC_FILE"] = str(self.local_dir / CDC_FILE)
        settings["AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] = "0.1"
        return LocalAirflow(self.local_dir / "airflow", self.postgres, self.local_dir, settings)

    @cache  # noqa: B019 (there is one for all tests)
    def _mail(self) -> dict[str, str]:
        """Messages go to a port of this machine, where a test may listen."""
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = {"conn_type": "smtp", "host": "127.0.0.1", "port": port}
        extra = {"from_email": "sync@example.com", "disable_ssl": True, "disable_tls": True}
        return {
            MAIL_PORT_VARIABLE: str(port),
            "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps({**server, "extra": extra}),
            "RETAIL_SYNC_NOTIFY": "team@example.com",
        }
