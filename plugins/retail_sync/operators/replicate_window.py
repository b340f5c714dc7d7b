"""Replicate one window of one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include import catalog
from include.replication.progress import Phase
from include.windows import Window
from retail_sync.metrics import counting_failures
from retail_sync.operators.base import TableOperator, permanent_errors_fail

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReplicateWindowOperator(TableOperator):
    """
    Replace one window of a warehouse table by the source's rows.

    :param table: the table's name in the catalog. (templated)
    :param window: ISO ``start/end``, the end exclusive. (templated)
    """

    template_fields = ("table", "window")

    def __init__(self, *, window: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = window

    @property
    def window_name(self) -> str:
        """The window as the grid shows it: ``2025-10``."""
        return Window.parse(self.window).name

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the report of the window, as plain values."""
        from include.replication.observe import LogObserver
        from include.replication.replicate import replicate

        request = self.request(context)
        if request is None:
            raise RuntimeError("the run has no plan; clear the task `plan` first")
        with permanent_errors_fail(), counting_failures(table=self.table, phase=Phase.LOAD):
            table, window = catalog.load()[self.table], Window.parse(self.window)
            run = self.open_run(context, request)
            observer = LogObserver(f"{table.name} {window.name}", run.settings.progress_every)
            return self.done(replicate(run, table, window, observer, context["ti"].try_number), Phase.LOAD)
