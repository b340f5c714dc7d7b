"""A real Airflow on this machine: API server, scheduler and DAG processor, all on 127.0.0.1."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_fixed

from include.connections import embedded_environment, embedded_file
from include.demo.local_crm import PORT_VARIABLE, connections_of
from include.demo.postgres import AIRFLOW, CONTROL, SHOP, SOURCE, WAREHOUSE, EmbeddedPostgres
from include.demo.process import Process
from include.errors import ConnectionLost
from include.orders_sync.pipelines import PIPELINES
from include.settings import PROJECT_ROOT, Settings

_COMPONENTS = ("api-server", "dag-processor", "scheduler")
_START_TIMEOUT = 180
_STOP_TIMEOUT = 30
_POOL_SLOTS = 2
_ATTEMPTS = 4


@dataclass(frozen=True)
class LocalAirflow:
    """Airflow with everything it writes in ``home``, its metadata in an embedded server."""

    home: Path
    postgres: EmbeddedPostgres
    local_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables that Airflow's processes get beside those of the embedded default."""

    def start(self) -> None:
        """
        Bring Airflow up, with its pools; what runs already is left alone.

        :raises ConnectionLost: naming the log of the component that did not come up.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        if not all(self._component(name).pid for name in _COMPONENTS):
            self.stop()
            self.write_environment()
            self._airflow("db", "migrate")
            self._start("api-server")
            self._start("dag-processor")
            self._await_api()
            # a scheduler that finds no API server fails the first tasks
            self._start("scheduler")
        self._await_api()
        settings = Settings()
        for pool in (settings.source_pool, settings.cdc_pool, *(each.connection for each in PIPELINES.values())):
            self.set_pool(pool, _POOL_SLOTS)

    def stop(self) -> None:
        """End the components, the scheduler first."""
        for name in reversed(_COMPONENTS):
            self._component(name).stop()

    @property
    def url(self) -> str:
        """The address of the UI."""
        return f"http://127.0.0.1:{self.environment()['AIRFLOW__API__PORT']}"

    @property
    def page(self) -> str:
        """The address of the page ``Replication`` in it."""
        return f"{self.url}/plugin/replication"

    def environment(self) -> dict[str, str]:
        """Return the variables under which any ``airflow`` command speaks to this Airflow."""
        return embedded_environment(self.local_dir)

    def write_environment(self) -> None:
        """Choose port and secrets, once, and leave them for other commands."""
        known = self.environment()
        values = {name: known.get(name) or value for name, value in _chosen_once().items()}
        port = values["AIRFLOW__API__PORT"]
        values |= {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_CONN_POS_SOURCE": self.postgres.uri(SOURCE),
            "AIRFLOW_CONN_WAREHOUSE": self.postgres.uri(WAREHOUSE),
            "AIRFLOW_CONN_CONTROL": self.postgres.uri(CONTROL),
            "AIRFLOW_CONN_SHOP": self.postgres.uri(SHOP),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.postgres.uri(AIRFLOW, "postgresql+psycopg"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
            "RETAIL_SYNC_LOCAL_DIR": str(self.local_dir),
            **connections_of(int(values[PORT_VARIABLE])),
            **_FIXED,
            **self.settings,
        }
        draft = embedded_file(self.local_dir).with_suffix(".tmp")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(values, indent=1), encoding="utf-8")
        draft.replace(embedded_file(self.local_dir))

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """
        Call the REST API and return its JSON.

        The API and the scheduler may meet in a deadlock of the metadata database, of which the API is
        then the victim: what may be asked twice is asked again.

        :raises httpx.HTTPStatusError: if it refuses.
        """
        attempts = 1 if method == "POST" else _ATTEMPTS
        policy = Retrying(
            retry=retry_if_exception(_is_failure), stop=stop_after_attempt(attempts), wait=wait_fixed(1), reraise=True
        )
        return policy(self._request, method, path, **arguments)

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        # over HTTP, to this machine: to load all certificates takes longer than the request
        with httpx.Client(base_url=self.url, timeout=30, verify=False) as client:  # noqa: S501
            token = client.get("/auth/token").raise_for_status().json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.request(method, f"/api/v2/{path}", headers=headers, **arguments).raise_for_status()
            return answer.json() if answer.content else None

    def set_pool(self, name: str, slots: int) -> None:
        """Make the pool, if it is missing."""
        pools = self.request("GET", "pools")["pools"]
        if name not in {pool["name"] for pool in pools}:
            self.request(
                "POST",
                "pools",
                json={"name": name, "slots": slots, "description": "What is read there at once"},
            )

    def pause(self, dag_id: str, paused: bool) -> None:
        """Pause a DAG or let it run, as soon as it is parsed."""
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                self.request("PATCH", f"dags/{dag_id}", json={"is_paused": paused})
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.NOT_FOUND or time.monotonic() > deadline:
                    raise
                time.sleep(1)
                continue
            return

    def rest(self, dag_id: str) -> None:
        """Pause a DAG, and forget a run that its schedule had begun: it would stand in the way of the next one."""
        self.pause(dag_id, True)
        runs = self.request("GET", f"dags/{dag_id}/dagRuns", params={"state": ["queued", "running"]})["dag_runs"]
        for run in runs:
            path = f"dags/{dag_id}/dagRuns/{run['dag_run_id']}"
            self.request("PATCH", path, json={"state": "failed"})
            self.request("DELETE", path)

    def trigger(self, dag_id: str, conf: Mapping[str, Any], logical_date: datetime | None = None) -> str:
        """
        Trigger a DAG by hand, as the UI does, and return the run's id.

        :raises httpx.HTTPStatusError: with status 409 if the logical date has a run already.
        """
        body = {"conf": dict(conf), "logical_date": logical_date.isoformat() if logical_date else None}
        run = self.request("POST", f"dags/{dag_id}/dagRuns", json=body)
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.request("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def _airflow(self, *arguments: str) -> None:
        log = self.home / f"{arguments[0]}.log"
        with log.open("ab") as stream:
            done = subprocess.run(  # noqa: S603
                [_airflow_command(), *arguments],
                env=self._process_environment(),
                stdout=stream,
                stderr=stream,
                check=False,
            )
        if done.returncode:
            raise ConnectionLost(f"airflow {' '.join(arguments)} failed, see {log}")

    def _start(self, name: str) -> None:
        self._component(name).start([_airflow_command(), name], self._process_environment())

    def _await_api(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5).is_success:
                    return
            if time.monotonic() > deadline or not self._component("api-server").pid:
                raise ConnectionLost(f"Airflow's API server did not come up, see {self.home / 'api-server.log'}")
            time.sleep(0.5)

    def _process_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        return {**inherited, **self.environment(), "PYTHONPATH": str(PROJECT_ROOT)}

    def _component(self, name: str) -> Process:
        return Process(self.home, name, "airflow")


_FIXED = {
    "RETAIL_SYNC_CDC_FILE": str(PROJECT_ROOT / "include" / "demo" / "shop.yaml"),
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    # what `airflow backfill create --from-date 2025-10-01` means: that midnight, not UTC's
    "AIRFLOW__CORE__DEFAULT_TIMEZONE": Settings().business_timezone,
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
}


def _is_failure(error: BaseException) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.is_server_error


def _chosen_once() -> dict[str, str]:
    port, crm_port = _free_ports(2)
    return {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        PORT_VARIABLE: str(crm_port),
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as probes:
        sockets = [probes.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def _airflow_command() -> str:
    return str(Path(sys.executable).with_name("airflow"))
