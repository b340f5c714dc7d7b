"""What source and warehouse had on each day when they were compared last, and what was repaired of a day."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import sqlalchemy as sa

from include.catalog import Table
from include.engines.base import DaySum, Digest
from include.errors import RetailSyncError
from include.metadata import now, replica_days, replica_fixes
from include.windows import Span, Window

log = logging.getLogger(__name__)

_NO_ROWS = DaySum(0)


@dataclass(frozen=True)
class DayFix:
    """The rows of a day that have to be inserted, updated and deleted there."""

    day: date
    inserted: int
    updated: int
    deleted: int


def keep_days(engine: sa.Engine, run_id: str, table: Table, span: Span, source: Digest, copy: Digest) -> None:
    """
    Put the counts of a window's days in the place of what was recorded of them before, also of days without rows.

    They are for people to look at: the work goes on where they cannot be written. What is no window has no days.
    """
    if not isinstance(span, Window):
        return
    compared_at, rows = now(), []
    for day in (span.start + timedelta(days=number) for number in range(span.days)):
        ours, theirs = source.days.get(day, _NO_ROWS), copy.days.get(day, _NO_ROWS)
        rows.append(
            {
                "table_name": table.name,
                "day": day,
                "rows_source": ours.rows,
                "rows_warehouse": theirs.rows,
                "equal": ours == theirs,
                "run_id": run_id,
                "compared_at": compared_at,
            }
        )
    before = replica_days.delete().where(
        replica_days.c.table_name == table.name, replica_days.c.day.between(span.start, span.last_day)
    )
    try:
        with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            connection.execute(before)
            connection.execute(replica_days.insert(), rows)
    except (RetailSyncError, sa.exc.SQLAlchemyError) as error:
        # an audit holds no lock, so another run may have written the same days at this moment
        log.warning("%s %s: the counts of its days were not recorded: %s", table.name, span.name, type(error).__name__)


def fix_statements(run_id: str, table: Table, fixes: Sequence[DayFix]) -> Sequence[sa.Executable]:
    """Return what records the repairs of a run by day, for the transaction that makes them."""
    statements: list[sa.Executable] = []
    for fix in fixes:
        key = {"run_id": run_id, "table_name": table.name, "day": fix.day}
        counts = {"rows_inserted": fix.inserted, "rows_updated": fix.updated, "rows_deleted": fix.deleted}
        statements += [
            replica_fixes.delete().where(*(replica_fixes.c[name] == value for name, value in key.items())),
            replica_fixes.insert().values(**key, **counts, fixed_at=now()),
        ]
    return statements
