"""What the tests of followed databases share: a server that gives out its log, databases on it, a replication."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from include import migrations
from include.cdc.embedded.child import written
from include.cdc.follow import Task
from include.cdc.models import Kind, Replication
from include.cdc.run import CdcRun
from include.cdc.sources.postgres import PostgresCdcSource
from include.cdc.targets.postgres import PostgresTarget, opened
from include.connections import Connection, parse
from include.demo.postgres import EmbeddedPostgres
from include.demo.shop import rows_of
from include.settings import PROJECT_ROOT, Settings

#: A server that can be followed; its log is kept for slots up to 512 MB.
LOGICAL = {
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_slot_wal_keep_size": "512MB",
}


@dataclass(frozen=True)
class CdcStage:
    """A source, a migrated warehouse and a control database of a test's own, all on one server."""

    server: EmbeddedPostgres
    source_connection: Connection
    warehouse_connection: Connection
    control_connection: Connection

    @property
    def source(self) -> PostgresCdcSource:
        return PostgresCdcSource(self.source_connection)

    def connect_source(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.dsn(self.source_connection.database), autocommit=True)

    def connect_warehouse(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.dsn(self.warehouse_connection.database), autocommit=True)

    def in_warehouse(self) -> AbstractContextManager[PostgresTarget]:
        return opened(self.warehouse_connection, "test")

    def at_source(self, *statements: str) -> None:
        with self.connect_source() as session:
            for statement in statements:
                session.execute(statement)

    def at_warehouse(self, *statements: str) -> None:
        with self.connect_warehouse() as session:
            for statement in statements:
                session.execute(statement)

    def close(self) -> None:
        """End what still streams from the source, whose database could not be dropped else."""
        query = (
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots"
            " WHERE database = %s AND active_pid IS NOT NULL"
        )
        with closing(psycopg.connect(self.server.dsn("postgres"), autocommit=True)) as session:
            session.execute(query, (self.source_connection.database,))


@contextmanager
def leaving_nothing(warehouse: Connection) -> Iterator[PostgresTarget]:
    """Open a session in a transaction that is rolled back."""
    with opened(warehouse, "test") as target, target.session.transaction(force_rollback=True):
        yield target


def migrated(server: EmbeddedPostgres, target: migrations.Target, name: str) -> str:
    """Migrate an empty database; returns its name."""
    migrations.migrate(target, parse(target, server.uri(name)))
    return name


def replication(name: str = "shop", **fields: Any) -> Replication:
    """Return a replication of all tables of schema ``public`` into schema ``shop``."""
    given = {"source": "source", "kind": Kind.POSTGRES, "tables": ["public.*"], "target_schema": "shop", **fields}
    return Replication.model_validate({"name": name, **given})


SHOP = replication("shop", tables=["shop.*"], target_schema="shop_copy", chunk_rows=500)


def run_of(stage: CdcStage, run_id: str, of: Replication = SHOP, **settings: Any) -> CdcRun:
    return CdcRun(
        id=run_id,
        replication=of,
        source=stage.source_connection,
        warehouse=stage.warehouse_connection,
        control=stage.control_connection,
        settings=Settings(**{"lock_wait": 30.0, **settings}),
        holder=f"test {run_id}",
    )


def kill_at(run: CdcRun, point: str, count: int = 1, table: str = "shop.customers") -> None:
    """Let a run begin in a process of its own, which is killed at a point; see ``cdc_victim``."""
    command = [sys.executable, "-m", "tests.integration.cdc_victim", point, str(count), table]
    line = written(run, Task()) + "\n"
    done = subprocess.run(command, input=line, text=True, capture_output=True, timeout=120, cwd=PROJECT_ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def differences(stage: CdcStage, of: Replication = SHOP) -> dict[str, tuple[int, int]]:
    """Return rows that are only at the source, and only in the warehouse, of the tables that differ; as texts."""
    found = {}
    for table in stage.source.tables(of):
        schema, name = table.name.split(".")
        with stage.connect_source() as one, stage.connect_warehouse() as other:
            source, target = rows_of(one, schema, name), rows_of(other, of.target_schema, of.target_of(table.name))
        assert max(target.values(), default=1) == 1, f"{table.name}: doubled rows"
        if source != target:
            found[table.name] = ((source - target).total(), (target - source).total())
    return found
