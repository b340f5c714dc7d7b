"""The nightly run: load yesterday, check the days before, sweep what changed, record it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include import catalog
from include.errors import BadRequest
from include.replication.nightly import DEFAULTS, day_before, read_nightly
from include.replication.progress import Phase
from include.settings import Settings
from include.windows import Window, spans
from retail_sync.metrics import counting_failures
from retail_sync.operators.base import REQUEST_KEY, RunOperator, TableOperator, permanent_errors_fail
from retail_sync.operators.table import failed_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from airflow.sdk import Context

    from include.catalog import Table
    from include.replication.observe import Observer
    from include.replication.run import Report, Run
    from include.windows import Span

_MANUAL = "manual"
_DATES = ("date", "start", "end")


class PlanNightlyOperator(RunOperator):
    """
    Decide which days a nightly run loads and checks.

    A manual run takes them from the parameters, or loads the day before it. Scheduled runs and
    backfills load the day on which their data interval begins.
    """

    def execute(self, context: Context) -> list[str]:
        """Return the tables, and leave the request for the other tasks; or fail naming the parameter."""
        dag_run, settings = context["dag_run"], self.settings or Settings()
        values = {name: context["params"].get(name, default) for name, default in DEFAULTS.items()}
        with permanent_errors_fail():
            if dag_run.run_type != _MANUAL and any(values[name] is not None for name in _DATES):
                raise BadRequest(
                    f"{', '.join(_DATES)} are not for a {dag_run.run_type.value} run: its day is that of the interval"
                )
            today = datetime.now(settings.zone).date()
            yesterday = self._yesterday(context, settings)
            request = read_nightly({**(dag_run.conf or {}), **values}, yesterday, catalog.load(), today)
        self.log.info(
            "%s tables; load %s, check %s, %s",
            len(request.tables),
            request.load.name if request.load else "nothing",
            request.fix.name,
            "sweep" if request.sweep else "no sweep",
        )
        context["ti"].xcom_push(key=REQUEST_KEY, value=request.as_dict())
        return [table.name for table in request.tables]

    @staticmethod
    def _yesterday(context: Context, settings: Settings) -> date:
        dag_run = context["dag_run"]
        if dag_run.run_type != _MANUAL and dag_run.data_interval_start is not None:
            start: date = dag_run.data_interval_start.astimezone(settings.zone).date()
            return start
        return day_before(dag_run.run_after, settings.zone)


class NightlyPhaseOperator(TableOperator):
    """
    Do one phase of the run to one table.

    :param phase: load, fix or sweep.
    :param table: the table's name in the catalog. (templated)
    """

    def __init__(self, *, phase: Phase, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.phase = phase

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the reports of the table's spans; none for a table that the source does not have."""
        from include.replication.prepare import prepare

        request = self.request(context)
        if request is None:
            raise AirflowSkipException("the run was refused, see the task `plan`")
        if not self._is_asked_for(request):
            raise AirflowSkipException(f"the run has no {self.phase.value}")
        table = catalog.load()[self.table]
        with permanent_errors_fail(), counting_failures(table=self.table, phase=self.phase):
            run = self.open_run(context, request)
            if not prepare(run, table):
                return []
            done = self._do(run, table, request, context["ti"].try_number)
            return [self.done(report, self.phase) for report in done]

    def _is_asked_for(self, request: Mapping[str, Any]) -> bool:
        return self.phase is Phase.FIX or bool(request[self.phase.value])

    def _do(self, run: Run, table: Table, request: Mapping[str, Any], attempt: int) -> Iterator[Report]:
        from include.replication.reconcile import reconcile
        from include.replication.replicate import replicate
        from include.replication.sweep import sweep
        from include.windows import CHANGES

        if self.phase is Phase.LOAD:
            for span in spans(Window.parse(request["load"])):
                yield replicate(run, table, span, self._observer(run, table, span), attempt)
        elif self.phase is Phase.FIX:
            window = Window.parse(request["fix"])
            yield reconcile(run, table, window, self._observer(run, table, window), attempt)
        else:
            yield sweep(run, table, self._observer(run, table, CHANGES), attempt)

    def _observer(self, run: Run, table: Table, span: Span) -> Observer:
        from include.replication.observe import LogObserver

        return LogObserver(f"{table.name} {span.name} {self.phase.value}", run.settings.progress_every)


class RecordNightlyOperator(RunOperator):
    """Write the run into the history, T-0 and T-1 apart, and tell those who wait for the night's data."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return what went wrong by type of run."""
        from include.replication.history import RunRecord, RunType
        from include.replication.progress import failures_of_run

        request = self.request(context)
        if request is None:
            raise AirflowSkipException("the run was refused, see the task `plan`")
        parts = {RunType.T1: (Window.parse(request["fix"]), [Phase.FIX, Phase.SWEEP])}
        if request["load"]:
            parts[RunType.T0] = (Window.parse(request["load"]), [Phase.LOAD])
        with permanent_errors_fail():
            run = self.open_run(context, request)
            engine, told = run.warehouse.metadata(), {}
            lost = [task for task in failed_tasks(context) if task != self.task_id]
            for type_, (window, phases) in parts.items():
                errors = failures_of_run(engine, run.id, phases)
                if not errors and (own := [task for task in lost if _phase_of(task) in phases]):
                    errors = [f"failed tasks: {', '.join(own)}"]
                record = RunRecord(engine, run.id, type_)
                record.begin(window, request["tables"], context["dag_run"].start_date)
                record.end(errors, phases)
                told[type_.value] = errors
        return told


def _phase_of(task: str) -> str:
    """Return the phase of a task's state: a mapped task has its index behind it, ``load_0``."""
    return task.partition("_")[0]
