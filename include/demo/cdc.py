"""
The demo of CDC: a shop that three tills change all the time is followed live, killed twice, and compared.

The figures are left in ``demo-cdc.json``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from include.cdc import loader, names
from include.demo import shop
from include.demo.dag_runs import run_dag
from include.demo.embedded import Embedded
from include.demo.postgres import SHOP, WAREHOUSE, EmbeddedPostgres
from include.demo.tills import working
from include.errors import PermanentError
from include.settings import PROJECT_ROOT, Settings

_DAG, _REPLICATION = "cdc_replication", "shop"
_FILE = Path(__file__).with_name("shop.yaml")
_CUSTOMERS = 40_000
_TILLS = 3
#: Rows, about a tenth of what is there: pieces are left of a table that was begun.
_KILLED_AFTER = 20_000
_LAST_LAG = "SELECT lag_seconds FROM dbo.cdc_applies WHERE caught_up ORDER BY id DESC LIMIT 1"
_POLL_SECONDS = 0.05
_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class CdcResult:
    """
    What the demo ended with.

    :param lost: rows of the source that the warehouse lacks.
    :param doubled: rows that the warehouse has more than once.
    :param different: rows with other values, or that the source does not have.
    :param events_s: changes a second while a backlog was applied.
    :param lag_s: seconds from a commit at the source until it was applied, of the last batch of a run that kept up.
    :param engine_mb: the most memory that a process of the stream had, in megabytes.
    """

    seconds: float
    rows_copied: int
    changes: int
    kills: int
    lost: int
    doubled: int
    different: int
    events_s: float
    lag_s: float
    engine_mb: float

    @property
    def equal(self) -> bool:
        """Whether source and warehouse are the same."""
        return not (self.lost or self.doubled or self.different)

    def write(self, file: Path) -> None:
        """Leave the figures for other programs."""
        file.write_text(json.dumps({"equal": self.equal, **asdict(self)}, indent=1) + "\n", encoding="utf-8")


def run_cdc_demo(settings: Settings, console: Console) -> CdcResult:
    """
    Run the demo and return its figures; Airflow and the servers stay up.

    :raises PermanentError: if a run failed.
    """
    began = time.monotonic()
    embedded = Embedded(settings.local_dir.absolute())
    console.print("[bold]1/5[/] databases, Airflow, and a shop that three tills change all the time")
    embedded.start()
    embedded.airflow.rest(_DAG)
    environment = {**embedded.airflow.environment(), "RETAIL_SYNC_CDC_FILE": str(_FILE)}
    server = embedded.postgres
    _begin_anew(server)
    with working(server.dsn(SHOP), _TILLS) as tills:
        console.print("[bold]2/5[/] python -m include cdc start shop, killed while it copies")
        _run_and_kill(environment, lambda: _copying(server) >= _KILLED_AFTER)
        console.print(f"      {_copying(server):,} rows were copied, the log is pinned; it goes on from there")
        _run(environment, "start")
        copied = int(_one(server, WAREHOUSE, "SELECT sum(rows_copied) FROM dbo.cdc_tables"))
        console.print("[bold]3/5[/] python -m include cdc apply shop, killed while it applies")
        applied = _applied(server)
        _run_and_kill(environment, lambda: _applied(server) > applied, "apply")
        changes = tills.close()
    console.print(f"      the tills have closed after {changes:,} changed rows; the backlog is applied")
    _run(environment, "apply")
    rate = _rate(server)
    with working(server.dsn(SHOP), _TILLS, first_seed=_TILLS + 1, pause=0.1) as tills:
        console.print(f"[bold]4/5[/] DAG {_DAG}: action=apply for half a minute, tills at an easier pace")
        _dag(embedded, {"action": "apply", "replication": _REPLICATION, "minutes": 0.5})
        lag = float(_one(server, WAREHOUSE, _LAST_LAG))
        changes += tills.close()
    console.print("[bold]5/5[/] DAG: action=compare at a moment, and both sides row by row")
    _dag(embedded, {"action": "compare", "replication": _REPLICATION})
    lost, doubled, different = _differences(server)
    memory = float(_one(server, WAREHOUSE, "SELECT max(memory_mb) FROM dbo.cdc_applies"))
    seconds = round(time.monotonic() - began, 1)
    result = CdcResult(seconds, copied, changes, 2, lost, doubled, different, rate, lag, memory)
    result.write(embedded.local_dir / "demo-cdc.json")
    return result


def _begin_anew(server: EmbeddedPostgres) -> None:
    """Forget what an earlier demo left, and fill the shop."""
    prefix = names.slot_prefix(_REPLICATION)
    with psycopg.connect(server.dsn(SHOP), autocommit=True) as session:
        session.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE starts_with(slot_name, %s) AND NOT active",
            (prefix,),
        )
        session.execute(f"DROP PUBLICATION IF EXISTS {names.publication(_REPLICATION)}".encode())
        session.execute("DROP SCHEMA IF EXISTS shop CASCADE")
        shop.fill(session, _CUSTOMERS)
    schema = loader.load(_FILE)[_REPLICATION].target_schema
    with psycopg.connect(server.dsn(WAREHOUSE), autocommit=True) as session:
        session.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
        for table in ("replications", "tables", "incidents", "dead_letters", "applies", "offsets"):
            session.execute(f"TRUNCATE dbo.cdc_{table}".encode())


def _run(environment: dict[str, str], action: str) -> None:
    done = subprocess.run(_command(action), env=_environment(environment), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PermanentError(f"cdc {action} failed:\n{done.stdout}{done.stderr}")


def _run_and_kill(environment: dict[str, str], reached: Callable[[], Any], action: str = "start") -> None:
    """Kill a run as soon as it is where it should be; the kernel's kill, nothing is cleaned up."""
    process = subprocess.Popen(  # noqa: S603
        _command(action), env=_environment(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not reached():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise PermanentError(f"cdc {action} ended before it was killed, with code {process.poll()}")
        time.sleep(_POLL_SECONDS)
    process.kill()
    process.wait()


def _command(action: str) -> list[str]:
    return [sys.executable, "-m", "include", "cdc", action, _REPLICATION]


def _environment(environment: dict[str, str]) -> dict[str, str]:
    return {**os.environ, **environment, "PYTHONPATH": str(PROJECT_ROOT), "RETAIL_SYNC_LOCK_WAIT": "60"}


def _dag(embedded: Embedded, conf: dict[str, Any]) -> None:
    due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
    run_dag(embedded.airflow, _DAG, conf, due, lambda _: None)
    embedded.airflow.rest(_DAG)


def _one(server: EmbeddedPostgres, database: str, query: str) -> Any:
    with psycopg.connect(server.dsn(database)) as session:
        row = session.execute(query.encode()).fetchone()
    return (row[0] if row else None) or 0


def _copying(server: EmbeddedPostgres) -> int:
    return int(_one(server, WAREHOUSE, "SELECT sum(rows_copied) FROM dbo.cdc_tables"))


def _applied(server: EmbeddedPostgres) -> int:
    return int(_one(server, WAREHOUSE, "SELECT sum(events) FROM dbo.cdc_replications"))


def _rate(server: EmbeddedPostgres) -> float:
    query = (
        "SELECT events / extract(epoch FROM finished_at - started_at) FROM dbo.cdc_applies"
        " WHERE caught_up ORDER BY id DESC LIMIT 1"
    )
    return round(float(_one(server, WAREHOUSE, query)), 1)


def _differences(server: EmbeddedPostgres) -> tuple[int, int, int]:
    """Compare all rows as the servers write them: lost, doubled, different."""
    replication = loader.load(_FILE)[_REPLICATION]
    lost = doubled = different = 0
    with psycopg.connect(server.dsn(SHOP)) as one, psycopg.connect(server.dsn(WAREHOUSE)) as other:
        for table in shop.TABLES:
            source = shop.rows_of(one, *table.split("."))
            target = shop.rows_of(other, replication.target_schema, replication.target_of(table))
            doubled += sum(count - source.get(row, 1) for row, count in target.items() if count > source.get(row, 1))
            missing, extra = (source - target).total(), (target - source).total()
            different += min(missing, extra) + max(extra - missing, 0)
            lost += max(missing - extra, 0)
    return lost, doubled, different
