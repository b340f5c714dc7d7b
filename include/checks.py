"""Try every connection as a run would use it, and say what is missing. Shows no password."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from include import catalog, locks, migrations
from include.cdc import loader
from include.cdc.models import Kind as SourceKind
from include.cdc.models import Mode, Replication
from include.connections import Connection, Kind, embedded_environment, find, parts_of, text_of
from include.engines.factory import source_of, warehouse_of
from include.errors import RetailSyncError
from include.orders_sync.adoption import differences
from include.orders_sync.pipelines import PIPELINES
from include.settings import Settings

_AIRFLOW_TIMEOUT_SECONDS = 60
_MAY_CREATE: dict[Kind, str] = {
    "postgres": "GRANT CREATE ON DATABASE {database} TO {user}",
    "mssql": "GRANT CREATE TABLE, CREATE SCHEMA TO [{user}]",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``remedy`` is empty where nothing has to be done."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


def check_all(settings: Settings) -> list[Finding]:
    """Look at all databases, what is followed, and Airflow's pools; raises nothing for what is amiss."""
    looks: dict[str, Callable[[Settings], list[Finding]]] = {
        settings.source_connection: _source,
        settings.warehouse_connection: _warehouse,
        settings.control_connection: _control,
        "replications": _replications,
        "pools": _pools,
    }
    return [finding for what, look in looks.items() for finding in _looked(what, look, settings)]


def _looked(what: str, look: Callable[[Settings], list[Finding]], settings: Settings) -> list[Finding]:
    try:
        return look(settings)
    except RetailSyncError as error:
        return [Finding(what, False, str(error), "see the message")]


def _source(settings: Settings) -> list[Finding]:
    connection = find(settings.source_connection, settings.local_dir)
    source = source_of(connection)
    facts = source.check()
    findings = [Finding(connection.id, True, f"{connection}: {facts['version']}, user {facts['user']}")]
    replica = "a read-only replica" if facts["replica"] else "a primary; it is only read"
    findings.append(Finding(f"{connection.id}: role", True, replica))
    absent = [table for table in catalog.load() if source.columns(table) is None]
    if required := [table.name for table in absent if not table.optional]:
        remedy = "grant SELECT, or write `optional: true` in tables.yaml"
        findings.append(Finding(f"{connection.id}: tables", False, f"missing: {', '.join(required)}", remedy))
    else:
        optional = ", ".join(table.name for table in absent) or "none"
        findings.append(Finding(f"{connection.id}: tables", True, f"all there; optional and not exposed: {optional}"))
    return findings


def _warehouse(settings: Settings) -> list[Finding]:
    connection = find(settings.warehouse_connection, settings.local_dir)
    facts = warehouse_of(connection, settings).check()
    findings = [Finding(connection.id, True, f"{connection}: {facts['version']}, user {facts['user']}")]
    if facts["replica"]:
        findings.append(Finding(f"{connection.id}: role", False, "a read-only replica", "connect to the primary"))
    if not facts["may_create"]:
        remedy = _MAY_CREATE[connection.kind].format(database=connection.database, user=facts["user"])
        findings.append(Finding(f"{connection.id}: rights", False, "may not create tables and schemas", remedy))
    findings += _collation(settings, connection, facts)
    findings.append(_migrated("warehouse", connection))
    if missing := migrations.missing_replicas(connection, catalog.load()):
        findings.append(
            Finding(f"{connection.id}: tables", False, f"missing: {', '.join(missing)}", "python -m include migrate")
        )
    return findings


def _collation(settings: Settings, connection: Connection, facts: dict[str, Any]) -> list[Finding]:
    """Two SQL Servers with code pages that differ cannot hold the same text in a varchar."""
    source = find(settings.source_connection, settings.local_dir)
    if source.kind != "mssql" or connection.kind != "mssql":
        return []
    there = source_of(source).check()["collation"]
    found = f"{facts['collation']}, the source has {there}"
    remedy = (
        "" if there == facts["collation"] else f"ALTER DATABASE {connection.database} COLLATE {there}, before migrate"
    )
    return [Finding(f"{connection.id}: collation", not remedy, found, remedy)]


def _control(settings: Settings) -> list[Finding]:
    connection = find(settings.control_connection, settings.local_dir)
    with locks.hold(connection, [locks.Name(locks.LockSpace.WINDOW, "check")], holder="retail-sync check", wait=10):
        found = f"{connection}: advisory locks work"
    migrated = _migrated("control", connection)
    findings = [Finding(connection.id, True, found), migrated]
    return findings + (_orders_sync(connection) if migrated.ok else [])


def _orders_sync(connection: Connection) -> list[Finding]:
    what = f"{connection.id}: tables"
    found = [Finding(what, not item.breaks, item.text, item.remedy) for item in differences(connection)]
    return found or [Finding(what, True, "as they should be")]


def _replications(settings: Settings) -> list[Finding]:
    """What else a followed database needs is looked at when it is started."""
    followed = loader.load(settings.cdc_file).values()
    return [
        finding
        for replication in followed
        for finding in _looked(f"replication {replication.name}", partial(_replication, replication), settings)
    ]


def _replication(replication: Replication, settings: Settings) -> list[Finding]:
    needed = [replication.source]
    if replication.mode is Mode.KAFKA_CONNECT:
        needed += [replication.kafka.connect, replication.kafka.brokers]
    what = f"replication {replication.name}"
    for name in needed:
        text = text_of(name, settings.local_dir)
        if not text:
            remedy = f"export AIRFLOW_CONN_{name.upper()}; one that only Airflow has cannot be tried from here"
            return [Finding(what, False, f"connection {name!r} is not in the environment", remedy)]
        parts_of(name, text)
    if replication.kind not in {SourceKind.POSTGRES, SourceKind.MSSQL}:
        return [Finding(what, True, f"{replication.source}: not asked, there is no driver for {replication.kind}")]
    connection = find(replication.source, settings.local_dir)
    facts = source_of(connection).check()
    return [Finding(what, True, f"{connection}: {facts['version']}, user {facts['user']}")]


def _migrated(target: migrations.Target, connection: Connection) -> Finding:
    state = migrations.state(target, connection)
    found = f"at {state.current or 'nothing'}, newest is {state.head}"
    return Finding(
        f"{connection.id}: migrations", state.up_to_date, found, "" if state.up_to_date else "python -m include migrate"
    )


def _pools(settings: Settings) -> list[Finding]:
    """Ask the airflow command, since pools are Airflow's: a task in a missing one waits for ever."""
    names = [settings.source_pool, settings.cdc_pool, *(pipeline.connection for pipeline in PIPELINES.values())]
    beside = Path(sys.executable).with_name("airflow")
    airflow = str(beside) if beside.exists() else shutil.which("airflow")
    if airflow is None:
        return [Finding("pools", True, "not looked at: no airflow command here")]
    environment = {**os.environ, **embedded_environment(settings.local_dir)}
    try:
        done = subprocess.run(  # noqa: S603
            [airflow, "pools", "list", "--output", "json"],
            capture_output=True,
            text=True,
            timeout=_AIRFLOW_TIMEOUT_SECONDS,
            env=environment,
            check=False,
        )
        pools = {pool["pool"]: pool["slots"] for pool in json.loads(done.stdout[done.stdout.index("[") :])}
    except (subprocess.TimeoutExpired, ValueError):
        return [Finding("pools", False, "airflow did not list them", "airflow db migrate, then check again")]
    return [_of_pool(name, pools.get(name)) for name in names]


def _of_pool(name: str, slots: str | None) -> Finding:
    if slots is None:
        remedy = f"airflow pools set {name} 2 'what is read there at once'"
        return Finding(f"pool {name}", False, "missing: tasks would wait for ever", remedy)
    return Finding(f"pool {name}", True, f"{slots} slots")
