"""
Pull a store's windows, one after another, under the store's lock.

All that is written is written on the session of the lock. The rows of a report appear in one
transaction together with what the log says of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from include.connections import Connection
from include.engines.postgres.errors import translated
from include.errors import AccessDenied, NotConfigured, ReportUnusable, RetailSyncError
from include.locks import LockSpace, Name, hold
from include.orders_sync import log as sync_log
from include.orders_sync import runs
from include.orders_sync.feeds.base import Download, Feed
from include.orders_sync.ingest import Ingested, ingest
from include.orders_sync.load import load
from include.orders_sync.pipelines import Scope, Store
from include.orders_sync.planner import Planned, Reason, covered
from include.orders_sync.reports import Report
from include.settings import Settings
from include.windows import Window, subtract

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

#: Errors that every window of the store would meet.
_OF_THE_STORE = (AccessDenied, NotConfigured)


@dataclass(frozen=True)
class SyncRun:
    """
    A run of the orders sync.

    :param today: its day in the pipeline's timezone.
    :param open_feed: makes the way to a store's reports.
    :param holder: what the control database shows of our sessions.
    """

    id: str
    run_env: str
    today: date
    control: Connection
    settings: Settings
    open_feed: Callable[[Store], Feed]
    holder: str
    scope: Scope = Scope.FULL


@dataclass(frozen=True)
class Result:
    """What became of a window; ``status`` is success, partial, failed or not_run."""

    store: Store
    planned: Planned
    status: str
    error: RetailSyncError | None = None


def sync_store(
    run: SyncRun, store: Store, planned: Sequence[Planned], told: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """
    Pull the windows of a store that this run has not done yet, oldest first.

    A window that fails, or has no sales, stops the later ones. The one that holds today is tried
    all the same, unless every window would meet that error, or one that was stopped holds days of
    an earlier success: with today done, nobody would plan their refresh again.

    :param told: called with each result as it comes.
    :raises LockHeld: if another run works on the store.
    :raises ConnectionLost: if the session with the control database, and so the lock, is lost.
    """
    results: list[Result] = []
    locks = [Name(LockSpace.STORE, store.code)]
    with hold(run.control, locks, holder=run.holder, wait=run.settings.crm_lock_wait) as lock:
        session = lock.session
        with translated(f"store {store.code}: writing orders_sync_log"):
            for other, first, last in sync_log.close_dead(session, store.code, run.id):
                log.warning("store %s %s..%s: run %s died, its row is closed as failed", store.code, first, last, other)
            done = _done_before(session, run, store)
            left = _left(session, run, store, planned)
            with _Feeds(run, store) as feeds:
                stopped: list[Result] = []
                for item in left:
                    if not stopped or _runs_anyway(item, stopped, done, run.today):
                        result = _sync_window(run, store, item, session, feeds)
                    else:
                        result = Result(store, item, "not_run", stopped[0].error)
                    if result.status != "success":
                        stopped.append(result)
                    results.append(result)
                    told(result)
    return results


class _Feeds:
    """The feed of a store, opened when it is first needed: what it lacks is an error of a window."""

    def __init__(self, run: SyncRun, store: Store) -> None:
        self._run, self._store = run, store
        self._feed: Feed | None = None

    def __enter__(self) -> _Feeds:
        return self

    def __exit__(self, *_: object) -> None:
        if self._feed is not None:
            self._feed.close()

    def get(self) -> Feed:
        """Return the feed."""
        if self._feed is None:
            self._feed = self._run.open_feed(self._store)
        return self._feed


def _done_before(session: psycopg.Connection[Any], run: SyncRun, store: Store) -> list[Window]:
    """Return the days of success, as the planner counts them."""
    successes = sync_log.successes_of(session, run.today, store.code)
    return covered(successes.get((store.pipeline.code, store.code), []), run.today)


def _left(session: psycopg.Connection[Any], run: SyncRun, store: Store, planned: Sequence[Planned]) -> list[Planned]:
    """Return the windows that neither this run nor, meanwhile, another one has done."""
    own, others = sync_log.succeeded(session, store, store.pipeline, run.id)
    left = [item for item in planned if item.window not in own]
    meanwhile = [item for item in left if item.reason is not Reason.FORCED and not subtract(item.window, others)]
    if meanwhile:
        log.info("store %s: %s windows were done by another run meanwhile", store.code, len(meanwhile))
    runs.leave_elsewhere(session, run.id, store.pipeline.code, store.code, [item.window for item in meanwhile])
    return [item for item in left if item not in meanwhile]


def _runs_anyway(item: Planned, stopped: Sequence[Result], done: Sequence[Window], today: date) -> bool:
    if item.window.last_day != today or isinstance(stopped[0].error, _OF_THE_STORE):
        return False
    return not any(result.planned.window.overlaps(part) for result in stopped for part in done)


def _sync_window(run: SyncRun, store: Store, item: Planned, session: psycopg.Connection[Any], feeds: _Feeds) -> Result:
    window, pipeline = item.window, store.pipeline
    entry = sync_log.begin(session, store, pipeline, window, run.id, run.run_env)
    pulled: list[Report] = []
    try:
        cost_center = _cost_center(store)
        reports = pipeline.reports(run.scope)
        for report in reports:
            download, ingested = _fetch(run, store, window, report, feeds.get())
            with session.transaction():
                loaded = load(
                    session,
                    report,
                    ingested,
                    pipeline_id=entry.pipeline_id,
                    store_code=store.code,
                    cost_center=cost_center,
                    run_id=run.id,
                    window=window,
                )
                sync_log.pulled(session, entry, pipeline, report, download.rows.height, loaded)
                if report is reports[-1]:
                    sync_log.finish(session, entry, "success")
            pulled.append(report)
    except RetailSyncError as error:
        status = "partial" if pulled else "failed"
        log.error("store %s %s: %s: %s", store.code, window.name, status, error)  # noqa: TRY400 (it says all)
        sync_log.finish(session, entry, status, str(error))
        return Result(store, item, status, error)
    except BaseException as error:
        _finish_if_possible(session, entry, "partial" if pulled else "failed", error)
        raise
    log.info("store %s %s: success", store.code, window.name)
    return Result(store, item, "success")


def _fetch(run: SyncRun, store: Store, window: Window, report: Report, feed: Feed) -> tuple[Download, Ingested]:
    download = feed.fetch(report, store, window)
    if download.rows.is_empty() and not download.empty_confirmed:
        raise ReportUnusable(
            f"{report.code} of store {store.code}, {window.name}: no rows, and the source does not say that the"
            " window is empty; look at the report there"
        )
    return download, ingest(report, download.rows, run.settings.pipeline_zone, window)


def _cost_center(store: Store) -> str:
    if not store.cost_center:
        raise NotConfigured(f"store {store.code} has no cost_center in store_master, and orders are kept by it: set it")
    return store.cost_center


def _finish_if_possible(
    session: psycopg.Connection[Any], entry: sync_log.Entry, status: str, error: BaseException
) -> None:
    """Close the row of a window that a defect or a signal ended; if even that fails the next run closes it."""
    try:
        sync_log.finish(session, entry, status, f"{type(error).__name__}: the run broke off, see its log")
    except Exception as second:  # noqa: BLE001 (the first error is the one to tell)
        log.warning("the row of the log stays open: %s", type(second).__name__)
