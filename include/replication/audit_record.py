"""The findings of audits in the warehouse: ``replica_audit``, a row a span and one for each day that differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from include.catalog import Table
from include.engines.base import Level
from include.metadata import now, replica_audit
from include.windows import Span, Window

#: Keys of each kind that are kept of a day.
MOST_KEYS = 100


@dataclass(frozen=True)
class Finding:
    """What was found of a span, or of a day of it that differs; a row of ``replica_audit``."""

    table: str
    span: Span
    rows_source: int
    rows_warehouse: int
    equal: bool
    found_by: Level
    """The level that showed a difference, or that showed there is none."""
    rows_missing: int | None = None
    rows_extra: int | None = None
    rows_different: int | None = None
    keys: str | None = None
    """JSON: the keys of ``missing``, ``different`` and ``extra`` rows, the lowest ``MOST_KEYS`` of each as text."""
    repaired: bool = False
    audited_at: datetime = field(default_factory=now)

    @property
    def is_differing_day(self) -> bool:
        """Whether this is a day that differs, or the undated rows that do, and not a longer span."""
        return not self.equal and (not isinstance(self.span, Window) or self.span.days == 1)

    def as_record(self, run_id: str) -> dict[str, Any]:
        """Return the columns of ``replica_audit``."""
        window = self.span if isinstance(self.span, Window) else None
        return {
            "run_id": run_id,
            "table_name": self.table,
            "window_name": self.span.name,
            "from_date": window.start if window else None,
            "to_date": window.last_day if window else None,
            "found_by": self.found_by.value,
            **{name: getattr(self, name) for name in _NAMES},
        }


_NAMES = (
    *("rows_source", "rows_warehouse", "equal", "rows_missing", "rows_extra", "rows_different", "keys"),
    *("repaired", "audited_at"),
)


def keep(engine: sa.Engine, run_id: str, table: Table, findings: Sequence[Finding]) -> None:
    """Put findings in the place of what the run has found of the table before, in one transaction."""
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        connection.execute(
            replica_audit.delete().where(replica_audit.c.run_id == run_id, replica_audit.c.table_name == table.name)
        )
        if findings:
            connection.execute(replica_audit.insert(), [found.as_record(run_id) for found in findings])


def rows_of_audit(engine: sa.Engine, run_id: str) -> list[dict[str, Any]]:
    """Return what an audit found, table by table: the months, each with its days that differ, and the undated rows."""
    query = sa.select(replica_audit).where(replica_audit.c.run_id == run_id)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(replica_audit.c.table_name, replica_audit.c.id)).mappings()
        return [dict(row) for row in rows]
