"""What a run did, from what it recorded in the warehouse: the same for each kind of run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from include.metadata import data_quality_metrics, etl_progress, replica_audit
from include.overview.message import Part
from include.replication.audit_report import unrepaired
from include.replication.progress import Phase, Status

_REPAIRED = ("inserted", "updated", "deleted")


@dataclass(frozen=True)
class Outcome:
    """
    What runs did, by table; nothing of it holds the content of a row.

    :param loaded: rows read.
    :param repaired: rows inserted, updated and deleted, where any were.
    :param failed: texts that name table, window and error.
    :param breaches: quality metrics over their thresholds, each with ``warn`` or ``fail``.
    :param differing: tables that an audit found different and did not repair, with the days.
    """

    loaded: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    failed: Sequence[str] = ()
    breaches: Mapping[str, str] = field(default_factory=dict)
    differing: Sequence[str] = ()

    @property
    def rows_repaired(self) -> int:
        """Rows of all tables."""
        return sum(sum(counts.values()) for counts in self.repaired.values())

    @property
    def is_amiss(self) -> bool:
        """Whether something failed, differs or is over its threshold."""
        return bool(self.failed or self.breaches or self.differing)

    def parts(self) -> list[Part]:
        """Return what is told of it, the worst first."""
        return [
            Part("Failed", self.failed),
            Part("Different, not repaired", self.differing),
            Part("Over their thresholds", [f"{breach}: {text}" for text, breach in self.breaches.items()]),
            Part("Repaired", [f"{table}: {_counts(counts)}" for table, counts in self.repaired.items()]),
            Part("Loaded", [f"{table}: {rows:,} rows" for table, rows in self.loaded.items()]),
        ]


def outcome_of(engine: sa.Engine, run_ids: Sequence[str]) -> Outcome:
    """Return what runs have done up to now; a window that is still ``running`` has not failed."""
    with engine.connect() as connection:
        progress, quality, audit = (
            [
                dict(row)
                for row in connection.execute(
                    sa.select(table).where(table.c.run_id.in_(run_ids), *conditions).order_by(table.c.id)
                ).mappings()
            ]
            for table, conditions in (
                (etl_progress, []),
                (data_quality_metrics, [data_quality_metrics.c.breach.is_not(None)]),
                (replica_audit, [replica_audit.c.equal == sa.false()]),
            )
        )
    return Outcome(
        loaded=_loaded(progress),
        repaired=_repaired(progress),
        failed=[_failure(row) for row in progress if row["status"] == Status.FAILED],
        breaches={_breach(row): row["breach"] for row in quality},
        differing=unrepaired(sorted(audit, key=lambda row: row["table_name"])),
    )


def _loaded(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        if row["phase"] == Phase.LOAD and row["rows_read"]:
            counts[row["table_name"]] += row["rows_read"]
    return dict(counts)


def _repaired(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["phase"] != Phase.LOAD and any(row[f"rows_{name}"] for name in _REPAIRED):
            counts[row["table_name"]].update({name: row[f"rows_{name}"] or 0 for name in _REPAIRED})
    return {table: dict(found) for table, found in counts.items()}


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rows:,} {name}" for name, rows in counts.items() if rows)


def _failure(row: Mapping[str, Any]) -> str:
    return f"{row['table_name']} {row['window_name']}: {row['error'] or 'not finished'}"


def _breach(row: Mapping[str, Any]) -> str:
    details = f" ({row['details']})" if row["details"] else ""
    most = f"at most {row['threshold']:.6g} is allowed"
    return f"{row['table_name']} {row['metric']} is {row['value']:.6g}, {most}{details}"
