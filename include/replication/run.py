"""What all work on a table shares: the run, the report, and the lock and the record around it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from include.catalog import Table
from include.connections import Connection
from include.engines.base import Changed, Source, Warehouse
from include.errors import RetailSyncError
from include.locks import Lock
from include.replication.claims import claim
from include.replication.drift import current_table
from include.replication.observe import Observer, Step
from include.replication.progress import Phase, ProgressRow, Status
from include.replication.recorder import Recorder
from include.replication.verify import Verify
from include.settings import Settings
from include.windows import Span

if TYPE_CHECKING:
    from include.replication.export import ExportTarget


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
    allow_empty: bool = False
    """Whether a table that is empty at the source may empty its copy."""
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
    rows_inserted: int | None = None
    rows_updated: int | None = None
    rows_deleted: int | None = None
    rows_unchanged: int | None = None
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

    def count(self, changed: Changed | None) -> None:
        """Add what was changed."""
        if changed:
            self.rows_inserted = (self.rows_inserted or 0) + changed.inserted
            self.rows_updated = (self.rows_updated or 0) + changed.updated
            self.rows_deleted = (self.rows_deleted or 0) + changed.deleted

    def as_dict(self) -> dict[str, Any]:
        """Return the report for XCom: plain values only."""
        return {**asdict(self), "status": self.status.value, "seconds": self.seconds}

    def as_record(self) -> dict[str, Any]:
        """Return the columns of ``etl_progress``."""
        record = asdict(self)
        for field_ in ("table", "window", "status", "unchanged"):
            del record[field_]
        return record


def together(window: str, parts: Sequence[Report]) -> Report:
    """Return one report of the parts of a window: the sums of what they counted."""
    whole = Report(parts[0].table, window, parts[-1].status, all(part.unchanged for part in parts))
    for name in (field.name for field in fields(Report)):
        values = [getattr(part, name) for part in parts]
        if any(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            setattr(whole, name, sum(value or 0 for value in values))
    return whole


@dataclass
class Work:
    """A phase of a span, with its lock held and its row begun."""

    run: Run
    table: Table
    """The table with the columns that source and replica have now."""
    span: Span
    observer: Observer
    progress: ProgressRow
    lock: Lock
    report: Report

    def before_commit(self) -> None:
        """Make sure of the lock, and say that a commit is next."""
        self.lock.assert_held()
        self.observer.step(Step.COMMITTING)


@contextmanager
def work_on(run: Run, table: Table, span: Span, phase: Phase, observer: Observer, attempt: int) -> Iterator[Work]:
    """Hold the locks of a span and keep its row of ``etl_progress`` while the block works on it."""
    report = Report(table.name, span.name)
    progress = ProgressRow(run.warehouse.metadata(), run.id, table, span, phase)
    observer.step(Step.WAITING)
    with (
        timed(report, "seconds_waiting") as stop_waiting,
        claim(run.control, table, span, phase, holder=run.holder, wait=run.settings.lock_wait) as lock,
    ):
        stop_waiting()
        progress.close_dead()
        progress.start(attempt)
        try:
            current = current_table(run.source, run.warehouse, table)
            recorder = Recorder(observer, progress, run.settings.progress_every)
            yield Work(run, current, span, recorder, progress, lock, report)
        except Exception as error:
            progress.finish(Status.FAILED, {**report.as_record(), "error": _message(error)})
            raise
        progress.finish(report.status, report.as_record())
    observer.step(Step.DONE)


@contextmanager
def timed(report: Report, name: str) -> Iterator[Any]:
    """Add the seconds of the block, or those until the yielded function is called, to the report."""
    began, running = time.monotonic(), True

    def stop() -> None:
        nonlocal running
        if running:
            running = False
            setattr(report, name, getattr(report, name) + time.monotonic() - began)

    try:
        yield stop
    finally:
        stop()


def _message(error: Exception) -> str:
    """Only our own messages are known to hold no row's content."""
    return str(error) if isinstance(error, RetailSyncError) else type(error).__name__
