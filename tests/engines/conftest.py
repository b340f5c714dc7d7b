"""Every pair of engines: those with SQL Server where ``RETAIL_SYNC_TEST_MSSQL`` names a server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from include.catalog import Table
from include.connections import Connection, parse
from include.demo.dsn import VARIABLE, odbc_connection
from include.demo.postgres import EmbeddedPostgres
from include.replication.replicate import Run
from include.settings import Settings
from tests.engines.ends import End, MssqlEnd, PostgresEnd
from tests.integration.conftest import drop_database, fresh_database, server, templates
from tests.unit.tables import make_table

__all__ = ["server", "templates"]

NO_SERVER = f"no SQL Server: set {VARIABLE} to an ODBC connection string, or run `make test-mssql`"
PAIRS = [
    "postgres-postgres",
    "postgres-mssql",
    "mssql-postgres",
    "mssql-mssql",
    "mssql-mssql by pyodbc",
]


@dataclass(frozen=True)
class Pair:
    """A source and a warehouse, and a schema for the test's tables."""

    source: End
    warehouse: End
    control: Connection
    schema: str

    def table(self, columns: dict[str, str], name: str = "SALES", **fields: Any) -> Table:
        """Return a table and make it at both ends; its key is ``ID``, its date ``DAY``."""
        number = uuid.uuid4().hex[:6]
        table = make_table(
            columns,
            name=f"{name}_{number}",
            target_table=f"{self.schema}_{number}",
            **{"source_schema": self.schema, "target_schema": self.schema, **fields},
        )
        self.source.make_source(table)
        self.warehouse.make_replica(table)
        return table

    def run(self, run_id: str = "test", **options: Any) -> Run:
        settings = Settings(lock_wait=0.0, publish_wait=0.0, publish_lock_wait=1.0)
        return Run(
            id=run_id,
            control=self.control,
            settings=settings,
            **{"source": self.source.source(), "warehouse": self.warehouse.warehouse(), **options},
        )

    def source_rows(self, table: Table) -> list[tuple[Any, ...]]:
        return sorted(self.source.values(table.source_schema, table.name, table.columns), key=repr)

    def warehouse_rows(self, table: Table) -> list[tuple[Any, ...]]:
        return sorted(self.warehouse.values(table.target_schema, table.target_table, table.columns), key=repr)


@pytest.fixture(scope="session")
def mssql() -> Iterator[MssqlEnd]:
    text = os.environ.get(VARIABLE)
    if not text:
        pytest.skip(NO_SERVER)
    end = MssqlEnd(odbc_connection(text), f"rs_test_{uuid.uuid4().hex[:8]}")
    end.make_metadata()
    yield end
    end.drop()


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest, server: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[Pair]:
    source, warehouse = request.param.removesuffix(" by pyodbc").split("-")
    ends: dict[str, End] = {}
    databases: list[str] = []
    schema = "rs_test"
    if "mssql" in (source, warehouse):
        there: MssqlEnd = request.getfixturevalue("mssql")
        if request.param.endswith("pyodbc"):
            extra = {**there.connection.extra, "client": "pyodbc"}
            there = replace(there, connection=replace(there.connection, extra=extra))
        ends["mssql"], schema = there, there.schema
    if "postgres" in (source, warehouse):
        databases.append(fresh_database(server, "engine", templates["warehouse"]))
        ends["postgres"] = PostgresEnd(parse("test_postgres", server.uri(databases[0])))
    yield Pair(ends[source], ends[warehouse], parse("control", server.uri(templates["control"])), schema)
    for name in databases:
        drop_database(server, name)
