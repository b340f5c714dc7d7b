"""Say how a run went, and fail it if any part failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from include.replication.progress import failures_of_run, rows_of_run
from include.windows import Window
from retail_sync.operators.base import RunOperator
from retail_sync.operators.table import failed_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from include.replication.run import Run


class VerdictOperator(RunOperator):
    """
    Fail the run if any task failed, naming table, month and error; else sum it up.

    :param run_type: how the run is called in the history, by default by how it was begun; None for a
        run that has a task of its own to record it.
    """

    def __init__(self, *, run_type: str | None = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_type = run_type

    def execute(self, context: Context) -> dict[str, Any]:
        """Return windows and rows of the run."""
        failed = failed_tasks(context)
        request = self.request(context)
        if request is None:
            raise AirflowFailException(f"the run was refused, see the log of: {', '.join(failed)}")
        run = self.open_run(context, request)
        rows = rows_of_run(run.warehouse.metadata(), run.id)
        for row in rows:
            self.log.info(
                "%-24s %-10s %-11s %12s rows",
                *(row["table_name"], row["window_name"], row["status"], f"{row['rows_published'] or 0:,}"),
            )
        errors = failures_of_run(run.warehouse.metadata(), run.id)
        if failed:
            errors.append(f"failed tasks: {', '.join(failed)}")
        self._record(context, run, request, errors)
        if errors:
            raise AirflowFailException("; ".join(errors))
        return {"windows": len(rows), "rows": sum(row["rows_published"] or 0 for row in rows)}

    def _record(self, context: Context, run: Run, request: Mapping[str, Any], errors: list[str]) -> None:
        if self.run_type is None:
            return
        from include.replication.history import RunRecord, RunType

        record = RunRecord(run.warehouse.metadata(), run.id, RunType(self.run_type or context["dag_run"].run_type))
        windows = [Window.parse(text) for text in request.get("windows") or [request.get("window")] if text]
        whole = Window(windows[0].start, windows[-1].end) if windows else None
        record.begin(whole, request["tables"], context["dag_run"].start_date)
        record.end(errors)
