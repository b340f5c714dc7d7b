"""
Replace one window of one table in the warehouse by the source's rows.

Lock, read into a staging table, check, publish in one transaction, verify. Killed at any
point the warehouse holds the old window or the new one, and the next run goes on from
there. A window that was published before is compared first and left alone if it is equal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from include import locks
from include.catalog import Table
from include.connections import Connection
from include.engines.base import Digest, Level, Published, Snapshot, Source, Staging, Warehouse, needs_portable_sums
from include.engines.transfer import transfer
from include.errors import CountMismatch, RetailSyncError, SourceChanged
from include.replication.drift import current_table
from include.replication.observe import Observer, Step
from include.replication.progress import ProgressRow, Status, now
from include.replication.summing import summing
from include.replication.verify import Verify, compare_snapshot
from include.settings import Settings
from include.windows import Span, Undated, month_keys

if TYPE_CHECKING:
    from include.replication.export import ExportFile, ExportTarget

log = logging.getLogger(__name__)

#: A window that does not equal its source is read once more before it is called a mismatch.
_READS = 2


@dataclass(frozen=True)
class Run:
    """What all windows of a run share."""

    id: str
    source: Source
    warehouse: Warehouse
    control: Connection
    settings: Settings
    verify: Verify = Verify.CHECKSUM
    export: ExportTarget | None = None
    force: bool = False
    holder: str = "retail-sync"
    """How this process names itself to those who wait for its locks."""


@dataclass
class Report:
    """What was done to a window; rows as numbers, times in seconds."""

    table: str
    window: str
    status: Status = Status.RUNNING
    unchanged: bool = False
    rows_source: int = 0
    rows_read: int = 0
    rows_published: int = 0
    rows_replaced: int = 0
    rows_moved: int = 0
    bytes_read: int = 0
    seconds_waiting: float = 0.0
    seconds_loading: float = 0.0
    seconds_publishing: float = 0.0
    seconds_verifying: float = 0.0
    checksum: str | None = None
    export_path: str | None = None

    @property
    def seconds(self) -> float:
        """Seconds of work, without the waiting for a lock."""
        return self.seconds_loading + self.seconds_publishing + self.seconds_verifying

    def as_dict(self) -> dict[str, Any]:
        """Return the report for XCom: plain values only."""
        return {**asdict(self), "status": self.status.value, "seconds": self.seconds}

    def as_record(self) -> dict[str, Any]:
        """Return the columns of ``etl_progress``."""
        record = asdict(self)
        for field_ in ("table", "window", "status", "unchanged"):
            del record[field_]
        return record


def replicate(run: Run, table: Table, span: Span, observer: Observer, attempt: int = 1) -> Report:
    """
    Make the span of the table in the warehouse equal to the source.

    :raises TransientError: if another try may succeed; the warehouse holds the old window or the new one.
    :raises PermanentError: if somebody has to act.
    """
    report = Report(table.name, span.name)
    progress = ProgressRow(run.warehouse.metadata(), run.id, table.name, span)
    observer.step(Step.WAITING)
    with (
        _timed(report, "seconds_waiting") as stop_waiting,
        locks.hold(
            run.control,
            locks.LockSpace.WINDOW,
            lock_names(table, span),
            holder=run.holder,
            wait=run.settings.lock_wait,
        ) as lock,
    ):
        stop_waiting()
        progress.close_dead()
        progress.start(attempt)
        try:
            current = current_table(run.source, run.warehouse, table)
            _Replication(run, current, span, observer, progress, lock, report).run_until_equal()
        except Exception as error:
            progress.finish(Status.FAILED, {**report.as_record(), "error": _message(error)})
            raise
        progress.finish(report.status, report.as_record())
    observer.step(Step.DONE)
    return report


def lock_names(table: Table, span: Span) -> list[str]:
    """Return the names of the locks that keep other runs off the months of a span."""
    return [f"{table.target_schema}.{table.target_table} {key}" for key in month_keys(span)]


@dataclass
class _Replication:
    """One call of ``replicate``, with the lock held and its row begun."""

    run: Run
    table: Table
    span: Span
    observer: Observer
    progress: ProgressRow
    lock: locks.Lock
    report: Report
    file: ExportFile | None = field(init=False)

    def __post_init__(self) -> None:
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
                self.report.status = Status.PUBLISHED if self.run.verify is Verify.NONE else Status.VERIFIED
                return

    def _is_equal(self, snapshot: Snapshot) -> bool:
        """Whether the warehouse holds these rows already; only a window that was published is asked."""
        known = isinstance(self.span, Undated) or self.progress.was_published()
        if self.run.force or not known:
            return False
        self.observer.step(Step.COMPARING)
        with _timed(self.report, "seconds_verifying"):
            found = compare_snapshot(snapshot, self.run.warehouse, Level.VERSIONS)
            if found.equal and (self.run.verify is Verify.CHECKSUM or not self.table.rowversion):
                found = compare_snapshot(snapshot, self.run.warehouse, Level.CHECKSUM)
                self.report.checksum = found.source.total
        if not found.equal:
            self.report.checksum = None
            return False
        portable = needs_portable_sums(snapshot, self.run.warehouse)
        if self.file and not self.file.holds(snapshot.digest(self.run.verify.level, portable=portable)):
            return False
        self.report.rows_source = self.report.rows_published = found.source.rows
        log.info("%s %s: equal, %s rows", self.table.name, self.span.name, f"{found.source.rows:,}")
        return True

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
            _timed(self.report, "seconds_loading"),
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
        self.observer.step(Step.CHECKED)
        return digest

    def _publish(self, staging: Staging) -> None:
        with _timed(self.report, "seconds_publishing"):
            published = self.run.warehouse.publish(staging, self._record, self._before_commit)
        self.report.rows_published = published.rows
        self.report.rows_replaced = published.replaced
        self.report.rows_moved = published.moved
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

    def _before_commit(self) -> None:
        self.lock.assert_held()
        self.observer.step(Step.COMMITTING)

    def _verify(self, digest: Digest, portable: bool) -> None:
        if self.run.verify is Verify.NONE:
            return
        self.observer.step(Step.VERIFYING)
        with _timed(self.report, "seconds_verifying"):
            copy = self.run.warehouse.digest(self.table, self.span, self.run.verify.level, portable=portable)
        if days := digest.differing(copy):
            named = ", ".join(str(day or "undated") for day in days[:5])
            raise SourceChanged(f"{self.table.name} {self.span.name}: source and warehouse differ on {named}")
        if self.run.verify is Verify.CHECKSUM:
            self.report.checksum = digest.total


@contextmanager
def _timed(report: Report, name: str) -> Iterator[Any]:
    """Add the seconds of the block, or those until the yielded function is called, to the report."""
    began = time.monotonic()
    stopped: list[float] = []
    try:
        yield lambda: stopped.append(time.monotonic())
    finally:
        ended = stopped[0] if stopped else time.monotonic()
        setattr(report, name, getattr(report, name) + ended - began)


def _message(error: Exception) -> str:
    """Only our own messages are known to hold no row's content."""
    return str(error) if isinstance(error, RetailSyncError) else type(error).__name__
