"""
The run record in the warehouse: ``etl_progress``, a row per run, table and window.

Dates in it are inclusive, times are UTC. ``published`` is written in the transaction that
makes the rows visible, so the record can be trusted about what readers see.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from include.catalog import Table
from include.errors import RetailSyncError
from include.metadata import etl_progress, now
from include.windows import WHOLE, Span, Window, month_keys

log = logging.getLogger(__name__)


class Phase(StrEnum):
    """What a run does with a window."""

    LOAD = "load"
    FIX = "fix"
    SWEEP = "sweep"


class Status(StrEnum):
    """How far a window is; ``unchanged`` is a table that is refreshed whole and was not touched at the source."""

    RUNNING = "running"
    PUBLISHED = "published"
    VERIFIED = "verified"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    NOT_EXPOSED = "not_exposed"


@dataclass(frozen=True)
class ProgressRow:
    """The row of one window and phase in one run."""

    engine: sa.Engine
    run_id: str
    table: Table
    span: Span
    phase: Phase = Phase.LOAD

    def start(self, attempt: int) -> None:
        """Begin the row, or begin it anew, as ``running``."""
        fresh: dict[str, Any] = {
            column.name: None
            for column in etl_progress.columns
            if column.nullable and column.name not in ("from_date", "to_date", "phase")
        }
        fresh |= {"status": Status.RUNNING, "attempt": attempt, "started_at": now()}
        with self.engine.connect() as connection:
            if connection.execute(self.update(fresh)).rowcount:
                return
            key = {
                "run_id": self.run_id,
                "table_name": self.table.name,
                "window_name": self.span.name,
                "phase": self.phase,
                "from_date": self.span.start if isinstance(self.span, Window) else None,
                "to_date": self.span.last_day if isinstance(self.span, Window) else None,
            }
            connection.execute(etl_progress.insert().values({**fresh, **key}))

    def update(self, values: Mapping[str, Any]) -> sa.Update:
        """Return the statement that sets columns of the row."""
        return (
            etl_progress.update()
            .where(
                etl_progress.c.run_id == self.run_id,
                etl_progress.c.table_name == self.table.name,
                etl_progress.c.window_name == self.span.name,
                etl_progress.c.phase == self.phase,
            )
            .values(dict(values))
        )

    def finish(self, status: Status, values: Mapping[str, Any]) -> None:
        """Close the row."""
        with self.engine.connect() as connection:
            connection.execute(self.update({**values, "status": status, "finished_at": now()}))

    def note(self, values: Mapping[str, Any]) -> None:
        """Set columns that only tell how far the window is: the work goes on where that cannot be."""
        try:
            with self.engine.connect() as connection:
                connection.execute(self.update(values))
        except (RetailSyncError, sa.exc.SQLAlchemyError) as error:
            log.warning(
                "%s %s: how far it is was not recorded: %s", self.table.name, self.span.name, type(error).__name__
            )

    def was_published(self) -> bool:
        """Whether any run has ever published this window."""
        query = sa.select(sa.literal(1)).where(
            etl_progress.c.table_name == self.table.name,
            etl_progress.c.window_name == self.span.name,
            etl_progress.c.status.in_([Status.PUBLISHED, Status.VERIFIED, Status.UNCHANGED]),
        )
        with self.engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def close_dead(self) -> int:
        """
        Close what dead runs left as ``running`` in what this window locks; returns how many.

        Only for the holder of the window's lock: whoever wrote those rows held it too.
        """
        own_months = etl_progress.c.window_name == self.span.name
        if locks_whole_table(self.table, self.span, self.phase):
            own_months = sa.true()
        elif isinstance(self.span, Window):
            keys = month_keys(self.span)
            first, last = (Window.parse(f"{key}-01/{key}-02") for key in (keys[0], keys[-1]))
            own_months = sa.and_(
                etl_progress.c.from_date >= first.start,
                etl_progress.c.to_date <= Window.of_month(last.start).last_day,
            )
        statement = (
            etl_progress.update()
            .where(
                etl_progress.c.table_name == self.table.name,
                etl_progress.c.status == Status.RUNNING,
                own_months,
            )
            .values(status=Status.FAILED, error="the process died", finished_at=now())
        )
        with self.engine.connect() as connection:
            return connection.execute(statement).rowcount


def locks_whole_table(table: Table, span: Span, phase: Phase) -> bool:
    """Whether nothing else may be done to the table meanwhile: only months of a table are replaced side by side."""
    return table.strategy == "refresh" or phase is not Phase.LOAD or span == WHOLE


def rows_of_run(engine: sa.Engine, run_id: str, table_name: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a run, as dictionaries, in the order in which they were begun."""
    query = sa.select(etl_progress).where(etl_progress.c.run_id == run_id)
    if table_name:
        query = query.where(etl_progress.c.table_name == table_name)
    return _fetch(engine, query.order_by(etl_progress.c.started_at, etl_progress.c.id))


def failures_of_run(engine: sa.Engine, run_id: str, phases: Iterable[Phase] = tuple(Phase)) -> list[str]:
    """Return what failed in a run or was not finished, a text each that names table, window and error."""
    wanted = set(phases)
    return [
        f"{row['table_name']} {row['window_name']}: {row['error'] or 'not finished'}"
        for row in rows_of_run(engine, run_id)
        if row["status"] in (Status.FAILED, Status.RUNNING) and row["phase"] in wanted
    ]


def latest_rows(engine: sa.Engine, table_names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the newest row of each table, window and phase."""
    newest = (
        sa.select(sa.func.max(etl_progress.c.id))
        .where(etl_progress.c.table_name.in_(list(table_names)))
        .group_by(etl_progress.c.table_name, etl_progress.c.window_name, etl_progress.c.phase)
    )
    query = sa.select(etl_progress).where(etl_progress.c.id.in_(newest))
    return _fetch(engine, query.order_by(etl_progress.c.table_name, etl_progress.c.window_name))


def _fetch(engine: sa.Engine, query: sa.Select[Any]) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
