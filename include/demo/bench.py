"""
Speed against the raw binary COPY of the same rows, on the same server, in the same run.

The ways take turns, each in a process of its own, so that its peak memory is its own. The
raw way is two processes of PostgreSQL's own client, one's COPY TO STDOUT piped into the
other's COPY FROM STDIN, into an empty table of the same columns.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psycopg
from rich.console import Console
from rich.table import Column
from rich.table import Table as Grid

from include import catalog, migrations
from include.connections import parse
from include.demo.bench_fixes import measure_fixes
from include.demo.bench_mssql import reader_ratio
from include.demo.bench_worker import MODULE, MONTH, TABLE, Way, Work
from include.demo.dsn import VARIABLE, odbc_connection
from include.demo.generate import generate
from include.demo.postgres import CONTROL, SOURCE, WAREHOUSE, EmbeddedPostgres
from include.demo.volumes import rows_of
from include.engines.factory import source_of
from include.errors import RetailSyncError
from include.settings import PROJECT_ROOT, Settings

_TIMES = 3


@dataclass(frozen=True)
class Figures:
    """Medians: rows a second, shares of the raw pipe, and peak memory of the process in MB."""

    rows: int
    raw_copy_rows_s: float
    replicate_rows_s: float
    ratio: float
    ratio_counts: float
    """The same without the checksums, verified by counts: the load alone."""
    parquet_rows_s: float
    ratio_parquet: float
    peak_mb: float
    peak_mb_3x: float
    peak_mb_parquet: float
    fixcheck_bytes_ratio: float
    """Bytes of key and rowversion of a day's rows, as a share of the day's."""
    repair_time_ratio: float
    """Seconds to repair 100 of 50,000 rows, as a share of those to load the day again."""
    mssql_reader_ratio: float | None = None
    """The SQL Server reader as a share of its driver's bare loop; None without a server."""


def run_bench(settings: Settings, console: Console, rows: int, rounds: int) -> Figures:
    """Measure, print, and leave the figures in ``bench.json``."""
    settings.local_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=settings.local_dir) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            figures = _measure(server, Path(folder), console, rows, rounds)
        finally:
            server.stop()
    file = settings.local_dir / "bench.json"
    file.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")
    _show(console, figures)
    return figures


def _measure(server: EmbeddedPostgres, folder: Path, console: Console, rows: int, rounds: int) -> Figures:
    with closing(psycopg.connect(server.dsn(WAREHOUSE), autocommit=True)) as connection:
        # it would begin to analyze one way's rows while the next is measured
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    migrations.migrate("control", parse(CONTROL, server.uri(CONTROL)))
    migrations.migrate("warehouse", parse(WAREHOUSE, server.uri(WAREHOUSE)))
    made = _fill(server, console, rows)
    speeds: dict[Way, list[float]] = {way: [] for way in Way}
    peaks: dict[Way, list[float]] = {way: [] for way in Way}
    for round_ in range(1, rounds + 1):
        for way in Way:
            seconds, peak = _run(Work(way, str(server.data_dir), str(folder / "exports")))
            speeds[way].append(made / seconds)
            peaks[way].append(peak)
            console.print(f"round {round_}: {way.value:<10} {made / seconds:>9,.0f} rows/s, peak {peak:.0f} MB")
    shutil.rmtree(folder / "exports", ignore_errors=True)
    of_mssql = None
    if text := os.environ.get(VARIABLE):
        source = source_of(parse(SOURCE, server.uri(SOURCE)))
        of_mssql = reader_ratio(odbc_connection(text), source, console, rounds)
    _fill(server, console, rows * _TIMES)
    _, peak_3x = _run(Work(Way.REPLICATE, str(server.data_dir), str(folder / "exports")))
    console.print("a day of 50,000 rows, of which 100 differ")
    fixes = measure_fixes(server, console, rounds)
    raw, plain, counts, parquet = (median(speeds[way]) for way in Way)
    return Figures(
        rows=made,
        raw_copy_rows_s=round(raw),
        replicate_rows_s=round(plain),
        ratio=round(plain / raw, 3),
        ratio_counts=round(counts / raw, 3),
        parquet_rows_s=round(parquet),
        ratio_parquet=round(parquet / raw, 3),
        peak_mb=round(max(peaks[Way.REPLICATE]), 1),
        peak_mb_3x=round(peak_3x, 1),
        peak_mb_parquet=round(max(peaks[Way.PARQUET]), 1),
        fixcheck_bytes_ratio=fixes.fixcheck_bytes_ratio,
        repair_time_ratio=fixes.repair_time_ratio,
        mssql_reader_ratio=of_mssql,
    )


def _fill(server: EmbeddedPostgres, console: Console, rows: int) -> int:
    """Make a month of about ``rows`` rows; returns how many of them have a date."""
    table = catalog.load()[TABLE]
    generate(
        server.dsn(SOURCE),
        catalog.load(),
        scale=rows / rows_of(table, 1.0),
        months=1,
        last_month=MONTH.start,
        tables=[TABLE],
    )
    with closing(psycopg.connect(server.dsn(SOURCE), autocommit=True)) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute(
            f'SELECT count("{table.date}"), pg_total_relation_size(\'"{table.source_schema}"."{TABLE}"\')'  # noqa: S608
            f' FROM "{table.source_schema}"."{TABLE}"'
        ).fetchone()
    assert row is not None
    console.print(f"{row[0]:,} rows of {len(table.columns)} columns, {row[1] / 1e6:,.0f} MB at the source")
    return int(row[0])


def _run(work: Work) -> tuple[float, float]:
    """Do the work in a process of its own; returns its seconds and its peak memory in MB."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", MODULE, json.dumps(asdict(work))],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RetailSyncError(f"{work.way.value} failed: {done.stderr[-2000:]}")
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), float(peak)


def _show(console: Console, figures: Figures) -> None:
    grid = Grid("way", *(Column(name, justify="right") for name in ("rows/s", "of raw", "peak MB")))
    grid.add_row("raw COPY BINARY, psql to psql", f"{figures.raw_copy_rows_s:,.0f}", "1.00", "")
    grid.add_row(
        "replicate, verified", f"{figures.replicate_rows_s:,.0f}", f"{figures.ratio:.2f}", f"{figures.peak_mb:.0f}"
    )
    grid.add_row("replicate, verified by counts", "", f"{figures.ratio_counts:.2f}", "")
    grid.add_row(
        "replicate with Parquet, verified",
        *(f"{figures.parquet_rows_s:,.0f}", f"{figures.ratio_parquet:.2f}", f"{figures.peak_mb_parquet:.0f}"),
    )
    grid.add_row(f"replicate, {_TIMES} times the rows", "", "", f"{figures.peak_mb_3x:.0f}")
    console.print(grid)
    console.print(
        f"fix check of a day without differences: at most {figures.fixcheck_bytes_ratio:.1%} of its bytes;"
        f" repair of 100 of 50,000 rows: {figures.repair_time_ratio:.2f} of the time of loading them again"
    )
    if figures.mssql_reader_ratio is not None:
        console.print(f"reader of SQL Server, of its driver's bare loop: {figures.mssql_reader_ratio:.2f}")
