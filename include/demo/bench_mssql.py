"""
The reader of SQL Server against its driver's own Arrow reader in a bare loop, in the same run.

Only where ``RETAIL_SYNC_TEST_MSSQL`` names a server. It makes a table of the widest kind in a
schema of its own, fills it by the engine's own loader, and drops it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from rich.console import Console

from include import catalog
from include.catalog import Table
from include.connections import Connection
from include.demo.bench_worker import MONTH, TABLE
from include.engines.base import Source
from include.engines.mssql import MssqlWarehouse, ddl, sql
from include.engines.mssql.connect import odbc_string
from include.engines.mssql.publish import insert_staged
from include.engines.mssql.source import MssqlSource
from include.settings import Settings

_SCHEMA = "retail_sync_bench"
_BARE_BATCH = 8192


def reader_ratio(connection: Connection, source: Source, console: Console, rounds: int) -> float:
    """Return the rows a second of the reader as a share of the bare loop's, medians of ``rounds``."""
    table = catalog.load()[TABLE]
    there = table.model_copy(update={"source_schema": _SCHEMA, "name": table.target_table, "target_schema": _SCHEMA})
    warehouse = MssqlWarehouse(connection)
    try:
        _fill(warehouse, source, table, there)
        seconds: dict[str, list[float]] = {"bare": [], "reader": []}
        rows = 0
        for _ in range(rounds):
            for name, way in (("bare", _bare), ("reader", _reader)):
                began = time.monotonic()
                rows = way(connection, there)
                seconds[name].append(time.monotonic() - began)
        speed = {name: rows / median(taken) for name, taken in seconds.items()}
        console.print(f"SQL Server: bare {speed['bare']:,.0f} rows/s, reader {speed['reader']:,.0f} rows/s")
        return round(speed["reader"] / speed["bare"], 3)
    finally:
        with warehouse.begin() as session:
            session.exec_driver_sql(ddl.drop_staging(there, MONTH))
            session.exec_driver_sql(f"DROP TABLE IF EXISTS {sql.target_name(there)}")
            session.exec_driver_sql(f"DROP SCHEMA IF EXISTS {sql.quoted(_SCHEMA)}")


def _fill(warehouse: MssqlWarehouse, source: Source, table: Table, there: Table) -> None:
    with warehouse.begin() as session:
        for schema in (_SCHEMA, "staging"):
            session.exec_driver_sql(ddl.create_schema(schema))
        for statement in ddl.create_replica(there):
            session.exec_driver_sql(statement)
    with source.snapshot(table, MONTH) as snapshot, warehouse.staging(there, MONTH) as staging:
        staging.load(snapshot.batches(Settings().batch_bytes), _ignore)
        with warehouse.begin() as session:
            session.exec_driver_sql(*insert_staged(there, MONTH, sql.target_name(there)))


def _bare(connection: Connection, table: Table) -> int:
    import mssql_python

    statement, values = sql.select(table, sql.source_name(table), MONTH)
    with mssql_python.connect(odbc_string(connection, "bench", read_only=False)) as session:
        cursor = session.cursor()
        cursor.execute(statement, *values)
        return _count(lambda: cursor.arrow_reader(_BARE_BATCH))


def _reader(connection: Connection, table: Table) -> int:
    with MssqlSource(connection).snapshot(table, MONTH) as snapshot:
        return _count(lambda: snapshot.batches(Settings().batch_bytes))


def _count(batches: Callable[[], Iterator[Any]]) -> int:
    return sum(batch.num_rows for batch in batches())


def _ignore(_rows: int, _size: int) -> None:
    """Nobody watches."""
