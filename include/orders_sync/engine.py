"""
A whole run without Airflow: the profiler, or a pipeline by hand.

The run holds a lock as long as it lives, so that another one can tell it from one that died.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from include.engines.postgres.connect import connect
from include.engines.postgres.errors import translated
from include.errors import LockHeld, RetailSyncError, TransientError
from include.locks import LockSpace, Name, hold
from include.orders_sync import closing, runs
from include.orders_sync.pipelines import Pipeline, Store
from include.orders_sync.planner import Planned
from include.orders_sync.plans import Plans, plans_of
from include.orders_sync.request import ProfileRequest, SyncRequest
from include.orders_sync.runs import COMMAND, Head
from include.orders_sync.stores import due_stores, named_stores
from include.orders_sync.summary import Summary
from include.orders_sync.sync import Result, SyncRun, sync_store

log = logging.getLogger(__name__)

#: Hears of each window as it ends.
Told = Callable[[Result], None]


@dataclass(frozen=True)
class _Work:
    """
    What a run has to do.

    :param plans: the windows of all pipelines.
    :param planned_at: the server's time before they were planned.
    """

    stores: Sequence[Store]
    plans: Mapping[Pipeline, Plans]
    planned_at: datetime
    max_workers: int
    by_hand: bool


def profile(run: SyncRun, name: str, request: ProfileRequest, params: Mapping[str, Any], told: Told) -> Summary:
    """
    Do for every store what is due.

    :param name: the pipeline as which the run is recorded.
    :param params: what was asked for, for the record.
    :raises BadRequest: for a store that is none of those; nothing is recorded then.
    """
    with _session(run) as session:
        stores = due_stores(session, request.groups, request.store_code)
        planned_at = _open(session, run, name, params)
        plans = plans_of(session, stores, request, run.today)
        return _work_off(run, session, _Work(stores, plans, planned_at, request.max_workers, by_hand=False), told)


def sync(
    run: SyncRun, pipeline: Pipeline, request: SyncRequest, params: Mapping[str, Any], max_workers: int, told: Told
) -> Summary:
    """
    Pull named windows of named stores; those of a store that another run holds count as failed.

    :raises BadRequest: for a store that is not known, or of another CRM; nothing is recorded then.
    """
    with _session(run) as session:
        stores = named_stores(session, pipeline, request.store_codes)
        planned_at = _open(session, run, pipeline.code, params)
        plans = {pipeline: {store.code: request.windows for store in stores}}
        return _work_off(run, session, _Work(stores, plans, planned_at, max_workers, by_hand=True), told)


@contextmanager
def _session(run: SyncRun) -> Iterator[psycopg.Connection[Any]]:
    with (
        hold(run.control, [Name(LockSpace.RUN, run.id)], holder=run.holder, wait=0) as lock,
        translated(f"run {run.id}"),
    ):
        yield lock.session


def _open(session: psycopg.Connection[Any], run: SyncRun, name: str, params: Mapping[str, Any]) -> datetime:
    """Record that the run has begun; returns the server's time."""
    head = Head(name, run.id, run.run_env, run.today, COMMAND, run.settings.run_env, params)
    closing.close_dead_runs(session, head)
    runs.open_run(session, head)
    return runs.server_time(session)


def _work_off(run: SyncRun, session: psycopg.Connection[Any], work: _Work, told: Told) -> Summary:
    """Run the planned windows, several stores at once, and close the run whatever happens."""
    errors: dict[str, RetailSyncError] = {}
    try:
        for pipeline, windows in work.plans.items():
            runs.save_plan(session, run.id, pipeline.code, windows, work.planned_at)
        stores = [store for store in work.stores if store.code in work.plans.get(store.pipeline, {})]
        with ThreadPoolExecutor(max_workers=work.max_workers, thread_name_prefix="store") as pool:
            ends = pool.map(
                lambda store: _sync_patiently(run, store, work.plans[store.pipeline][store.code], told), stores
            )
            errors.update((store.code, error) for store, error in zip(stores, ends, strict=True) if error)
    finally:
        with _still_open(run, session) as living:
            for code, error in errors.items():
                runs.leave(living, run.id, code, left_as(error, by_hand=work.by_hand), str(error))
            summary = closing.close_run(living, run.control, run.id)
    return summary


@contextmanager
def _still_open(run: SyncRun, session: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """
    Return the run's session, or another one where it was lost: the stores have sessions of their own.

    Another run may have taken this one for dead meanwhile; what is written now says how it ended.
    """
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError as error:
        log.warning("run %s: its session was lost (%s), it is closed on another one", run.id, type(error).__name__)
        with connect(run.control, run.holder, autocommit=True) as another:
            yield another
    else:
        yield session


def _sync_patiently(run: SyncRun, store: Store, planned: Sequence[Planned], told: Told) -> RetailSyncError | None:
    """Work on a store, again where that may help; returns what kept the last attempt from its end."""
    attempts = itertools.count(1)
    raised: RetailSyncError | None = None

    def work() -> RetailSyncError | None:
        nonlocal raised
        raised = None
        try:
            results = sync_store(run, store, planned, told)
        except RetailSyncError as error:
            log.warning("store %s, attempt %s: %s", store.code, next(attempts), error)
            raised = error
            return error
        return next((result.error for result in results if result.status != "success"), None)

    policy = Retrying(
        retry=retry_if_result(lambda outcome: isinstance(outcome, TransientError)),
        stop=stop_after_attempt(run.settings.retries + 1),
        wait=wait_random_exponential(multiplier=1, max=run.settings.retry_delay),
        retry_error_callback=lambda _: None,
    )
    policy(work)
    return raised


def left_as(error: RetailSyncError, *, by_hand: bool) -> str:
    """
    Return what windows end as that an error kept from being begun.

    Those of a locked store are another run's, unless somebody asked for them by name.
    """
    return "skipped" if isinstance(error, LockHeld) and not by_hand else "failed"
