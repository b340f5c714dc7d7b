"""Maintain tables one after another; an error of one stops no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from include import catalog
from include.catalog import Catalog, Table
from include.connections import Connection
from include.engines.base import Warehouse
from include.errors import BadRequest, RetailSyncError, TransientError
from include.maintenance.dimensions import audit
from include.maintenance.quality import Measurement, measure
from include.maintenance.request import Request, Step, measured_days
from include.maintenance.upkeep import IndexChanges, upkeep_of
from include.replication.claims import whole_table
from include.replication.history import latest_day
from include.settings import Settings
from include.windows import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """What could not be done to a table."""

    table: str
    step: Step
    error: RetailSyncError

    @property
    def is_transient(self) -> bool:
        """Whether another try may succeed."""
        return isinstance(self.error, TransientError)

    def __str__(self) -> str:
        return f"{self.step.value}: {self.error}"


@dataclass
class Report:
    """What a maintenance did, by table."""

    indexes: dict[str, IndexChanges] = field(default_factory=dict)
    views: list[str] = field(default_factory=list)
    """The tables whose view was made or changed."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows of the tables that were audited."""
    measured: list[Measurement] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What makes the run fail: what could not be done, and breaches that are to fail it."""
        return [*map(str, self.failures), *(str(found) for found in self.measured if found.breach == "fail")]

    def as_dict(self) -> dict[str, Any]:
        """Return counts for XCom."""
        return {
            "indexes_made": sum(len(changes.made) for changes in self.indexes.values()),
            "indexes_dropped": sum(len(changes.dropped) for changes in self.indexes.values()),
            "views_changed": len(self.views),
            "tables_audited": len(self.rows),
            "metrics": len(self.measured),
            "breaches": sum(found.breach is not None for found in self.measured),
            "problems": len(self.problems),
        }


@dataclass(frozen=True)
class Maintenance:
    """Where a maintenance works, and under which name it is recorded."""

    run_id: str
    warehouse: Warehouse
    control: Connection
    settings: Settings
    holder: str = "retail-sync"
    catalog: Catalog = field(default_factory=catalog.load)


def maintain(work: Maintenance, request: Request, steps: Iterable[Step] = tuple(Step)) -> Report:
    """
    Do steps to all tables of a request; what is right already is left alone.

    Errors are collected in the report, for each table and step.
    """
    running = _Running(work, request, Report())
    for step in steps:
        running.run(step)
    return running.report


@dataclass(frozen=True)
class _Running:
    work: Maintenance
    request: Request
    report: Report

    def run(self, step: Step) -> None:
        actions: dict[Step, Callable[[Table], None]] = {
            Step.UPKEEP: self._upkeep,
            Step.DIMENSIONS: self._audit,
            Step.QUALITY: self._measure,
        }
        for table in self.request.tables:
            try:
                actions[step](table)
            except RetailSyncError as error:
                log.error("%s", error)  # noqa: TRY400 (the message says all, a traceback hides it)
                self.report.failures.append(Failure(table.name, step, error))

    def _upkeep(self, table: Table) -> None:
        work, upkeep = self.work, upkeep_of(self.work.warehouse)
        with whole_table(work.control, table, holder=work.holder, wait=work.settings.lock_wait):
            changes = self.report.indexes[table.name] = upkeep.indexes(table)
            if table.typed and upkeep.view(table):
                self.report.views.append(table.name)
            upkeep.statistics(table)
        log.info("%s: %s indexes made, %s dropped", table.name, len(changes.made), len(changes.dropped))

    def _audit(self, table: Table) -> None:
        if table.strategy == "refresh":
            self.report.rows[table.name] = audit(self.work.warehouse, self.work.run_id, table)

    def _measure(self, table: Table) -> None:
        window = self._window if table.strategy == "window" else None
        parent = self.work.catalog[table.parent.table] if table.parent else None
        for found in measure(self.work.warehouse.metadata(), self.work.run_id, table, parent, window):
            self.report.measured.append(found)

    @cached_property
    def _window(self) -> Window:
        day = self.request.day or latest_day(self.work.warehouse.metadata())
        if day is None:
            raise BadRequest("no nightly run has loaded a day yet: give a date")
        return measured_days(day)
