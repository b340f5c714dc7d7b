"""Follow other databases under Airflow: plan, copy each table, put in place, apply, look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.cdc import loader
from include.cdc.request import DEFAULTS, Action, ActionRequest, read_action
from include.errors import LockHeld, RetailSyncError
from include.settings import Settings
from retail_sync.hooks.engine import EngineHook
from retail_sync.operators.base import permanent_errors_fail
from retail_sync.operators.table import failed_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from include.cdc.run import CdcRun


class CdcOperator(BaseOperator):
    """An operator that works on followed databases."""

    def cdc_run(self, context: Context, name: str) -> CdcRun:
        """Return the run of a replication."""
        from include.cdc.run import CdcRun

        settings, instance = Settings(), context["ti"]
        replication = loader.pick(loader.load(settings.cdc_file), name)
        place = f"[{instance.map_index}]" if (instance.map_index or -1) >= 0 else ""
        holder = f"{instance.dag_id} {instance.task_id}{place} try {instance.try_number}"
        return CdcRun(
            id=context["run_id"],
            replication=replication,
            source=EngineHook(replication.source).get_conn(),
            warehouse=EngineHook(settings.warehouse_connection).get_conn(),
            control=EngineHook(settings.control_connection).get_conn(),
            settings=settings,
            holder=holder,
        )

    @staticmethod
    def request(context: Context) -> ActionRequest:
        """Return what the run is asked to do."""
        given = context["dag_run"].conf or {}
        values = {name: context["params"].get(name, default) for name, default in DEFAULTS.items()}
        return read_action({**given, **values}, loader.load(Settings().cdc_file))


class PlanCdcOperator(CdcOperator):
    """Do what needs no copy (stop, resume, drop), and decide which tables have to be copied."""

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Return the tables to copy, for one mapped task each; or fail with every problem of the sources."""
        copies: list[dict[str, str]] = []
        errors: list[RetailSyncError] = []
        with permanent_errors_fail():
            request = self.request(context)
            self.log.info("%s: %s", request.action, ", ".join(request.replications) or "no replication is declared")
            for name in request.replications:
                try:
                    tables = self._plan(request, self.cdc_run(context, name))
                except RetailSyncError as error:
                    self.log.error("%s", error)  # noqa: TRY400 (it says all)
                    errors.append(error)
                    continue
                copies += [{"replication": name, "table": table} for table in tables]
            if errors:
                raise errors[0]
        return copies

    @staticmethod
    def _plan(request: ActionRequest, run: CdcRun) -> list[str]:
        from include.cdc import begin, operate, validate

        if request.copies:
            validate.assert_ready(run.replication, run.source, run.warehouse, run.control)
            return begin.begin(run, resync=request.action is Action.RESYNC, tables=request.tables)
        simple: dict[Action, Callable[[CdcRun], object]] = {
            Action.STOP: operate.stop,
            Action.RESUME: operate.resume,
            Action.DROP: operate.drop,
        }
        if request.action in simple:
            simple[request.action](run)
        return []


class CopyTableOperator(CdcOperator):
    """
    Pin the log's position if nobody has, and copy a table; another try goes on where the last one stood.

    :param replication: the replication.
    :param table: the table at the source.
    """

    template_fields = ("replication", "table")

    def __init__(self, *, replication: str, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.replication = replication
        self.table = table

    def execute(self, context: Context) -> dict[str, Any]:
        """Return rows and seconds."""
        from include.cdc.copy import copy_table

        with permanent_errors_fail():
            copied = copy_table(self.cdc_run(context, self.replication), self.table)
        return {"table": copied.table, "rows": copied.rows, "seconds": copied.seconds}


class SwapOperator(CdcOperator):
    """Put what was copied in place, and decide which replications are followed."""

    def execute(self, context: Context) -> list[str]:
        """Return the replications to follow, for one mapped task each."""
        from include.cdc.swap import swap

        if any(task.endswith("plan") for task in failed_tasks(context)):
            raise AirflowSkipException("the run was refused, see the task `plan`")
        with permanent_errors_fail():
            request = self.request(context)
            if request.copies:
                for name in request.replications:
                    swap(self.cdc_run(context, name))
        return list(request.replications) if request.follows else []


class ApplyChangesOperator(CdcOperator):
    """
    Apply what a source has committed.

    :param replication: the replication.
    """

    template_fields = ("replication",)

    def __init__(self, *, replication: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.replication = replication

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the figures of the stream; skips a replication that has to wait."""
        from include.cdc.follow import Task, follow

        with permanent_errors_fail():
            request = self.request(context)
            run = self.cdc_run(context, self.replication)
            task = Task(minutes=request.minutes, compare=request.action is Action.COMPARE)
            try:
                figures = follow(run, task)
            except LockHeld as error:
                raise AirflowSkipException(str(error)) from error
        if reason := figures.get("waiting"):
            raise AirflowSkipException(f"replication {self.replication}: {reason}")
        self.log.info("replication %s: %s", self.replication, figures)
        different = [table["table"] for table in figures.get("compared") or [] if not table["equal"]]
        if different:
            raise AirflowFailException(f"replication {self.replication}: {', '.join(different)} differ from the source")
        return figures


class HealthOperator(CdcOperator):
    """Say how the replications are; fails the run if one is unhealthy, or a task failed."""

    def execute(self, context: Context) -> dict[str, str]:
        """Return the status of each replication."""
        from include.cdc.health import check

        failed = failed_tasks(context)
        statuses: dict[str, str] = {}
        texts: list[str] = []
        with permanent_errors_fail():
            for name in loader.load(Settings().cdc_file):
                health = check(self.cdc_run(context, name))
                statuses[name] = health.status
                self.log.info("replication %s is %s", name, health.status)
                texts += [f"{name}: {reason.text}" for reason in health.reasons if reason.severity == "unhealthy"]
        if failed:
            texts.append(f"failed tasks: {', '.join(failed)}")
        if texts:
            raise AirflowFailException("; ".join(texts))
        return statuses
