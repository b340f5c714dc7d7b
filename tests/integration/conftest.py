"""A real PostgreSQL server for the session, and fresh databases on it for each test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include import catalog, migrations
from include.catalog import Table
from include.connections import Connection, parse
from include.demo.generate import generate
from include.demo.postgres import EmbeddedPostgres
from include.engines.postgres import PostgresSource, PostgresWarehouse
from include.replication.observe import LogObserver
from include.replication.replicate import Run, replicate
from include.settings import Settings
from include.windows import UNDATED, Span, Window, months
from tests.integration.cdc import LOGICAL, CdcStage, migrated
from tests.integration.servers import started

#: What the source template holds: three months of all tables, about a thousand sales.
SCALE, MONTHS, LAST_MONTH = 0.0002, 3, date(2025, 10, 1)
WINDOW = Window(date(2025, 8, 1), date(2025, 11, 1))
OCTOBER = Window.of_month(LAST_MONTH)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    with started() as server:
        yield server


def fresh_database(server: EmbeddedPostgres, name: str, template: str = "template0") -> str:
    """Make an empty database, or a copy of another, under a name that was never used; return its name."""
    name = f"{name}_{next(_numbers)}"
    with closing(psycopg.connect(server.dsn("postgres"), autocommit=True)) as connection:
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        connection.execute(query.format(sql.Identifier(name), sql.Identifier(template)))
    return name


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    with closing(psycopg.connect(server.dsn("postgres"), autocommit=True)) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def templates(server: EmbeddedPostgres) -> dict[str, str]:
    """Databases that are copied, not used: a generated source, a migrated warehouse and control."""
    names = {part: fresh_database(server, f"template_{part}") for part in ("source", "warehouse", "control")}
    generate(server.dsn(names["source"]), catalog.load(), scale=SCALE, months=MONTHS, last_month=LAST_MONTH)
    migrations.migrate("warehouse", parse("warehouse", server.uri(names["warehouse"])))
    migrations.migrate("control", parse("control", server.uri(names["control"])))
    return names


@dataclass(frozen=True)
class Stage:
    """A source and a warehouse of a test's own, and the control database of all."""

    server: EmbeddedPostgres
    source_connection: Connection
    warehouse_connection: Connection
    control_connection: Connection

    @property
    def source(self) -> PostgresSource:
        return PostgresSource(self.source_connection)

    @property
    def warehouse(self) -> PostgresWarehouse:
        return PostgresWarehouse(self.warehouse_connection)

    def run(self, run_id: str = "test", **options: Any) -> Run:
        options = {"settings": Settings(lock_wait=0.0), **options}
        return Run(id=run_id, source=self.source, warehouse=self.warehouse, control=self.control_connection, **options)

    def connect_source(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.dsn(self.source_connection.database), autocommit=True)

    def connect_warehouse(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.dsn(self.warehouse_connection.database), autocommit=True)

    def environment(self, local_dir: Path) -> dict[str, str]:
        """Return the variables under which the command line works on these databases."""
        return {
            "AIRFLOW_CONN_POS_SOURCE": self.server.uri(self.source_connection.database),
            "AIRFLOW_CONN_WAREHOUSE": self.server.uri(self.warehouse_connection.database),
            "AIRFLOW_CONN_CONTROL": self.server.uri(self.control_connection.database),
            "RETAIL_SYNC_LOCAL_DIR": str(local_dir),
            "RETAIL_SYNC_EXPORTS_URL": str(local_dir / "exports"),
        }


@dataclass(frozen=True)
class Stages:
    """Makes stages as copies of templates, and drops what it made."""

    server: EmbeddedPostgres
    templates: dict[str, str]
    made: list[str] = field(default_factory=list)

    def empty(self) -> Stage:
        """Return a stage whose warehouse has no rows."""
        return self._stage(self.templates["warehouse"])

    def loaded(self, table: Table, *spans: Span) -> Stage:
        """Return a stage whose warehouse has spans of a table, else all, by a run ``first``; it is copied too."""
        chosen = spans or (*months(WINDOW), UNDATED)
        name = f"{table!r} {chosen}"
        if name not in self.templates:
            template = self.empty()
            for span in chosen:
                replicate(template.run("first"), table, span, LogObserver(table.name, math.inf))
            self.templates[name] = template.warehouse_connection.database
            self.made.remove(self.templates[name])
        return self._stage(self.templates[name])

    def drop(self) -> None:
        """Drop the databases of all stages."""
        for name in self.made:
            drop_database(self.server, name)

    def _stage(self, warehouse: str) -> Stage:
        # nothing is left in control when its sessions end, so one serves all tests
        names = {
            "source": fresh_database(self.server, "source", self.templates["source"]),
            "warehouse": fresh_database(self.server, "warehouse", warehouse),
            "control": self.templates["control"],
        }
        self.made.extend((names["source"], names["warehouse"]))
        return Stage(self.server, *(parse(part, self.server.uri(name)) for part, name in names.items()))


@pytest.fixture
def stages(server: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[Stages]:
    stages = Stages(server, templates)
    yield stages
    stages.drop()


@pytest.fixture
def stage(stages: Stages) -> Stage:
    return stages.empty()


@pytest.fixture(scope="session")
def logical_server() -> Iterator[EmbeddedPostgres]:
    """A second server, whose log can be followed."""
    with started(LOGICAL) as server:
        yield server


@pytest.fixture(scope="session")
def cdc_templates(logical_server: EmbeddedPostgres) -> dict[str, str]:
    """A migrated warehouse and control database on it, to be copied."""
    targets: tuple[migrations.Target, ...] = ("warehouse", "control")
    return {
        target: migrated(logical_server, target, fresh_database(logical_server, f"template_{target}"))
        for target in targets
    }


@pytest.fixture
def cdc_stage(logical_server: EmbeddedPostgres, cdc_templates: dict[str, str]) -> Iterator[CdcStage]:
    # nothing is left in control when its sessions end, so one serves all tests
    names = {
        "source": fresh_database(logical_server, "source"),
        "warehouse": fresh_database(logical_server, "warehouse", cdc_templates["warehouse"]),
        "control": cdc_templates["control"],
    }
    stage = CdcStage(logical_server, *(parse(part, logical_server.uri(name)) for part, name in names.items()))
    yield stage
    stage.close()
    for part in ("source", "warehouse"):
        drop_database(logical_server, names[part])
