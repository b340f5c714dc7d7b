"""
Compare source and warehouse over many days without loading, and repair what differs if that is asked for.

Counts a day first, then checksums, then the keys of the days that differ, all of a span in one
view of the source. What is found is kept in ``replica_audit``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from include.catalog import Table
from include.engines.base import DaySum, Level, Snapshot
from include.errors import RetailSyncError
from include.replication.audit_record import MOST_KEYS, Finding, keep
from include.replication.audit_request import AuditRequest
from include.replication.day_record import keep_days
from include.replication.differences import differences
from include.replication.drift import current_table
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.replication.run import Run
from include.replication.runner import Observe, retrying
from include.replication.verify import compare, compare_snapshot
from include.windows import UNDATED, Span, Window, merge, spans

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


def audit_tables(run: Run, request: AuditRequest, observe: Observe) -> list[RetailSyncError]:
    """Audit the tables of a request one after another; returns the errors, of which none stops the other tables."""
    errors = []
    for table in request.tables:
        try:
            retrying(
                lambda attempt, table=table: audit_table(  # type: ignore[misc]
                    run, table, request.window, observe, repair=request.repair, attempt=attempt
                )
            )
        except RetailSyncError as error:
            log.error("%s", error)  # noqa: TRY400 (the message says all, a traceback hides it)
            errors.append(error)
    return errors


def audit_table(
    run: Run, table: Table, window: Window, observe: Observe, *, repair: bool = False, attempt: int = 1
) -> list[Finding]:
    """
    Compare the days of a window and the undated rows of a table; keeps what is found and returns it.

    What the same run found of the table before is forgotten. Nothing is found of an optional table that
    the source does not have.

    :param repair: make the days that differ equal to the source.
    :raises TransientError: if another try may succeed.
    :raises PermanentError: if somebody has to act.
    """
    keep(run.warehouse.metadata(), run.id, table, [])
    if table.optional and run.source.shape(table) is None:
        log.warning("%s: the source has no such table; it is left out", table.name)
        return []
    current = current_table(run.source, run.warehouse, table)
    findings = [found for span in spans(window) for found in _Look(run, current, span).findings()]
    keep(run.warehouse.metadata(), run.id, table, findings)
    if repair and (differing := [found.span for found in findings if found.is_differing_day]):
        errors = _repair(run, table, differing, observe, attempt)
        left = _left(run, table, window, differing)
        findings = [_repaired(found, left) for found in findings]
        keep(run.warehouse.metadata(), run.id, table, findings)
        if errors:
            raise errors[0]
    return findings


@dataclass(frozen=True)
class _Look:
    """One look at a span."""

    run: Run
    table: Table
    """The table with the columns that are copied."""
    span: Span

    def findings(self) -> list[Finding]:
        """Return what was found of the span, then of each day that differs; once where the two are the same."""
        with self.run.source.snapshot(self.table, self.span) as snapshot:
            counts = compare_snapshot(snapshot, self.run.warehouse, Level.COUNTS)
            log.info("%s %s: %s days differ by count", self.table.name, self.span.name, len(counts.days))
            sums = compare_snapshot(snapshot, self.run.warehouse, Level.CHECKSUM)
            log.info("%s %s: %s days differ by checksum", self.table.name, self.span.name, len(sums.days))
            keep_days(self.run.warehouse.metadata(), self.run.id, self.table, self.span, sums.source, sums.copy)
            by_count = set(counts.days).intersection(sums.days)
            whole = Finding(
                self.table.name,
                self.span,
                rows_source=sums.source.rows,
                rows_warehouse=sums.copy.rows,
                equal=sums.equal,
                found_by=Level.COUNTS if by_count else Level.CHECKSUM,
            )
            days = [
                self._day(
                    snapshot,
                    day,
                    rows_source=sums.source.days.get(day, DaySum(0)).rows,
                    rows_warehouse=sums.copy.days.get(day, DaySum(0)).rows,
                    found_by=Level.COUNTS if day in by_count else Level.CHECKSUM,
                )
                for day in sums.days
            ]
        return days if [day.span for day in days] == [self.span] else [whole, *days]

    def _day(self, snapshot: Snapshot, day: date | None, **counted: Any) -> Finding:
        finding = Finding(self.table.name, _span(day), equal=False, **counted)
        if not self.table.key:
            return finding
        found = differences(snapshot.at(finding.span), self.run.warehouse, Level.CHECKSUM)
        keys = {"missing": found.missing, "different": found.different, "extra": found.extra}
        return replace(
            finding,
            rows_missing=found.missing.num_rows,
            rows_extra=found.extra.num_rows,
            rows_different=found.different.num_rows,
            keys=json.dumps({kind: _as_text(rows) for kind, rows in keys.items()}),
        )


def _as_text(keys: pa.Table) -> list[Any]:
    """Return the lowest keys, each as text; a list of texts where the key is of several columns."""
    lowest = keys.sort_by([(name, "ascending") for name in keys.column_names]).slice(0, MOST_KEYS)
    columns = [[_text(value) for value in column.to_pylist()] for column in lowest.columns]
    return columns[0] if len(columns) == 1 else [list(key) for key in zip(*columns, strict=True)]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.hex() if isinstance(value, bytes) else str(value)


def _repair(run: Run, table: Table, days: Sequence[Span], observe: Observe, attempt: int) -> list[RetailSyncError]:
    """Make the days equal to the source, those that follow each other at once; returns what could not be done."""
    errors = []
    dated = merge(day for day in days if isinstance(day, Window))
    for span in [*dated, *(day for day in days if not isinstance(day, Window))]:
        try:
            if isinstance(span, Window):
                reconcile(run, table, span, observe(table, span), attempt, level=Level.CHECKSUM)
            else:
                replicate(replace(run, force=True), table, span, observe(table, span), attempt)
        except RetailSyncError as error:
            log.error("%s", error)  # noqa: TRY400 (the message says all, a traceback hides it)
            errors.append(error)
    return errors


def _left(run: Run, table: Table, window: Window, repaired: Sequence[Span]) -> list[Span]:
    """Return those of the repaired days that differ still, or again."""
    touched = [span for span in spans(window) if any(_holds(span, day) for day in repaired)]
    after = [compare(run.source, run.warehouse, table, span, Level.CHECKSUM) for span in touched]
    for span, comparison in zip(touched, after, strict=True):
        keep_days(run.warehouse.metadata(), run.id, table, span, comparison.source, comparison.copy)
    differing = {_span(day) for comparison in after for day in comparison.days}
    return [day for day in repaired if day in differing]


def _span(day: date | None) -> Span:
    return UNDATED if day is None else Window.inclusive(day, day)


def _repaired(found: Finding, left: Sequence[Span]) -> Finding:
    """Return the finding as it is after the repair; a month is repaired if all its days are."""
    return replace(found, repaired=not found.equal and not any(_holds(found.span, day) for day in left))


def _holds(span: Span, day: Span) -> bool:
    return span.overlaps(day) if isinstance(span, Window) and isinstance(day, Window) else span == day
