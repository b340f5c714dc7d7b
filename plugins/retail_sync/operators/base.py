"""What the operators of a run share: how a run is put together, and which errors are worth a retry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include import catalog
from include.errors import PermanentError
from include.settings import Settings
from retail_sync.hooks.engine import EngineHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.replication.run import Run

#: The task whose result says what the run is asked to do.
PLAN_TASK_ID = "plan"
#: Where a plan puts the request whose own result is the list of tables to map over: Airflow maps results only.
REQUEST_KEY = "request"


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
