"""Say how a run went, and fail it if any part failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from include.replication.progress import Status, rows_of_run
from retail_sync.operators.base import RunOperator
from retail_sync.operators.table import failed_tasks

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerdictOperator(RunOperator):
    """Fail the run if any task failed, naming table, month and error; else sum it up."""

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
        broken = [row for row in rows if row["status"] in (Status.FAILED, Status.RUNNING)]
        if failed or broken:
            told = [f"{row['table_name']} {row['window_name']}: {row['error'] or 'not finished'}" for row in broken]
            raise AirflowFailException("; ".join([*told, f"failed tasks: {', '.join(failed) or 'none'}"]))
        return {"windows": len(rows), "rows": sum(row["rows_published"] or 0 for row in rows)}
