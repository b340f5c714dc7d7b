"""One measurement in a process of its own: prints its seconds and its peak memory as JSON."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

import psycopg
from psycopg import sql as pgsql

from include import catalog
from include.connections import parse
from include.demo.postgres import CONTROL, SOURCE, WAREHOUSE, EmbeddedPostgres
from include.engines.factory import source_of, warehouse_of
from include.engines.postgres import sql
from include.replication.export import ExportTarget
from include.replication.observe import LogObserver
from include.replication.replicate import Run, replicate
from include.replication.verify import Verify
from include.settings import Settings
from include.windows import Window

MODULE = "include.demo.bench_worker"
TABLE = "APP_4_SALES"
MONTH = Window.of_month(date(2025, 10, 1))


class Way(StrEnum):
    """What is measured, in the order in which they take turns."""

    RAW = "raw"
    REPLICATE = "replicate"
    COUNTS = "counts"
    PARQUET = "parquet"


@dataclass(frozen=True)
class Work:
    """One measurement."""

    way: Way
    data_dir: str
    exports: str


def work(task: Work) -> float:
    """Do the work and return its seconds."""
    server = EmbeddedPostgres(Path(task.data_dir))
    if task.way is Way.RAW:
        return _raw_pipe(server)
    settings = Settings()
    run = Run(
        id=f"bench-{time.time_ns()}",
        source=source_of(parse(SOURCE, server.uri(SOURCE))),
        warehouse=warehouse_of(parse(WAREHOUSE, server.uri(WAREHOUSE)), settings),
        control=parse(CONTROL, server.uri(CONTROL)),
        settings=settings,
        verify=Verify.COUNTS if task.way is Way.COUNTS else Verify.CHECKSUM,
        export=ExportTarget(task.exports) if task.way is Way.PARQUET else None,
        force=True,
    )
    began = time.monotonic()
    replicate(run, catalog.load()[TABLE], MONTH, LogObserver(TABLE, settings.progress_every))
    return time.monotonic() - began


def _raw_pipe(server: EmbeddedPostgres) -> float:
    table = catalog.load()[TABLE]
    psql = server.program("psql")
    select = sql.select(table, sql.source_name(table), MONTH)
    copy_out = pgsql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(select).as_string()
    with closing(psycopg.connect(server.dsn(WAREHOUSE), autocommit=True)) as connection:
        connection.execute("DROP TABLE IF EXISTS raw_copy")
        connection.execute(pgsql.SQL("CREATE TABLE raw_copy (LIKE {})").format(sql.target_name(table)))
    began = time.monotonic()
    arguments = (psql, "-X", "-q", "-v", "ON_ERROR_STOP=1")
    with subprocess.Popen(  # noqa: S603
        [*arguments, "-c", copy_out, server.dsn(SOURCE)], stdout=subprocess.PIPE
    ) as reader:
        subprocess.run(  # noqa: S603
            [*arguments, "-c", "COPY raw_copy FROM STDIN (FORMAT BINARY)", server.dsn(WAREHOUSE)],
            stdin=reader.stdout,
            check=True,
        )
    seconds = time.monotonic() - began
    if reader.returncode:
        raise RuntimeError("the raw pipe failed")
    with closing(psycopg.connect(server.dsn(WAREHOUSE), autocommit=True)) as connection:
        connection.execute("DROP TABLE raw_copy")
    return seconds


def _peak_mb() -> float:
    """Return the peak of this process; where there is no /proc, that of the parent may shine through."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    content = json.loads(sys.argv[1])
    took = work(Work(Way(content["way"]), content["data_dir"], content["exports"]))
    sys.stdout.write(json.dumps([took, _peak_mb()]) + "\n")
