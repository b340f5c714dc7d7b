"""The orders sync under Airflow: plan, sync each store, close."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.errors import LockHeld, PermanentError, RetailSyncError
from include.orders_sync.pipelines import PIPELINES, PROFILER, Pipeline, SyncGroup
from include.orders_sync.request import (
    PROFILE_DEFAULTS,
    SYNC_DEFAULTS,
    ProfileRequest,
    read_profile,
    read_sync,
    run_id_of,
)
from include.parameters import refuse_unknown
from include.settings import Settings
from retail_sync import metrics
from retail_sync.hooks.crm import CrmHook
from retail_sync.hooks.engine import EngineHook
from retail_sync.operators.base import MESSAGE_KEY, permanent_errors_fail
from retail_sync.operators.table import failed_tasks

if TYPE_CHECKING:
    from datetime import date

    import psycopg
    from airflow.sdk import Context

    from include.connections import Connection
    from include.locks import Name
    from include.orders_sync.plans import Plans
    from include.orders_sync.runs import Head
    from include.orders_sync.sync import SyncRun

#: A store waits for its turn behind stores of the same run: that is no error, however long they take.
_LONGEST_TURN_SECONDS = 6 * 3600.0


class OrdersOperator(BaseOperator):
    """An operator of a run that is recorded in ``pipeline_run_summaries``."""

    def sync_run_id(self, context: Context) -> str:
        """Return the id of the run in our tables."""
        return run_id_of(context["dag"].dag_id, context["run_id"])

    def control(self, context: Context) -> Connection:
        """Return the connection of the control database."""
        return EngineHook(Settings().control_connection, self.holder(context)).get_conn()

    def holder(self, context: Context) -> str:
        """Return what the control database shows of our sessions."""
        instance = context["ti"]
        return f"{instance.dag_id} {instance.task_id} {instance.map_index} try {instance.try_number}"

    @contextmanager
    def session(self, context: Context) -> Iterator[psycopg.Connection[Any]]:
        """Open a session with the control database."""
        from include.engines.postgres.connect import connect
        from include.engines.postgres.errors import translated

        with (
            translated(f"run {self.sync_run_id(context)}"),
            connect(self.control(context), self.holder(context), autocommit=True) as session,
        ):
            yield session

    def head(self, context: Context, name: str, run_env: str, params: Mapping[str, Any]) -> Head:
        """Return what is known of the run at its beginning."""
        from include.orders_sync.runs import AIRFLOW, Head

        return Head(name, self.sync_run_id(context), run_env, _today(), AIRFLOW, Settings().run_env, params)


class OpenProfilerOperator(OrdersOperator):
    """Make sense of the profiler's parameters, and record that the run has begun."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the parameters, or fail naming one that makes no sense."""
        from include.orders_sync.closing import close_dead_runs
        from include.orders_sync.runs import open_run
        from include.orders_sync.stores import due_stores

        with permanent_errors_fail(), self.session(context) as session:
            params = _params(context, PROFILE_DEFAULTS)
            request = _profile_request(params)
            due_stores(session, request.groups, request.store_code)
            head = self.head(context, PROFILER, request.run_env, params)
            close_dead_runs(session, head)
            open_run(session, head)
        return params


class PlanStoresOperator(OrdersOperator):
    """
    Decide what is due for the stores of a pipeline.

    :param pipeline: the code of the pipeline.
    """

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the stores that have work, for one mapped task each."""
        from include.orders_sync.plans import plans_of
        from include.orders_sync.runs import save_plan, server_time, today_of
        from include.orders_sync.stores import due_stores

        pipeline, request = PIPELINES[self.pipeline], _profile_request(_params(context, PROFILE_DEFAULTS))
        if pipeline.sync_group not in request.groups:
            return []
        request = replace(request, groups=(pipeline.sync_group,))
        with permanent_errors_fail(), self.session(context) as session:
            run_id = self.sync_run_id(context)
            stores = [
                store
                for store in due_stores(session, tuple(SyncGroup), request.store_code)
                if store.pipeline is pipeline
            ]
            planned_at = server_time(session)
            plans = plans_of(session, stores, request, today_of(session, run_id))[pipeline]
            save_plan(session, run_id, pipeline.code, plans, planned_at)
        metrics.of_plan(pipeline.code, [store.code for store in stores], plans)
        self.log.info("%s: %s windows of %s stores", pipeline.code, sum(map(len, plans.values())), len(plans))
        return mapped_stores(pipeline, plans)


class PlanSyncOperator(OrdersOperator):
    """
    Make sense of the parameters of a pipeline that is run by hand, and record that the run has begun.

    :param pipeline: the code of the pipeline.
    """

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the stores, for one mapped task each, or fail naming a parameter that makes no sense."""
        from include.orders_sync.closing import close_dead_runs
        from include.orders_sync.runs import open_run, save_plan, server_time
        from include.orders_sync.stores import named_stores

        pipeline = PIPELINES[self.pipeline]
        with permanent_errors_fail(), self.session(context) as session:
            params = _params(context, SYNC_DEFAULTS)
            request = read_sync(params, pipeline, _today(), Settings().run_env)
            stores = named_stores(session, pipeline, request.store_codes)
            head = self.head(context, pipeline.code, request.run_env, params)
            close_dead_runs(session, head)
            open_run(session, head)
            plans = {store.code: request.windows for store in stores}
            save_plan(session, head.run_id, pipeline.code, plans, server_time(session))
        return mapped_stores(pipeline, plans)


class SyncStoreOperator(OrdersOperator):
    """
    Pull the planned windows of a store, one after another, under the store's lock.

    Another try goes on where the log says. Stores of the run wait for each other where more are
    begun than the run may sync at once. A store that another run holds to the last try is skipped
    by the profiler, which plans it again; by hand it is a failure.

    :param pipeline: the code of the pipeline.
    :param by_hand: whether somebody asked for these stores and days.
    :param stores: codes of stores; more than one only where there are more stores than mapped tasks.
    :param title: how the task is called in the grid.
    """

    template_fields = ("stores", "title")

    def __init__(self, *, pipeline: str, stores: list[str], title: str, by_hand: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.by_hand = by_hand
        self.stores = stores
        self.title = title

    def execute(self, context: Context) -> dict[str, list[str]]:
        """Return the windows that were done, by store; or fail with the first error."""
        from include.locks import hold_any

        run = self._open_run(context)
        done: dict[str, list[str]] = {}
        errors: list[RetailSyncError] = []
        with (
            permanent_errors_fail(),
            hold_any(run.control, self._turns(context), holder=run.holder, wait=_LONGEST_TURN_SECONDS),
        ):
            for code in self.stores:
                try:
                    done[code] = self._sync(context, run, code)
                except RetailSyncError as error:
                    self.log.error("store %s: %s", code, error)  # noqa: TRY400 (it says all)
                    errors.append(error)
        with permanent_errors_fail():
            self._raise(errors, context)
        return done

    def _sync(self, context: Context, run: SyncRun, code: str) -> list[str]:
        from include.orders_sync.runs import forget_left, planned_of
        from include.orders_sync.stores import named_stores
        from include.orders_sync.sync import sync_store

        pipeline = PIPELINES[self.pipeline]
        with self.session(context) as session:
            forget_left(session, run.id, code)
            (store,) = named_stores(session, pipeline, [code])
            planned = planned_of(session, run.id, pipeline.code, code)
        began = time.monotonic()
        try:
            results = sync_store(run, store, planned, metrics.of_orders_window)
        except RetailSyncError as error:
            self._leave(context, run, code, error)
            raise
        metrics.of_orders_store(pipeline.code, code, time.monotonic() - began)
        if failed := next((result.error for result in results if result.error), None):
            raise failed
        return [result.planned.window.name for result in results]

    def _leave(self, context: Context, run: SyncRun, code: str, error: RetailSyncError) -> None:
        """Record what kept a store from being worked on, if this was the last try."""
        from include.orders_sync.engine import left_as
        from include.orders_sync.runs import leave

        if isinstance(error, PermanentError) or _is_last_try(context):
            with self.session(context) as session:
                leave(session, run.id, code, left_as(error, by_hand=self.by_hand), str(error))

    def _raise(self, errors: Sequence[RetailSyncError], context: Context) -> None:
        """Fail, so that another try follows, unless none of the errors can be helped by one."""
        if not errors:
            return
        if not self.by_hand and _is_last_try(context) and all(isinstance(error, LockHeld) for error in errors):
            raise AirflowSkipException(str(errors[0]))
        raise next((error for error in errors if not isinstance(error, PermanentError)), errors[0])

    def _open_run(self, context: Context) -> SyncRun:
        from include.orders_sync.pipelines import Scope
        from include.orders_sync.runs import today_of
        from include.orders_sync.sync import SyncRun

        settings, params = Settings(), context["params"]
        with permanent_errors_fail(), self.session(context) as session:
            today = today_of(session, self.sync_run_id(context))
        scope = Scope.FULL
        for chosen in (Scope.ORDERS_ONLY, Scope.SALES_ONLY):
            scope = chosen if params.get(chosen.value) else scope
        return SyncRun(
            id=self.sync_run_id(context),
            run_env=params.get("run_env") or settings.run_env,
            today=today,
            control=self.control(context),
            settings=settings,
            open_feed=CrmHook(settings.pipeline_zone).get_feed,
            holder=self.holder(context),
            scope=scope,
        )

    def _turns(self, context: Context) -> list[Name]:
        """Return the places among the stores of the run, from one on that others are not likely to try first."""
        from include.locks import LockSpace, Name

        most = int(context["params"].get("max_workers") or Settings().crm_max_workers)
        first = max(context["ti"].map_index or 0, 0)
        run_id = self.sync_run_id(context)
        return [Name(LockSpace.WORKER, f"{run_id} {(first + turn) % most}") for turn in range(most)]


class CloseSyncOperator(OrdersOperator):
    """Close the record of the run with what became of each window, whatever happened."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the number of windows by status; fails if a window failed, or a pipeline could not be planned."""
        from include.orders_sync.closing import close_run

        run_id = self.sync_run_id(context)
        unplanned = [task for task in failed_tasks(context) if task.rpartition(".")[2] in {"open", "plan"}]
        error = f"the run could not be planned, see the log of {', '.join(unplanned)}" if unplanned else None
        with permanent_errors_fail(), self.session(context) as session:
            summary = close_run(session, self.control(context), run_id, error)
        metrics.of_orders_run(summary)
        self.log.info("%s: %s", summary.status, summary.text)
        message = {"run_id": run_id, "status": summary.status, "text": summary.text, "changed": summary.changed}
        context["ti"].xcom_push(key=MESSAGE_KEY, value=message)
        if summary.status == "failed":
            raise AirflowFailException(summary.text)
        return {"status": summary.status, "windows": len(summary.windows), **summary.totals}


def mapped_stores(pipeline: Pipeline, plans: Plans) -> list[dict[str, Any]]:
    """Return the arguments of the mapped tasks: a store each, or some where Airflow does not map over so many."""
    most = conf.getint("core", "max_map_length")
    codes = sorted(plans)
    size = -(-len(codes) // most) or 1
    groups = [codes[start : start + size] for start in range(0, len(codes), size)]
    return [{"stores": group, "title": _title(pipeline, group, plans)} for group in groups]


def _title(pipeline: Pipeline, codes: Sequence[str], plans: Plans) -> str:
    count = sum(len(plans[code]) for code in codes)
    what = codes[0] if len(codes) == 1 else f"{codes[0]} to {codes[-1]}"
    return f"{pipeline.sync_group} · {what} · {count} window{'s' if count != 1 else ''}"


def _params(context: Context, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run; a conf with names that nobody reads is refused."""
    refuse_unknown(context["dag_run"].conf or {}, defaults)
    return {name: context["params"].get(name, default) for name, default in defaults.items()}


def _profile_request(params: Mapping[str, Any]) -> ProfileRequest:
    settings = Settings()
    return read_profile(params, settings.run_env, settings.crm_max_workers)


def _today() -> date:
    return datetime.now(Settings().pipeline_zone).date()


def _is_last_try(context: Context) -> bool:
    instance = context["ti"]
    return bool(instance.try_number > instance.max_tries)
