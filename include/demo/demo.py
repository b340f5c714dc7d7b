"""
The demo: a source shaped like the real one, replicated by a real Airflow, and the proof.

Three months of the ten sales tables, about 300,000 rows, with a fresh comparison of source and
warehouse. Then fixes are planted at the source, and the nightly run finds and repairs them. The
figures are left in ``demo.json``, a picture of the page in ``replication.png``.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column
from rich.table import Table as Grid

from include import catalog
from include.connections import parse
from include.demo import night, screenshot
from include.demo.dag_runs import run_dag
from include.demo.embedded import Embedded
from include.demo.generate import generate
from include.demo.night import Fixes
from include.demo.postgres import SOURCE, WAREHOUSE
from include.demo.volumes import months_until
from include.engines.base import Level, Source, Warehouse
from include.engines.factory import source_of, warehouse_of
from include.errors import RetailSyncError
from include.replication.progress import rows_of_run
from include.replication.request import month_before
from include.replication.verify import Comparison, compare
from include.settings import Settings
from include.windows import Window, spans

_DAG, _NIGHTLY, _NIGHTLY_HOUR = "sales_replication", "nightly_replica", 2
_MONTHS = 3
_LAST_MONTH = date(2025, 10, 1)
_SCALE = 0.0095
_SEED = 42


@dataclass(frozen=True)
class Result:
    """What the demo ended with: equal or not, seconds, and a figure a table and window."""

    equal: bool
    seconds: float
    windows: list[dict[str, Any]]
    fixes: Fixes

    def write(self, file: Path) -> None:
        """Leave the figures for other programs."""
        content = {
            "equal": self.equal,
            "seconds": round(self.seconds, 1),
            "windows": self.windows,
            "fixes": self.fixes.as_dict(),
        }
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def run_demo(settings: Settings, console: Console) -> Result:
    """
    Run the demo and return its figures; Airflow and the servers stay up.

    :raises PermanentError: if the run failed.
    """
    began = time.monotonic()
    embedded = Embedded(settings.local_dir.absolute())
    console.print("[bold]1/5[/] databases: source, warehouse, control, Airflow's metadata")
    embedded.start_databases()
    console.print("[bold]2/5[/] sample data, shaped like the real source")
    counts = generate(
        embedded.postgres.dsn(SOURCE),
        catalog.load(),
        scale=_SCALE,
        months=_MONTHS,
        seed=_SEED,
        last_month=_LAST_MONTH,
    )
    console.print(f"      {sum(counts.values()):,} rows in {len(counts)} tables")
    console.print("[bold]3/5[/] Airflow")
    embedded.airflow.start()
    console.print(f"      {embedded.airflow.url}, no password, on this machine only")
    made = months_until(_LAST_MONTH, _MONTHS)
    window = Window(made[0].start, made[-1].end)
    console.print(f"[bold]4/5[/] DAG {_DAG} for {window.start} to {window.last_day}, by hand as from the UI")
    run_id = _run(embedded, _DAG, _dates(window), console)
    windows = _prove(embedded, window, run_id, console)
    fixes = _night(embedded, window, console)
    equal = all(figures["equal"] for figures in windows) and fixes.remaining == 0
    result = Result(equal, time.monotonic() - began, windows, fixes)
    result.write(embedded.local_dir / "demo.json")
    return result


def show_page(settings: Settings, console: Console) -> None:
    """Tell where the page is, with a picture of it where this machine can make one."""
    embedded = Embedded(settings.local_dir.absolute())
    file = embedded.local_dir / "replication.png"
    try:
        screenshot.take(embedded.airflow, file)
        picture = f"a picture of it: {os.path.relpath(file)}"
    except RetailSyncError as error:
        picture = f"no picture of it: {error}"
    console.print(f"The page Replication: {embedded.airflow.page}", f"      {picture}", sep="\n")


def _dates(window: Window) -> dict[str, Any]:
    return {"start_date": window.start.isoformat(), "end_date": window.last_day.isoformat()}


def _night(embedded: Embedded, window: Window, console: Console) -> Fixes:
    """Change rows at the source that were copied already, and let the nightly run repair them."""
    planted = night.plant(embedded.postgres.dsn(SOURCE), window.last_day)
    console.print(
        f"[bold]5/5[/] DAG {_NIGHTLY}: {planted} rows were changed at the source meanwhile, most on the day before"
        f" {window.last_day}"
    )
    warehouse = _warehouse(embedded)
    run_id = _run(embedded, _NIGHTLY, night.conf(window.last_day), console)
    return night.tell(_source(embedded), warehouse, run_id, planted, window, console)


def _run(embedded: Embedded, dag_id: str, conf: dict[str, Any], console: Console) -> str:
    engine, settings = _warehouse(embedded).metadata(), Settings()
    told: set[tuple[str, str]] = set()

    def watch(run_id: str) -> None:
        if dag_id == _DAG:
            told.update(_tell(rows_of_run(engine, run_id), told, console))

    return run_dag(embedded.airflow, dag_id, conf, _due(dag_id, datetime.now(settings.zone), settings), watch)


def _due(dag_id: str, moment: datetime, settings: Settings) -> datetime:
    """Return the logical date of the last scheduled run: the beginning of its data interval."""
    if dag_id == _DAG:
        return datetime.combine(month_before(moment, settings.zone).start, time_of_day.min, settings.zone)
    ended = moment.replace(hour=_NIGHTLY_HOUR, minute=0, second=0, microsecond=0)
    return ended - timedelta(days=1 if ended <= moment else 2)


def _tell(rows: list[dict[str, Any]], told: set[tuple[str, str]], console: Console) -> set[tuple[str, str]]:
    """Print a line for each window that is finished and was not told yet; returns those."""
    new = [row for row in rows if row["finished_at"] and (row["table_name"], row["window_name"]) not in told]
    for row in new:
        count = f"{row['rows_published'] or 0:>9,} rows"
        console.print(f"      {row['table_name']:<27} {row['window_name']:<8} {row['status']:<9} {count}")
    return {(row["table_name"], row["window_name"]) for row in new}


def _prove(embedded: Embedded, window: Window, run_id: str, console: Console) -> list[dict[str, Any]]:
    source = _source(embedded)
    warehouse = _warehouse(embedded)
    done = {(row["table_name"], row["window_name"]): row for row in rows_of_run(warehouse.metadata(), run_id)}
    grid = Grid(
        Column("table", no_wrap=True),
        Column("month", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in ("source", "warehouse")),
        Column("sums", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in ("seconds", "rows/s")),
        title="rows and checksums of source and warehouse, compared anew",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    windows = []
    for table in catalog.load().group("sales"):
        for span in spans(window):
            found = compare(source, warehouse, table, span, Level.CHECKSUM)
            figures = _figures(found, done[table.name, span.name])
            windows.append(figures)
            rate = f"{figures['rows_s']:,.0f}" if figures["rows_s"] else ""
            grid.add_row(
                *(table.name, span.name, f"{found.source.rows:,}", f"{found.copy.rows:,}"),
                *("equal" if found.equal else "[red]DIFFERENT[/]", f"{figures['seconds']:.2f}", rate),
            )
    console.print(grid)
    return windows


def _figures(found: Comparison, row: dict[str, Any]) -> dict[str, Any]:
    parts = ("seconds_loading", "seconds_publishing", "seconds_verifying")
    seconds = sum(row[part] or 0.0 for part in parts)
    return {
        "table": found.table,
        "month": found.window,
        "source_rows": found.source.rows,
        "warehouse_rows": found.copy.rows,
        "equal": found.equal,
        "seconds": round(seconds, 3),
        "rows_s": round((row["rows_read"] or 0) / seconds) if seconds else 0,
    }


def _source(embedded: Embedded) -> Source:
    return source_of(parse(SOURCE, embedded.postgres.uri(SOURCE)))


def _warehouse(embedded: Embedded) -> Warehouse:
    return warehouse_of(parse(WAREHOUSE, embedded.postgres.uri(WAREHOUSE)), Settings())
