"""
The fix check: find the rows of some days that differ from the source, and repair only those.

Cheap first: count and sum of rowversions a day, by each server; then pairs of key and
rowversion of the days that differ; then the rows that differ, by key. They are put in place in
one transaction, also those whose date moved to another day. Nothing else works on the table meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from include.catalog import Table
from include.engines.base import Changed, Digest, Level, Snapshot, Staging, needs_portable_sums
from include.errors import CountMismatch, SourceChanged
from include.metadata import now
from include.replication.day_record import DayFix, fix_statements, keep_days
from include.replication.differences import differences, no_keys, without
from include.replication.observe import Observer, Step
from include.replication.progress import Phase, Status
from include.replication.replicate import replicate
from include.replication.run import Report, Run, Work, timed, together, work_on
from include.replication.verify import compare_snapshot
from include.windows import CHANGES, Window, months

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

#: Days that do not equal their source after the repair are compared once more before it is an error.
_READS = 2


def reconcile(
    run: Run, table: Table, window: Window, observer: Observer, attempt: int = 1, level: Level = Level.VERSIONS
) -> Report:
    """
    Make the days of a window equal to the source by repairing the rows that differ.

    A table without a key has no rows that could be named: the window is replaced if it differs.

    :param level: VERSIONS to trust rowversions, CHECKSUM to compare all values; a table without
        rowversion is always compared by all values.
    :raises TransientError: if another try may succeed; nothing was changed half.
    :raises PermanentError: if somebody has to act.
    """
    if not table.key:
        parts = [replicate(run, table, part, observer, attempt, Phase.FIX) for part in months(window)]
        return together(window.name, parts)
    level = level if table.rowversion else Level.CHECKSUM
    with work_on(run, table, window, Phase.FIX, observer, attempt) as work:
        for read in range(1, _READS + 1):
            try:
                with run.source.snapshot(work.table, window) as snapshot:
                    _Check(work, snapshot, level).run()
                break
            except SourceChanged as error:
                if read == _READS:
                    raise CountMismatch(f"{error}, also after checking again") from error
                log.warning("%s; checking again", error)
        work.report.status = Status.VERIFIED
    return work.report


@dataclass
class _Check:
    """One look at the days of a window, with the lock held."""

    work: Work
    snapshot: Snapshot
    level: Level

    def run(self) -> None:
        work, report, warehouse = self.work, self.work.report, self.work.run.warehouse
        work.observer.step(Step.COMPARING)
        with timed(report, "seconds_verifying"):
            before = compare_snapshot(self.snapshot, warehouse, self.level)
        report.rows_source = report.rows_unchanged = before.source.rows
        report.count(Changed(0, 0, 0))
        if before.equal:
            report.unchanged = not report.rows_read
            self._keep_days(before.source, before.copy)
            self._finish(before.source.total)
            return
        with timed(report, "seconds_loading"):
            wanted, extra, fixes = self._find(before.days)
        report.rows_unchanged = before.source.rows - wanted.num_rows
        Repair(work, self.snapshot).run(wanted, extra, fix_statements(work.run.id, work.table, fixes))
        work.observer.step(Step.VERIFYING)
        portable = needs_portable_sums(self.snapshot, warehouse)
        with timed(report, "seconds_verifying"):
            after = warehouse.digest(work.table, self.snapshot.span, self.level, portable=portable)
        self._keep_days(before.source, after)
        if days := before.source.differing(after):
            named = ", ".join(str(day or "undated") for day in days[:5])
            raise SourceChanged(f"{work.table.name}: source and warehouse differ on {named} after the repair")
        self._finish(before.source.total)

    def _keep_days(self, source: Digest, copy: Digest) -> None:
        run = self.work.run
        keep_days(run.warehouse.metadata(), run.id, self.work.table, self.snapshot.span, source, copy)

    def _find(self, days: Sequence[date | None]) -> tuple[pa.Table, pa.Table, list[DayFix]]:
        """Return the keys to fetch, the others of rows that are on a day in the copy only, and the counts of days."""
        import pyarrow as pa

        table = self.work.table
        wanted, extra, fixes = [no_keys(table)], [no_keys(table)], []
        for day in days:
            assert day is not None, "a window has no undated rows"
            found = differences(
                self.snapshot.at(Window(day, day + timedelta(days=1))), self.work.run.warehouse, self.level
            )
            self.work.report.bytes_read += found.bytes_read
            wanted.append(found.wanted)
            extra.append(found.extra)
            fixes.append(DayFix(day, found.missing.num_rows, found.different.num_rows, found.extra.num_rows))
            log.info(
                "%s %s: %s rows are missing, %s differ, %s are not there at the source",
                *(table.name, day, found.missing.num_rows, found.different.num_rows, found.extra.num_rows),
            )
        # a row that moved from one of the days to another is extra on the first and missing on the second
        return pa.concat_tables(wanted), without(table, pa.concat_tables(extra), iter(wanted)), fixes

    def _finish(self, total: str) -> None:
        report = self.work.report
        report.rows_published = report.rows_source
        if self.level is Level.CHECKSUM:
            report.checksum = total


@dataclass
class Repair:
    """Rows of any date that are fetched by key and put in place."""

    work: Work
    snapshot: Snapshot

    def run(self, wanted: pa.Table, extra: pa.Table, also: Sequence[Any] = ()) -> Changed:
        """
        Put the rows of these keys in place, and delete the extra ones that are gone at the source.

        :param extra: keys of rows that may be on another day now, none of them wanted.
        :param also: statements that are run in the same transaction.
        """
        with self.work.run.warehouse.staging(self.work.table, CHANGES) as staging:
            with timed(self.work.report, "seconds_loading"):
                gone = self._stage(staging, wanted, extra)
            return self._apply(staging, gone, also)

    def _stage(self, staging: Staging, wanted: pa.Table, extra: pa.Table) -> pa.Table:
        """Load the rows that are still there; returns the extra keys that are gone."""
        work, found = self.work, list[Any]()
        work.observer.step(Step.READING)

        def batches() -> Iterator[pa.RecordBatch]:
            import pyarrow as pa

            yield from self.snapshot.rows_of(wanted)
            if extra.num_rows:
                for batch in self.snapshot.rows_of(extra):
                    found.append(pa.Table.from_batches([batch]).select(list(work.table.key)))
                    yield batch

        loaded = staging.load(staging.as_kept(batches()), work.observer.rows)
        work.report.rows_read += loaded.rows
        work.report.bytes_read += loaded.bytes
        work.observer.step(Step.STAGED)
        return without(work.table, extra, iter(found))

    def _apply(self, staging: Staging, gone: pa.Table, also: Sequence[Any]) -> Changed:
        work, report = self.work, self.work.report

        def record(changed: Changed) -> Sequence[Any]:
            sums = {
                "rows_inserted": (report.rows_inserted or 0) + changed.inserted,
                "rows_updated": (report.rows_updated or 0) + changed.updated,
                "rows_deleted": (report.rows_deleted or 0) + changed.deleted,
            }
            return [work.progress.update({"status": Status.PUBLISHED, "published_at": now(), **sums}), *also]

        with timed(report, "seconds_publishing"):
            changed = work.run.warehouse.patch(staging, gone, record, work.before_commit)
        report.count(changed)
        work.observer.step(Step.PUBLISHED)
        return changed
