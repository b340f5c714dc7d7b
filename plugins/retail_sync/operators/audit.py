"""Audit the replica: compare it with the source over many days, and report what differs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include import catalog
from include.errors import PermanentError
from include.replication.audit_request import DEFAULTS, read_audit
from include.replication.nightly import day_before
from include.settings import Settings
from include.windows import Window
from retail_sync import metrics
from retail_sync.operators.base import REQUEST_KEY, RunOperator, permanent_errors_fail
from retail_sync.operators.table import failed_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from include.replication.audit_report import Row


class PlanAuditOperator(RunOperator):
    """Decide which tables and days a run audits, and begin its row in the history of runs."""

    def execute(self, context: Context) -> list[str]:
        """Return the tables, and leave the request for the other tasks; or fail naming the parameter."""
        from include.replication.history import RunRecord, RunType

        dag_run, settings = context["dag_run"], self.settings or Settings()
        values = {name: context["params"].get(name, default) for name, default in DEFAULTS.items()}
        with permanent_errors_fail():
            yesterday = day_before(dag_run.run_after, settings.zone)
            today = datetime.now(settings.zone).date()
            request = read_audit({**(dag_run.conf or {}), **values}, yesterday, catalog.load(), today)
            names = [table.name for table in request.tables]
            run = self.open_run(context, request.as_dict())
            record = RunRecord(run.warehouse.metadata(), run.id, RunType.AUDIT)
            record.begin(request.window, names, dag_run.start_date)
        self.log.info("%s tables, %s%s", len(names), request.window.name, ", repair" if request.repair else "")
        context["ti"].xcom_push(key=REQUEST_KEY, value=request.as_dict())
        return names


class AuditTableOperator(RunOperator):
    """
    Compare the days of the run of one table, and repair them if the run asks for it.

    :param table: the table's name in the catalog. (templated)
    """

    template_fields = ("table",)

    def __init__(self, *, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    def execute(self, context: Context) -> dict[str, int]:
        """Return how many findings there are, and how many days differ and were repaired."""
        from include.replication.audit import audit_table
        from include.replication.observe import LogObserver

        request = self.request(context)
        if request is None:
            raise AirflowSkipException("the run was refused, see the task `plan`")
        with permanent_errors_fail(), metrics.counting_failures(table=self.table, phase="audit"):
            run = self.open_run(context, request)
            findings = audit_table(
                run,
                catalog.load()[self.table],
                Window.parse(request["window"]),
                lambda table, span: LogObserver(f"{table.name} {span.name} repair", run.settings.progress_every),
                repair=request["repair"],
                attempt=context["ti"].try_number,
            )
        days = [found for found in findings if found.is_differing_day]
        metrics.of_audit(self.table, sum(not found.repaired for found in days))
        return {
            "findings": len(findings),
            "days_differing": len(days),
            "days_repaired": sum(found.repaired for found in days),
        }


class ReportAuditOperator(RunOperator):
    """Print what the audit found, write it as a file, close the run's row; fail if a difference was left."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the path of the file and the number of its rows."""
        from include.replication.audit_record import rows_of_audit
        from include.replication.audit_report import lines, write_report
        from include.replication.history import RunRecord, RunType

        failed = failed_tasks(context)
        request = self.request(context)
        if request is None:
            raise AirflowFailException(f"the run was refused, see the log of: {', '.join(failed)}")
        run = self.open_run(context, request)
        engine = run.warehouse.metadata()
        rows = rows_of_audit(engine, run.id)
        for line in lines(rows):
            self.log.info("%s", line)
        problems, path = self._problems(request, rows, failed), None
        try:
            path = write_report(run.settings.exports_url, run.id, rows)
        except PermanentError as error:
            problems.append(str(error))
        RunRecord(engine, run.id, RunType.AUDIT).end(problems)
        if problems:
            raise AirflowFailException("; ".join(problems))
        return {"path": path, "rows": len(rows)}

    @staticmethod
    def _problems(request: Mapping[str, Any], rows: Sequence[Row], failed: Sequence[str]) -> list[str]:
        from include.replication.audit_report import unrepaired

        known, audited = catalog.load(), {row["table_name"] for row in rows}
        lost = [name for name in request["tables"] if name not in audited and not known[name].optional]
        problems = [*unrepaired(rows), *(f"{name}: not audited, see the log of its task" for name in lost)]
        return [*problems, *([f"failed tasks: {', '.join(failed)}"] if failed else [])]
