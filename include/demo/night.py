"""
The demo's night: fixes are planted at the source after it was copied, and the nightly run repairs them.

All on the day before the last of the sample data, but for one sale that was changed three weeks
late; the run loads the last day, checks the day before, and sweeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.table import Column
from rich.table import Table as Grid

from include import catalog
from include.demo.changes import hard_delete, late_arrival, late_fix, move_date, void
from include.engines.base import Level, Source, Warehouse
from include.replication.progress import Phase, rows_of_run
from include.replication.verify import compare
from include.windows import Window, spans

_ROWS = 5
_SEED = 7
_LATE_DAYS = 21
TABLES = ("APP_4_SALES", "APP_4_SALESITEM", "APP_4_PAYMENT")


@dataclass(frozen=True)
class Fixes:
    """Rows that were changed at the source, that the run found, and put in place; days that still differ."""

    planted: int
    found: int
    repaired: int
    remaining: int

    def as_dict(self) -> dict[str, int]:
        """Return the figures for the result file."""
        return asdict(self)


def plant(dsn: str, last_day: date) -> int:
    """Change rows at the source as a chain's tills do; returns how many."""
    day = Window(last_day - timedelta(days=1), last_day)
    late = Window(day.start - timedelta(days=_LATE_DAYS), day.end - timedelta(days=_LATE_DAYS))
    planted = 0
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        for number, name in enumerate(TABLES):
            table, seed = catalog.load()[name], _SEED + number
            gone = hard_delete(connection, table, day, _ROWS, seed + 500)
            changed: list[Sequence[Any]] = [
                *late_fix(connection, table, day, _ROWS, seed),
                *void(connection, table, day, _ROWS, seed + 100),
                *move_date(connection, table, day, _ROWS, seed + 200, to=last_day - timedelta(days=40)),
                *late_arrival(connection, table, day, _ROWS, seed + 300),
                *late_fix(connection, table, late, 1, seed + 400),
            ]
            planted += len({tuple(key) for key in (*changed, *gone)})
    return planted


def conf(last_day: date) -> dict[str, Any]:
    """Return the conf of the nightly run that finds them."""
    return {"date": last_day.isoformat(), "tables": list(TABLES)}


def tell(source: Source, warehouse: Warehouse, run_id: str, planted: int, window: Window, console: Console) -> Fixes:
    """Print what the run found, and compare the changed tables anew."""
    rows = [row for row in rows_of_run(warehouse.metadata(), run_id) if row["phase"] != Phase.LOAD]
    numbers = ("inserted", "updated", "deleted", "unchanged")
    grid = Grid(
        *(Column(name, no_wrap=True) for name in ("table", "phase", "days")),
        *(Column(name, justify="right") for name in numbers),
        box=box.SIMPLE_HEAD,
    )
    for row in rows:
        counts = [row[f"rows_{name}"] or 0 for name in numbers]
        if any(counts[:3]):
            days = row["window_name"]
            grid.add_row(row["table_name"], row["phase"], days, *(f"{count:,}" for count in counts))
    console.print(grid)
    repaired = sum(row[f"rows_{name}"] or 0 for row in rows for name in numbers[:3])
    remaining = sum(
        len(compare(source, warehouse, catalog.load()[name], span, Level.CHECKSUM).days)
        for name in TABLES
        for span in spans(window)
    )
    found = sum((row["rows_read"] or 0) + (row["rows_deleted"] or 0) for row in rows)
    return Fixes(planted, found, repaired, remaining)
