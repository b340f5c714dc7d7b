"""What reports need after a nightly run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include import catalog
from include.errors import TransientError
from include.maintenance.request import DEFAULTS, Step, read_request
from include.settings import Settings
from retail_sync.hooks.engine import EngineHook
from retail_sync.operators.base import RunOperator, permanent_errors_fail
from retail_sync.operators.table import failed_tasks

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.maintenance.run import Maintenance

#: Under this key a task says what it could not do, also when it fails.
_PROBLEMS = "problems"


class PlanMaintenanceOperator(BaseOperator):
    """Decide which tables a run maintains, and up to which day their quality is measured."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the request for the other tasks, or fail naming the parameter."""
        values = {name: context["params"].get(name, default) for name, default in DEFAULTS.items()}
        with permanent_errors_fail():
            today = datetime.now(Settings().zone).date()
            request = read_request({**(context["dag_run"].conf or {}), **values}, catalog.load(), today)
        self.log.info("%s tables", len(request.tables))
        return request.as_dict()


class MaintainOperator(RunOperator):
    """
    Do one step to all tables of the run; fails at its end, naming what could not be done.

    :param step: what is done.
    :param after: tasks whose failures fail this one too, once it has done its own.
    """

    def __init__(self, *, step: Step, after: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.after = after

    def execute(self, context: Context) -> dict[str, Any]:
        """Return counts of what was done."""
        from include.maintenance.run import maintain

        values = self.request(context)
        if values is None:
            raise AirflowFailException("the run was refused, see the task `plan`")
        with permanent_errors_fail():
            work = self._maintenance(context)
            request = read_request(values, work.catalog, datetime.now(work.settings.zone).date())
            report = maintain(work, request, [self.step])
        instance = context["ti"]
        instance.xcom_push(key=_PROBLEMS, value=report.problems)
        problems = [*report.problems, *self._earlier_problems(context)]
        if any(failure.is_transient for failure in report.failures):
            raise TransientError("; ".join(problems))
        if problems:
            raise AirflowFailException("; ".join(problems))
        return report.as_dict()

    def _maintenance(self, context: Context) -> Maintenance:
        from include.maintenance.run import Maintenance

        settings, holder = self.settings or Settings(), self._holder(context)
        return Maintenance(
            run_id=context["run_id"],
            warehouse=EngineHook(settings.warehouse_connection, holder).get_warehouse(settings),
            control=EngineHook(settings.control_connection).get_conn(),
            settings=settings,
            holder=holder,
        )

    def _earlier_problems(self, context: Context) -> list[str]:
        failed = [task for task in failed_tasks(context) if task in self.after] if self.after else []
        told = [(task, context["ti"].xcom_pull(task_ids=task, key=_PROBLEMS)) for task in failed]
        return [problem for task, problems in told for problem in problems or [f"{task}: failed, see its log"]]
