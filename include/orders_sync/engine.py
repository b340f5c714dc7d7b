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
from typing import TYPE_CHECKING, Any

from tenacity import RetryError, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from include.engines.postgres.errors import translated
from include.errors import LockHeld, RetailSyncError, TransientError
from include.locks import LockSpace, Name, hold
from include.orders_sync import runs
from include.orders_sync.pipelines import Pipeline, Store
from include.orders_sync.plans import Plans, plans_of
from include.orders_sync.request import ProfileRequest, SyncRequest
from include.orders_sync.runs import COMMAND, Head
from include.orders_sync.stores import due_stores, named_stores
from include.orders_sync.summary import Summary
from include.orders_sync.sync import Result, SyncRun, sync_store

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

#: The windows of all pipelines.
AllPlans = Mapping[Pipeline, Plans]
#: Hears of each window as it ends.
Told = Callable[[Result], None]


def profile(run: SyncRun, name: str, request: ProfileRequest, params: Mapping[str, Any], told: Told) -> Summary:
    """
    Do for every store what is due.

    :param name: the pipeline as which the run is recorded.
    :param params: what was asked for, for the record.
    :raises BadRequest: for a store that is none of those; nothing is recorded then.
    """
    with _session(run) as session:
        stores = due_stores(session, request.groups, request.store_code)
        runs.open_run(session, _head(run, name, params))
        plans = plans_of(session, stores, request, run.today)
        return _work_off(run, session, stores, plans, request.max_workers, told)


def sync(
    run: SyncRun, pipeline: Pipeline, request: SyncRequest, params: Mapping[str, Any], max_workers: int, told: Told
) -> Summary:
    """
    Pull named windows of named stores.

    :raises BadRequest: for a store that is not known, or of another CRM; nothing is recorded then.
    """
    with _session(run) as session:
        stores = named_stores(session, pipeline, request.store_codes)
        runs.open_run(session, _head(run, pipeline.code, params))
        plans = {pipeline: {store.code: request.windows for store in stores}}
        return _work_off(run, session, stores, plans, max_workers, told)


@contextmanager
def _session(run: SyncRun) -> Iterator[psycopg.Connection[Any]]:
    with (
        hold(run.control, [Name(LockSpace.RUN, run.id)], holder=run.holder, wait=0) as lock,
        translated(f"run {run.id}"),
    ):
        yield lock.session


def _head(run: SyncRun, name: str, params: Mapping[str, Any]) -> Head:
    return Head(name, run.id, run.run_env, run.today, COMMAND, params)


def _work_off(
    run: SyncRun,
    session: psycopg.Connection[Any],
    stores: Sequence[Store],
    plans: AllPlans,
    max_workers: int,
    told: Told,
) -> Summary:
    """Run the planned windows, several stores at once, and close the run whatever happens."""
    try:
        for pipeline, windows in plans.items():
            runs.save_plan(session, run.id, pipeline.code, windows)
        work = [store for store in stores if store.code in plans.get(store.pipeline, {})]
        with ThreadPoolExecutor(max_workers=max_workers, thread_name_prefix="store") as pool:
            errors = list(pool.map(lambda store: _sync_patiently(run, store, plans, told), work))
        for store, error in zip(work, errors, strict=True):
            if error:
                runs.leave(session, run.id, store.code, left_as(error), str(error))
    finally:
        summary = runs.close_run(session, run.control, run.id)
    return summary


def _sync_patiently(run: SyncRun, store: Store, plans: AllPlans, told: Told) -> RetailSyncError | None:
    """Work on a store, again where that may help; returns what stopped it in the end."""
    policy = Retrying(
        retry=retry_if_result(lambda outcome: isinstance(outcome, TransientError)),
        stop=stop_after_attempt(run.settings.retries + 1),
        wait=wait_random_exponential(multiplier=1, max=run.settings.retry_delay),
    )
    attempts = itertools.count(1)

    def work() -> RetailSyncError | None:
        try:
            results = sync_store(run, store, plans[store.pipeline][store.code], told)
        except RetailSyncError as error:
            log.warning("store %s, attempt %s: %s", store.code, next(attempts), error)
            return error
        return next((result.error for result in results if result.status != "success"), None)

    try:
        return policy(work)
    except RetryError as ended:
        last: RetailSyncError | None = ended.last_attempt.result()
        return last


def left_as(error: RetailSyncError) -> str:
    """Return what windows end as that an error kept from being begun: those of a locked store are another run's."""
    return "skipped" if isinstance(error, LockHeld) else "failed"
