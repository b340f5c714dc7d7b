"""
Replace one window of one table in the warehouse by the source's rows, or a whole table.

Lock, read into a staging table, check, publish in one transaction, verify. Killed at any
point the warehouse holds the old window or the new one, and the next run goes on from
there. A window that was published before is compared first and left alone if it is equal.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.catalog import Table
from include.engines.base import Digest, Level, Published, Snapshot, Staging, needs_portable_sums
from include.engines.transfer import transfer
from include.errors import CountMismatch, EmptySource, SourceChanged
from include.metadata import now
from include.replication.day_record import keep_days
from include.replication.observe import Observer, Step
from include.replication.progress import Phase, Status
from include.replication.run import Report, Run, Work, timed, work_on
from include.replication.summing import summing
from include.replication.verify import Verify, compare_snapshot
from include.windows import Span, Undated, Whole

if TYPE_CHECKING:
    from include.replication.export import ExportFile

__all__ = ["Report", "Run", "replicate"]

log = logging.getLogger(__name__)

#: A window that does not equal its source is read once more before it is called a mismatch.
_READS = 2


def replicate(
    run: Run, table: Table, span: Span, observer: Observer, attempt: int = 1, phase: Phase = Phase.LOAD
) -> Report:
    """
    Make the span of the table in the warehouse equal to the source.

    :raises TransientError: if another try may succeed; the warehouse holds the old window or the new one.
    :raises PermanentError: if somebody has to act.
    """
    with work_on(run, table, span, phase, observer, attempt) as work:
        _Replication(work).run_until_equal()
    return work.report


@dataclass
class _Replication:
    """One call of ``replicate``, with the lock held and its row begun."""

    work: Work
    file: ExportFile | None = field(init=False)

    def __post_init__(self) -> None:
        self.run, self.table, self.span = self.work.run, self.work.table, self.work.span
        self.observer, self.progress, self.report = self.work.observer, self.work.progress, self.work.report
        export = self.run.export
        self.file = export.file(self.table, self.span, self.run.id) if export else None

    def run_until_equal(self) -> None:
        for read in range(1, _READS + 1):
            try:
                with self.run.source.snapshot(self.table, self.span) as snapshot:
                    equal = self._is_equal(snapshot)
                    if not equal:
                        self._replace(snapshot)
                    self.report.unchanged = equal and read == 1
            except SourceChanged as error:
                if read == _READS:
                    raise CountMismatch(
                        f"{error}, also after reading it again; run `python -m include verify`"
                    ) from error
                log.warning("%s; reading it again", error)
            else:
                self.report.status = self._status()
                return

    def _status(self) -> Status:
        if self.report.unchanged and isinstance(self.span, Whole):
            return Status.UNCHANGED
        return Status.PUBLISHED if self.run.verify is Verify.NONE else Status.VERIFIED

    def _is_equal(self, snapshot: Snapshot) -> bool:
        """Whether the warehouse holds these rows already; a load asks only about a window that was published."""
        checks = isinstance(self.span, Undated) or self.progress.phase is Phase.FIX
        known = checks or self.progress.was_published()
        if self.run.force or not known:
            return False
        self.observer.step(Step.COMPARING)
        with timed(self.report, "seconds_verifying"):
            found = compare_snapshot(snapshot, self.run.warehouse, Level.VERSIONS)
            if found.equal and self._is_compared_by_values():
                found = compare_snapshot(snapshot, self.run.warehouse, Level.CHECKSUM)
                self.report.checksum = found.source.total
        if not found.equal:
            self.report.checksum = None
            return False
        portable = needs_portable_sums(snapshot, self.run.warehouse)
        if self.file and not self.file.holds(snapshot.digest(self.run.verify.level, portable=portable)):
            return False
        self._keep_days(found.source, found.copy)
        self.report.rows_source = self.report.rows_published = found.source.rows
        log.info("%s %s: equal, %s rows", self.table.name, self.span.name, f"{found.source.rows:,}")
        return True

    def _is_compared_by_values(self) -> bool:
        """A table that is refreshed whole is unchanged where count and rowversions are."""
        if not self.table.rowversion:
            return True
        return self.run.verify is Verify.CHECKSUM and not isinstance(self.span, Whole)

    def _replace(self, snapshot: Snapshot) -> None:
        try:
            with self.run.warehouse.staging(self.table, self.span) as staging:
                digest = self._load(snapshot, staging)
                self._publish(staging)
            self._verify(digest, needs_portable_sums(snapshot, self.run.warehouse))
            if self.file:
                self.report.export_path = self.file.finish(digest, self.report.rows_read)
        except Exception:
            if self.file:
                self.file.discard()
            raise

    def _load(self, snapshot: Snapshot, staging: Staging) -> Digest:
        """Fill the staging table; returns what the same rows sum up to at the source."""
        self.observer.step(Step.READING)
        tees = [self.file.tee] if self.file else []
        with (
            timed(self.report, "seconds_loading"),
            summing(snapshot, self.run.warehouse, self.run.verify.level) as sums,
        ):
            loaded = transfer(snapshot, staging, self.run.settings.batch_bytes, [*tees, *sums.tees], self.observer.rows)
            self.report.rows_read, self.report.bytes_read = loaded.rows, loaded.bytes
            self.observer.step(Step.STAGED)
            digest = sums.digest()
        self.report.rows_source = sums.counted().rows
        if loaded.rows != self.report.rows_source:
            raise SourceChanged(
                f"{self.table.name} {self.span.name}: {loaded.rows:,} rows were loaded,"
                f" the source counts {self.report.rows_source:,}"
            )
        self._refuse_to_empty()
        self.observer.step(Step.CHECKED)
        return digest

    def _refuse_to_empty(self) -> None:
        if self.report.rows_read or self.run.allow_empty or not isinstance(self.span, Whole):
            return
        if rows := self.run.warehouse.digest(self.table, self.span, Level.COUNTS).rows:
            raise EmptySource(
                f"{self.table.name}: the source is empty, the copy keeps its {rows:,} rows;"
                " if that is right, run it with allow_empty"
            )

    def _publish(self, staging: Staging) -> None:
        with timed(self.report, "seconds_publishing"):
            published = self.run.warehouse.publish(staging, self._record, self.work.before_commit)
        self.report.rows_published = published.rows
        self.report.rows_replaced = published.replaced
        self.report.rows_moved = published.moved
        self.report.count(published.changed)
        self.observer.step(Step.PUBLISHED)

    def _record(self, published: Published) -> Any:
        return self.progress.update(
            {
                "status": Status.PUBLISHED,
                "published_at": now(),
                "rows_source": self.report.rows_source,
                "rows_read": self.report.rows_read,
                "rows_published": published.rows,
                "rows_replaced": published.replaced,
                "rows_moved": published.moved,
            }
        )

    def _verify(self, digest: Digest, portable: bool) -> None:
        if self.run.verify is Verify.NONE:
            return
        self.observer.step(Step.VERIFYING)
        with timed(self.report, "seconds_verifying"):
            copy = self.run.warehouse.digest(self.table, self.span, self.run.verify.level, portable=portable)
        self._keep_days(digest, copy)
        if days := digest.differing(copy):
            named = ", ".join(str(day or "undated") for day in days[:5])
            raise SourceChanged(f"{self.table.name} {self.span.name}: source and warehouse differ on {named}")
        if self.run.verify is Verify.CHECKSUM:
            self.report.checksum = digest.total

    def _keep_days(self, source: Digest, copy: Digest) -> None:
        keep_days(self.run.warehouse.metadata(), self.run.id, self.table, self.span, source, copy)
