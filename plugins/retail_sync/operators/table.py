"""What comes before and after the months of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include import catalog
from include.replication.progress import Phase
from include.replication.request import OnFailure
from include.windows import UNDATED
from retail_sync.assets import replica_asset
from retail_sync.metrics import counting_failures
from retail_sync.operators.base import RunOperator, TableOperator, permanent_errors_fail

if TYPE_CHECKING:
    from airflow.sdk import Context

_FAILED_STATES = {"failed", "upstream_failed"}


def failed_tasks(context: Context) -> list[str]:
    """Return the tasks of the run that failed so far; a mapped one once for each of its windows."""
    instance = context["ti"]
    states = instance.get_task_states(dag_id=instance.dag_id, run_ids=[instance.run_id])[instance.run_id]
    return sorted(task for task, state in states.items() if state in _FAILED_STATES)


class OpenTableOperator(RunOperator):
    """
    Make a table ready and return its windows, one for each mapped task.

    Skips the table if the run does not ask for it, if the run was refused, or if an earlier
    table failed and the run asks to stop then.

    :param table: the table's name in the catalog.
    """

    def __init__(self, *, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    def execute(self, context: Context) -> list[str]:
        """Return the windows as ``start/end``; none for a table that the source does not have."""
        from include.replication.prepare import prepare

        request = self.request(context)
        if request is None:
            raise AirflowSkipException("the run was refused, see the task `plan`")
        if self.table not in request["tables"]:
            raise AirflowSkipException(f"{self.table} is not asked for")
        self._stop_after_failure(context, request)
        with permanent_errors_fail():
            exposed = prepare(self.open_run(context, request), catalog.load()[self.table])
        return list(request["windows"]) if exposed else []

    @staticmethod
    def _stop_after_failure(context: Context, request: Mapping[str, Any]) -> None:
        if request["on_failure"] == OnFailure.STOP and (failed := failed_tasks(context)):
            raise AirflowSkipException(f"on_failure is stop, and these failed: {', '.join(failed)}")


class CloseTableOperator(TableOperator):
    """
    Replicate the rows without a date, and tell the table's asset what the run did.

    :param table: the table's name in the catalog.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Return row counts: of the run's windows together, and of each."""
        from include.replication.observe import LogObserver
        from include.replication.progress import rows_of_run
        from include.replication.replicate import replicate

        request = self.request(context)
        if request is None:
            raise AirflowSkipException("the run was refused, see the task `plan`")
        table = catalog.load()[self.table]
        with permanent_errors_fail(), counting_failures(table=self.table, phase=Phase.LOAD):
            run = self.open_run(context, request)
            observer = LogObserver(f"{table.name} {UNDATED.name}", run.settings.progress_every)
            self.done(replicate(run, table, UNDATED, observer, context["ti"].try_number), Phase.LOAD)
            windows = rows_of_run(run.warehouse.metadata(), run.id, table.name)
        summary = {
            "run_id": run.id,
            "rows": sum(row["rows_published"] or 0 for row in windows),
            "rows_read": sum(row["rows_read"] or 0 for row in windows),
            "windows": {row["window_name"]: row["rows_published"] for row in windows},
        }
        context["outlet_events"][replica_asset(table)].extra = summary
        return summary
