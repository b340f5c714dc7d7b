"""The history of runs in the warehouse: what was asked for, when it really began and ended, how it went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from include.metadata import etl_progress, now, replica_run_history, upsert
from include.replication.progress import Phase
from include.windows import Window


class RunType(StrEnum):
    """Why rows were copied."""

    T0 = "T0"
    T1 = "T1"
    SCHEDULED = "scheduled"
    BACKFILL = "backfill"
    MANUAL = "manual"
    REFERENCE = "reference"
    AUDIT = "audit"


@dataclass(frozen=True)
class RunRecord:
    """The row of one run and type."""

    engine: sa.Engine
    run_id: str
    run_type: RunType

    def begin(self, window: Window | None, tables: Iterable[str], started: datetime | None = None) -> None:
        """
        Write the row, or begin it anew; ``success`` is NULL until ``end``.

        :param started: when the run began, now by default.
        """
        values: dict[str, Any] = {
            "from_date": window.start if window else None,
            "to_date": window.last_day if window else None,
            "tables": ", ".join(tables),
            "started_at": started or now(),
            **dict.fromkeys(("finished_at", "success", "rows_loaded", "rows_fixed", "error")),
        }
        with self.engine.connect() as connection:
            key = {"run_id": self.run_id, "run_type": self.run_type}
            upsert(connection, replica_run_history, key, values)

    def end(self, errors: Iterable[str], phases: Iterable[Phase] = tuple(Phase)) -> None:
        """
        Close the row with what ``etl_progress`` says of the run.

        :param errors: what failed; none of it means success.
        :param phases: the phases of the run whose rows are counted.
        """
        text = "; ".join(errors) or None
        fixed = sum(
            (sa.func.coalesce(etl_progress.c[name], 0) for name in ("rows_inserted", "rows_updated", "rows_deleted")),
            sa.literal(0),
        )
        counted = sa.select(
            sa.func.sum(sa.case((etl_progress.c.phase == Phase.LOAD, etl_progress.c.rows_read), else_=0)),
            sa.func.sum(sa.case((etl_progress.c.phase != Phase.LOAD, fixed), else_=0)),
        ).where(etl_progress.c.run_id == self.run_id, etl_progress.c.phase.in_(list(phases)))
        with self.engine.connect() as connection:
            loaded, repaired = connection.execute(counted).one()
            connection.execute(
                replica_run_history.update()
                .where(replica_run_history.c.run_id == self.run_id, replica_run_history.c.run_type == self.run_type)
                .values(
                    finished_at=now(),
                    success=text is None,
                    rows_loaded=int(loaded or 0),
                    rows_fixed=int(repaired or 0),
                    error=text,
                )
            )


def latest_day(engine: sa.Engine) -> date | None:
    """Return the last business day that a nightly run has loaded, None before the first."""
    query = (
        sa.select(replica_run_history.c.to_date)
        .where(replica_run_history.c.run_type == RunType.T0)
        .order_by(replica_run_history.c.started_at.desc())
    )
    with engine.connect() as connection:
        found: date | None = connection.execute(query.limit(1)).scalar()
        return found


def history_of(engine: sa.Engine, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of a run, as dictionaries, in the order in which they were begun."""
    query = sa.select(replica_run_history).where(replica_run_history.c.run_id == run_id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query.order_by(replica_run_history.c.id)).mappings()]
