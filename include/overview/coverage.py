"""The heat map: each month of each table, how it is, and what is in the warehouse of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from include.catalog import Table
from include.overview import coverage_query as queries
from include.overview.coverage_cell import Cell, Month
from include.overview.parts import LETTERS, Letter, unix, whole
from include.windows import UNDATED, Window, months

#: The key of missing cells among the counts.
MISSING = "m"
_DAGS = {"window": "sales_replication", "refresh": "reference_tables"}

_Months = dict[str, Month]


def coverage(engine: sa.Engine, tables: Iterable[Table], today: date, zone: ZoneInfo) -> dict[str, Any]:
    """
    Return the coverage of the tables that are loaded by windows, and of refreshed ones of which windows were loaded.

    Cells are ``[month, letter, rows, bytes, seconds, checksum, at, run, note]``, trailing nulls cut, ``month`` and
    ``run`` places in ``months`` and ``runs``. A month without a cell is missing if it lies between the table's first
    month and the last one that has ended. ``undated`` is the cell of the rows without a date, its month null.

    :param today: the present day in the business timezone ``zone``.
    """
    chosen = [table for table in tables if table.date]
    names = [table.name for table in chosen]
    with engine.connect() as connection:
        found, undated = _gather(connection, names)
    kept = [table for table in chosen if table.strategy == "window" or found.get(table.name)]
    first = min((min(of_table) for of_table in found.values() if of_table), default=f"{today:%Y-%m}")
    names_of_months = [month.start.isoformat()[:7] for month in months(_through(first, today))]
    page = _Page({name: place for place, name in enumerate(names_of_months)}, today)
    shown = [page.table(table, found.get(table.name, {}), undated.get(table.name)) for table in kept]
    return {
        "zone": zone.key,
        "months": names_of_months,
        "runs": list(page.runs),
        "tables": shown,
        "totals": [[place, *sums] for place, sums in sorted(page.totals.items())],
        "counts": dict(page.counts),
    }


def _gather(connection: sa.Connection, names: Sequence[str]) -> tuple[dict[str, _Months], dict[str, Any]]:
    """Return what is known of each month of each table, and the newest row of the undated rows of each."""
    found: dict[str, _Months] = {}
    undated: dict[str, Any] = {}

    def month_of(table: str, name: str) -> Month:
        of_table = found.setdefault(table, {})
        if name not in of_table:
            of_table[name] = Month(Window.of_month(date.fromisoformat(f"{name}-01")))
        return of_table[name]

    for row in queries.months_of(connection, names):
        if row["month"] == UNDATED.name:
            undated[row["table_name"]] = row
        else:
            month_of(row["table_name"], row["month"]).whole = row
    for row in queries.days_of(connection, names):
        month_of(row["table_name"], row["month"]).parts.append(row)
    for (table, name), moment in queries.fixed_at(connection, names).items():
        month_of(table, name).fixed_at = moment
    for row in queries.differences_of(connection, names):
        for part in months(Window.inclusive(row["from_date"], row["to_date"])):
            month_of(row["table_name"], part.start.isoformat()[:7]).differences.append(row)
    for (table, name), moment in queries.equal_months(connection, names).items():
        month_of(table, name).equal_at = moment
    return found, undated


@dataclass
class _Page:
    """Collects runs and totals while the tables are written."""

    places: Mapping[str, int]
    today: date
    runs: dict[str, int] = field(default_factory=dict)
    totals: dict[int, list[int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def table(self, table: Table, found: _Months, undated: Any) -> dict[str, Any]:
        since = min((day for month in found.values() if (day := month.first_day)), default=self.today)
        made = {name: cell for name, month in found.items() if (cell := month.cell(since, self.today))}
        if undated is not None and LETTERS[undated["status"]] is Letter.NOT_EXPOSED:
            gone = Cell(Letter.NOT_EXPOSED, at=unix(undated["finished_at"]), run=undated["run_id"])
            made = {name: made.get(name, gone) for name in self.places}
        cells = [self._written(self.places[name], cell) for name, cell in sorted(made.items()) if name in self.places]
        self._count(made)
        return {
            "name": table.name,
            "group": table.groups[0] if table.groups else None,
            "dag": _DAGS[table.strategy],
            "cells": cells,
            "rows": sum(cell.rows or 0 for cell in made.values()),
            "bytes": sum(cell.bytes or 0 for cell in made.values()),
            "undated": None if undated is None else self._written(None, _undated(undated)),
        }

    def _count(self, made: Mapping[str, Cell]) -> None:
        """Add the cells to the totals, and those that are missing."""
        if not made:
            return
        ended = f"{self.today:%Y-%m}"
        for name, place in self.places.items():
            cell = made.get(name)
            if cell is None and not min(made) <= name < ended:
                continue
            sums = self.totals.setdefault(place, [0, 0, 0, 0])
            sums[3] += 1
            self.counts[cell.letter.value if cell else MISSING] += 1
            if cell:
                sums[0] += cell.rows or 0
                sums[1] += cell.bytes or 0
                sums[2] += cell.letter is Letter.VERIFIED

    def _written(self, place: int | None, cell: Cell) -> list[Any]:
        run = None if cell.run is None else self.runs.setdefault(cell.run, len(self.runs))
        values = [place, cell.letter, cell.rows, cell.bytes, cell.seconds, cell.checksum, cell.at, run, cell.note]
        while values[-1] is None:
            values.pop()
        return values


def _undated(row: Any) -> Cell:
    return Cell(
        LETTERS[row["status"]],
        whole(row["rows_published"]),
        whole(row["size"]),
        None if row["good_at"] is None else round(row["seconds"], 1),
        row["checksum"],
        unix(row["finished_at"]),
        row["run_id"],
        row["error"],
    )


def _through(first: str, today: date) -> Window:
    """Return the days from a month to the end of the present one."""
    start = date.fromisoformat(f"{first}-01")
    return Window(min(start, today.replace(day=1)), Window.of_month(max(start, today)).end)
