"""Refresh reference tables."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include import catalog
from include.replication.progress import Phase
from include.replication.refresh import DEFAULTS, read_refresh, refresh, span_of
from include.settings import Settings
from retail_sync.metrics import counting_failures
from retail_sync.operators.base import REQUEST_KEY, RunOperator, TableOperator, permanent_errors_fail

if TYPE_CHECKING:
    from airflow.sdk import Context


class PlanRefreshOperator(RunOperator):
    """Decide which tables a run refreshes, the smallest first, and whether whole or some days of them."""

    def execute(self, context: Context) -> list[str]:
        """Return the tables, and leave the request for the other tasks; or fail naming the parameter."""
        values = {name: context["params"].get(name, default) for name, default in DEFAULTS.items()}
        with permanent_errors_fail():
            today = datetime.now((self.settings or Settings()).zone).date()
            request = read_refresh({**(context["dag_run"].conf or {}), **values}, catalog.load(), today)
        self.log.info("%s tables: %s", len(request.tables), ", ".join(table.name for table in request.tables))
        context["ti"].xcom_push(key=REQUEST_KEY, value=request.as_dict())
        return [table.name for table in request.tables]


class RefreshTableOperator(TableOperator):
    """
    Replace a reference table, or some days of it, by the source's rows.

    :param table: the table's name in the catalog. (templated)
    """

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Return the report, None for a table that the source does not have."""
        from include.replication.observe import LogObserver

        request = self.request(context)
        if request is None:
            raise AirflowSkipException("the run was refused, see the task `plan`")
        table = catalog.load()[self.table]
        span = span_of(request, table)
        with permanent_errors_fail(), counting_failures(table=self.table, phase=Phase.LOAD):
            run = self.open_run(context, request)
            observer = LogObserver(f"{table.name} {span.name}", run.settings.progress_every)
            report = refresh(run, table, span, observer, context["ti"].try_number)
        return self.done(report, Phase.LOAD) if report else None
