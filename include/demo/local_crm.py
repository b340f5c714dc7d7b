"""The demo's CRM as a process of its own, which Airflow's tasks reach like a real one."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx

from include.demo.crm_server import LOGIN, PASSWORD
from include.demo.process import Process
from include.errors import ConnectionLost
from include.settings import PROJECT_ROOT

#: Where the embedded default keeps the port of its CRM.
PORT_VARIABLE = "RETAIL_SYNC_DEMO_CRM_PORT"
_START_TIMEOUT = 30


@dataclass(frozen=True)
class LocalCrm:
    """A CRM on loopback with everything it writes in ``home``."""

    home: Path
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, seed: int, stores: Sequence[str], since: date) -> None:
        """
        Start it, with the data of a seed as if nobody had ever changed it.

        :raises ConnectionLost: naming its log, if it does not come up.
        """
        self.stop()
        command = [sys.executable, "-m", "include.demo.crm", "--port", str(self.port), "--seed", str(seed)]
        command += ["--from", since.isoformat(), "--stores", *stores]
        self._process.start(command, {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)})
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._answers():
            if time.monotonic() > deadline or not self._process.pid:
                raise ConnectionLost(f"the demo's CRM did not come up, see {self._process.log}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def add_late(self, store: str, day: date) -> None:
        """Let an order of an earlier day appear."""
        httpx.post(f"{self.url}/demo/late", json={"store": store, "day": day.isoformat()}).raise_for_status()

    @property
    def _process(self) -> Process:
        return Process(self.home, "crm", "include.demo.crm")

    def _answers(self) -> bool:
        try:
            httpx.get(self.url, timeout=1)
        except httpx.HTTPError:
            return False
        return True


def connections_of(port: int) -> Mapping[str, str]:
    """Return the connections of both CRMs as variables."""
    text = json.dumps({"conn_type": "http", "host": f"http://127.0.0.1:{port}", "login": LOGIN, "password": PASSWORD})
    return {"AIRFLOW_CONN_CRM_TD": text, "AIRFLOW_CONN_CRM_UC": text}
