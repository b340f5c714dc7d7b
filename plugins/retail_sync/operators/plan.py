"""Make sense of a DAG run's parameters, before anything is begun."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from include import catalog
from include.errors import BadRequest
from include.parameters import refuse_unknown
from include.replication.request import DEFAULTS, interval_window, month_before, read_request
from include.settings import Settings
from retail_sync.operators.base import permanent_errors_fail

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.windows import Window

_BACKFILL = "backfill"
_MANUAL = "manual"


class PlanRunOperator(BaseOperator):
    """
    Decide which tables and windows a run replicates.

    A manual run takes its dates from the parameters. Scheduled runs and backfills take
    theirs from the data interval, and so does a manual run without dates; where there is
    none, the month before the run is meant.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the request for the other tasks, or fail naming the parameter."""
        dag_run, settings = context["dag_run"], Settings()
        with permanent_errors_fail():
            refuse_unknown(dag_run.conf or {}, DEFAULTS)
            values = {name: context["params"].get(name, default) for name, default in DEFAULTS.items()}
            dated = values["start_date"] is not None or values["end_date"] is not None
            if dated and dag_run.run_type != _MANUAL:
                raise BadRequest(
                    f"start_date and end_date are not for a {dag_run.run_type.value} run: "
                    "its dates are those of the interval; a backfill takes --start-date and --end-date"
                )
            today = datetime.now(settings.zone).date()
            request = read_request(values, None if dated else self._interval(context, settings), catalog.load(), today)
        names = [table.name for table in request.tables]
        self.log.info("%s tables, %s: %s", len(names), request.window.name, ", ".join(names))
        return request.as_dict()

    @staticmethod
    def _interval(context: Context, settings: Settings) -> Window:
        dag_run = context["dag_run"]
        start, end = dag_run.data_interval_start, dag_run.data_interval_end
        if start is None or end is None:
            return month_before(dag_run.run_after, settings.zone)
        return interval_window(start, end, settings.zone)
