"""What the operators of a run share: how a run is put together, and which errors are worth a retry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include import catalog
from include.errors import PermanentError
from include.settings import Settings
from retail_sync import metrics
from retail_sync.hooks.engine import EngineHook
from retail_sync.lineage import lineage_of

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from include.replication.run import Report, Run

#: The task whose result says what the run is asked to do.
PLAN_TASK_ID = "plan"
#: Where a plan puts the request whose own result is the list of tables to map over: Airflow maps results only.
REQUEST_KEY = "request"
#: Where a task leaves what a message about the run says: run_id, status, text, changed.
MESSAGE_KEY = "message"
#: Where the health of replications is left, also if the task fails: status and reasons by name.
HEALTH_KEY = "health"


@contextmanager
def permanent_errors_fail() -> Iterator[None]:
    """Fail the task at once where a retry cannot help; whatever else is raised is tried again."""
    try:
        yield
    except PermanentError as error:
        raise AirflowFailException(str(error)) from error


def _secret(settings: Settings) -> bytes | None:
    """Return the key of hashed columns, None where the catalog hashes none."""
    if not catalog.load().hashes:
        return None
    return (BaseHook.get_connection(settings.hash_key_connection).password or "").encode() or None


class RunOperator(BaseOperator):
    """
    An operator that works on the databases of a run.

    :param settings: the settings; by default those of the environment of the task.
    """

    def __init__(self, *, settings: Settings | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings

    def open_run(self, context: Context, request: Mapping[str, Any]) -> Run:
        """Return the run of a DAG run, as the request of its plan says."""
        from include.replication.export import ExportTarget
        from include.replication.run import Run
        from include.replication.verify import Verify

        settings = self.settings or Settings()
        holder = self._holder(context)
        return Run(
            id=context["run_id"],
            source=EngineHook(settings.source_connection, holder).get_source(_secret(settings)),
            warehouse=EngineHook(settings.warehouse_connection, holder).get_warehouse(settings),
            control=EngineHook(settings.control_connection).get_conn(),
            settings=settings,
            verify=Verify(request["verify"]),
            export=ExportTarget(settings.exports_url) if request["export"] else None,
            force=request["force"],
            allow_empty=request.get("allow_empty", False),
            holder=holder,
        )

    def request(self, context: Context) -> Mapping[str, Any] | None:
        """Return what the run's plan decided, None where it refused."""
        instance = context["ti"]
        found: Mapping[str, Any] | None = instance.xcom_pull(task_ids=PLAN_TASK_ID, key=REQUEST_KEY)
        return found or instance.xcom_pull(task_ids=PLAN_TASK_ID)

    @staticmethod
    def _holder(context: Context) -> str:
        instance = context["ti"]
        place = f"[{instance.map_index}]" if (instance.map_index or -1) >= 0 else ""
        return f"{instance.dag_id} {instance.task_id}{place} try {instance.try_number}"


class TableOperator(RunOperator):
    """
    An operator that moves rows of a table; what it has moved goes to metrics and lineage.

    :param table: the table's name in the catalog. (templated)
    """

    template_fields: Sequence[str] = ("table",)

    def __init__(self, *, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.reports: list[Report] = []

    def done(self, report: Report, phase: str) -> dict[str, Any]:
        """Take note of a window that is done; returns its report as plain values."""
        self.reports.append(report)
        metrics.of_report(report, phase)
        return report.as_dict()

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return the table at the source and in the warehouse."""
        return lineage_of(catalog.load()[self.table], [], self.settings or Settings())

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage[Any, Any]:  # noqa: ARG002
        """Return the same, with the rows and bytes of the windows that were done."""
        return lineage_of(catalog.load()[self.table], self.reports, self.settings or Settings())
