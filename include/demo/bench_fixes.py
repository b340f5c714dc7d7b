"""
What a fix check costs, against loading the day again: 50,000 sales of 184 columns, 100 differences.

The ways take turns in this process. The bytes of a check without differences are those of the
pairs of key and rowversion, though a check of equal days does not even read these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from statistics import median

import psycopg
from psycopg import sql as pgsql
from rich.console import Console

from include import catalog
from include.connections import parse
from include.demo.bench_worker import MONTH, TABLE
from include.demo.changes import late_fix
from include.demo.generate import generate
from include.demo.postgres import CONTROL, SOURCE, WAREHOUSE, EmbeddedPostgres
from include.demo.volumes import rows_of
from include.engines.base import Level
from include.engines.factory import source_of, warehouse_of
from include.engines.postgres.sql import source_name, target_name
from include.errors import RetailSyncError
from include.replication.differences import differences
from include.replication.observe import LogObserver
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.replication.run import Report, Run
from include.settings import Settings
from include.windows import Window

_ROWS, _DIFFERENCES = 50_000, 100
_DAY = Window(MONTH.start, MONTH.start + timedelta(days=1))


@dataclass(frozen=True)
class FixFigures:
    """Bytes of a check as a share of the day's, and seconds of a repair as a share of those of a reload."""

    fixcheck_bytes_ratio: float
    repair_time_ratio: float
    repair_seconds: float
    reload_seconds: float


def measure_fixes(server: EmbeddedPostgres, console: Console, rounds: int) -> FixFigures:
    """Measure on a server whose databases are migrated; leaves the day in them."""
    table = catalog.load()[TABLE]
    scale = _ROWS / rows_of(table, 1.0)
    generate(server.dsn(SOURCE), catalog.load(), scale=scale, months=1, last_month=MONTH.start, tables=[TABLE])
    with closing(psycopg.connect(server.dsn(SOURCE), autocommit=True)) as connection:
        day = pgsql.SQL("UPDATE {} SET {} = {}").format(
            source_name(table), pgsql.Identifier(table.date or ""), pgsql.Literal(MONTH.start)
        )
        connection.execute(day)
        connection.execute(pgsql.SQL("VACUUM FULL ANALYZE {}").format(source_name(table)))
    with closing(psycopg.connect(server.dsn(WAREHOUSE), autocommit=True)) as connection:
        connection.execute(pgsql.SQL("TRUNCATE {}").format(target_name(table)))
    settings = Settings()
    run = Run(
        id="bench-fixes",
        source=source_of(parse(SOURCE, server.uri(SOURCE))),
        warehouse=warehouse_of(parse(WAREHOUSE, server.uri(WAREHOUSE)), settings),
        control=parse(CONTROL, server.uri(CONTROL)),
        settings=settings,
        force=True,
    )
    observer = LogObserver(TABLE, settings.progress_every)
    loaded = replicate(run, table, _DAY, observer)
    with run.source.snapshot(table, _DAY) as snapshot:
        checked = differences(snapshot, run.warehouse, Level.VERSIONS)
    seconds: dict[str, list[float]] = {"repair": [], "reload": []}
    for number in range(rounds):
        with closing(psycopg.connect(server.dsn(SOURCE), autocommit=True)) as connection:
            late_fix(connection, table, _DAY, _DIFFERENCES, seed=number)
        numbered = replace(run, id=f"bench-fixes-{number}")
        took, report = _timed(lambda numbered=numbered: reconcile(numbered, table, _DAY, observer))  # type: ignore[misc]
        if report.rows_updated != _DIFFERENCES:
            raise RetailSyncError(f"{_DIFFERENCES} rows differed, {report.rows_updated} were repaired")
        seconds["repair"].append(took)
        took, _ = _timed(lambda numbered=numbered: replicate(numbered, table, _DAY, observer))  # type: ignore[misc]
        seconds["reload"].append(took)
        with closing(psycopg.connect(server.dsn(WAREHOUSE), autocommit=True)) as connection:
            # what a reload deletes would slow every later check down
            connection.execute(pgsql.SQL("VACUUM {}").format(target_name(table)))
        console.print(f"round {number + 1}: repair {seconds['repair'][-1]:.2f} s, reload {took:.2f} s")
    repair, reload = median(seconds["repair"]), median(seconds["reload"])
    return FixFigures(
        fixcheck_bytes_ratio=round(checked.bytes_read / loaded.bytes_read, 4),
        repair_time_ratio=round(repair / reload, 3),
        repair_seconds=round(repair, 3),
        reload_seconds=round(reload, 3),
    )


def _timed(work: Callable[[], Report]) -> tuple[float, Report]:
    began = time.monotonic()
    report = work()
    return time.monotonic() - began, report
