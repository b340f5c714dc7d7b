"""
Quality metrics of a replica, asked of the warehouse itself, in the SQL that both engines share.

A table with a date is measured over the days of a window, one that is refreshed is measured whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import quoted_name

from include.catalog import Table
from include.catalog.models import Metric, Threshold
from include.maintenance.upkeep import typed_columns, typed_name
from include.metadata import data_quality_metrics, now, upsert
from include.windows import Window

log = logging.getLogger(__name__)

_WEEKS = 8


@dataclass(frozen=True)
class Measurement:
    """A metric of a table; ``details`` name columns and counts, never the content of a row."""

    table: str
    metric: Metric
    window: Window | None
    value: float | None
    """None where there is nothing to compare with."""
    rows: int
    threshold: Threshold
    details: str | None = None

    @property
    def breach(self) -> str | None:
        """``warn`` or ``fail`` where the value is over the threshold."""
        return self.threshold.breach if self.value is not None and self.value > self.threshold.most else None

    def __str__(self) -> str:
        details = f" ({self.details})" if self.details else ""
        value = "unknown" if self.value is None else f"{self.value:.6g}"
        return f"{self.table} {self.metric} is {value}, at most {self.threshold.most:.6g} is allowed{details}"


def measure(
    engine: sa.Engine, run_id: str, table: Table, parent: Table | None, window: Window | None
) -> Iterator[Measurement]:
    """
    Measure what the catalog has a threshold for, write it into ``data_quality_metrics``, and return it.

    :param parent: the table of which each row needs a row.
    :param window: the days that are measured of a table with a date.
    """
    dated = table.strategy == "window" and (not table.date_is_text or table.date in table.typed)
    with engine.connect() as connection:
        ruler = _Ruler(connection, table, parent, window if dated else None)
        for metric, threshold in table.quality.items():
            found = ruler.measure(metric)
            if found is None:
                continue
            measurement = Measurement(
                table.name, metric, found.window, found.value, found.rows, threshold, found.details
            )
            _write(connection, run_id, measurement)
            if measurement.breach:
                log.warning("%s", measurement)
            yield measurement


@dataclass(frozen=True)
class _Found:
    value: float | None
    rows: int
    window: Window | None
    details: str | None = None


@dataclass(frozen=True)
class _Ruler:
    """Measures one table; each metric is None where the table cannot have it."""

    connection: sa.Connection
    table: Table
    parent: Table | None
    window: Window | None

    def measure(self, metric: Metric) -> _Found | None:
        metrics: dict[Metric, Callable[[], _Found | None]] = {
            "null_keys": self._null_keys,
            "duplicate_keys": self._duplicate_keys,
            "unreadable_dates": self._unreadable_dates,
            "orphans": self._orphans,
            "volume": self._volume,
        }
        return metrics[metric]()

    @cached_property
    def _rows(self) -> int:
        """How many rows are measured."""
        return self._count(self._relation, self._inside(self._relation))

    @cached_property
    def _relation(self) -> sa.FromClause:
        """What holds the rows: the replica, or the view where only that has the date as one."""
        name = self.table.view if self._day_is_typed else self.table.target_table
        return _relation(self.table, name).alias("measured")

    @property
    def _day_is_typed(self) -> bool:
        return self.window is not None and self.table.date_is_text

    def _inside(self, relation: sa.FromClause) -> sa.ColumnElement[bool]:
        """Return the condition that a row is measured."""
        if self.window is None:
            return sa.true()
        name = self.table.date or ""
        day = relation.c[typed_name(name) if self._day_is_typed else name]
        return sa.and_(day >= self.window.start, day < self.window.end)

    def _count(self, relation: sa.FromClause, *conditions: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(relation).where(*conditions)
        return int(self.connection.execute(query).scalar_one())

    def _null_keys(self) -> _Found | None:
        if not self.table.key:
            return None
        keys = [self._relation.c[name] for name in self.table.key]
        found = self._count(self._relation, self._inside(self._relation), sa.or_(*(key.is_(None) for key in keys)))
        return _Found(found, self._rows, self.window)

    def _duplicate_keys(self) -> _Found | None:
        """Count keys that are there more than once, be it that one of the rows lies outside of the window."""
        if not self.table.key:
            return None
        everywhere = _relation(self.table, self.table.target_table)
        keys = [everywhere.c[name] for name in self.table.key]
        twice = sa.select(*keys).group_by(*keys).having(sa.func.count() > 1)
        if self.window is None:
            twice = twice.where(*(key.is_not(None) for key in keys))
        else:
            measured = [self._relation.c[name] for name in self.table.key]
            inside = sa.select(*measured).where(self._inside(self._relation)).distinct().subquery("inside")
            same = sa.and_(*(key == inside.c[key.name] for key in keys))
            twice = twice.select_from(everywhere.join(inside, same)).where(*self._near(keys[0]))
        return _Found(self._count(twice.subquery("twice")), self._rows, self.window)

    def _near(self, key: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
        """Keys grow with time: the range of those that are measured spares the server most of the others."""
        if self.table.columns[key.name].base not in ("int", "bigint"):
            return []
        measured = self._relation.c[key.name]
        bounds = sa.select(sa.func.min(measured), sa.func.max(measured)).where(self._inside(self._relation))
        low, high = self.connection.execute(bounds).one()
        return [] if low is None else [key.between(low, high)]

    def _unreadable_dates(self) -> _Found | None:
        """Return the share of texts that the view shows as NULL."""
        typed = list(typed_columns(self.table, list(self.table.columns)))
        if not typed:
            return None
        view = _relation(self.table, self.table.view)
        counts: list[sa.ColumnElement[int]] = []
        for name in typed:
            is_text = sa.func.rtrim(_as_text(self.table, view.c[name])) != ""
            counts += [_sum(is_text), _sum(sa.and_(is_text, view.c[typed_name(name)].is_(None)))]
        answer = self.connection.execute(sa.select(*counts).where(self._inside(view))).one()
        texts, unreadable = answer[::2], answer[1::2]
        told = [f"{name}: {bad} of {all_}" for name, all_, bad in zip(typed, texts, unreadable, strict=True) if bad]
        share = sum(unreadable) / sum(texts) if sum(texts) else 0.0
        return _Found(share, self._rows, self.window, ", ".join(told) or None)

    def _orphans(self) -> _Found | None:
        """Return the share of rows that name no row of the parent; one that names nothing is an orphan too."""
        link = self.table.parent
        if link is None or self.parent is None or not self.parent.columns:
            return None
        parents = _relation(self.parent, self.parent.target_table).alias("parents")
        above = sa.exists().where(parents.c[link.parent_column] == self._relation.c[link.column])
        found = self._count(self._relation, self._inside(self._relation), ~above)
        share = found / self._rows if self._rows else 0.0
        told = f"{found} rows whose {link.column} is no {link.parent_column} of {link.table}" if found else None
        return _Found(share, self._rows, self.window, told)

    def _volume(self) -> _Found | None:
        """Return how far the last day is off the mean of the same weekdays before it that have rows."""
        if self.window is None or self.table.date_is_text:
            return None
        last = self.window.last_day
        days = [last - timedelta(weeks=weeks) for weeks in range(_WEEKS + 1)]
        moment = self._relation.c[self.table.date or ""]
        day = sa.cast(moment, sa.DATE())
        wanted = sa.or_(*(sa.and_(moment >= day_, moment < day_ + timedelta(days=1)) for day_ in days))
        answer = self.connection.execute(sa.select(day, sa.func.count()).where(wanted).group_by(day))
        rows: dict[date, int] = {row[0]: row[1] for row in answer}
        today = rows.pop(last, 0)
        mean = sum(rows.values()) / len(rows) if rows else None
        told = f"mean of {len(rows)} such weekdays: {mean:.1f}" if mean else None
        return _Found(abs(today / mean - 1) if mean else None, today, Window.inclusive(last, last), told)


def _relation(table: Table, name: str) -> sa.TableClause:
    """Return a replica or its view; names are always quoted."""
    columns = [*table.columns, *(typed_name(column) for column in table.typed)]
    schema = quoted_name(table.target_schema, quote=True)
    return sa.table(quoted_name(name, quote=True), *map(_column, columns), schema=schema)


def _column(name: str) -> sa.ColumnClause[Any]:
    return sa.column(quoted_name(name, quote=True))


def _as_text(table: Table, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """T-SQL compares no ``text``, ``ntext`` or ``xml``."""
    return sa.cast(column, sa.Unicode()) if table.columns[column.name].base in ("text", "ntext", "xml") else column


def _sum(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _write(connection: sa.Connection, run_id: str, found: Measurement) -> None:
    key = {"run_id": run_id, "table_name": found.table, "metric": found.metric}
    values = {
        "from_date": found.window.start if found.window else None,
        "to_date": found.window.last_day if found.window else None,
        "value": found.value,
        "rows_counted": found.rows,
        "threshold": found.threshold.most,
        "breach": found.breach,
        "details": found.details,
        "measured_at": now(),
    }
    upsert(connection, data_quality_metrics, key, values)
