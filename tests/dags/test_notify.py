"""Who is told of runs, and when the nightly run is due, as the DAGs say it."""

from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.settings import Settings

DAGS = Path(__file__).parent.parent.parent / "dags"
#: The last task of each run.
LAST = {
    "sales_replication": "verdict",
    "nightly_replica": "verdict",
    "reference_tables": "verdict",
    "warehouse_maintenance": "quality",
    "replica_audit": "report",
    "orders_sync_profiler": "close",
    "td_orders_sync": "close",
    "uc_orders_sync": "close",
    "cdc_replication": "health",
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The DAGs where somebody wants to be told."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("RETAIL_SYNC_NOTIFY_WEBHOOK", "chat")
    return DagBag(dag_folder=DAGS).dags


def test_the_last_task_of_each_run_tells_of_it_and_no_other_task_does(told: Any) -> None:
    from retail_sync.notify import RunNotifier
    from retail_sync.notify.health import HealthNotifier

    for dag_id, last in LAST.items():
        notifier = HealthNotifier if dag_id == "cdc_replication" else RunNotifier
        for task in told[dag_id].tasks:
            for callbacks in (task.on_success_callback, task.on_failure_callback):
                assert [type(callback) for callback in callbacks] == ([notifier] if task.task_id == last else [])


def test_nobody_is_told_unless_somebody_wants_it(dag_bag: Any) -> None:
    for dag_id, last in LAST.items():
        task = dag_bag.dags[dag_id].get_task(last)
        assert not task.on_success_callback
        assert not task.on_failure_callback
    assert not dag_bag.dags["nightly_replica"].deadline


def test_the_nightly_run_is_due_three_hours_after_it_began(told: Any) -> None:
    (alert,) = told["nightly_replica"].deadline

    # the logical date is the beginning of the interval, a day before the run begins
    assert alert.reference.reference_name == "DagRunLogicalDateDeadline"
    assert alert.interval == timedelta(days=1, hours=3)
    assert alert.callback.path == "retail_sync.notify.late.tell_late"
    assert [dag_id for dag_id, dag in told.items() if dag.deadline] == ["nightly_replica"]


def test_a_time_before_the_run_begins_is_one_of_the_next_day() -> None:
    from retail_sync.dag_parts import done_by

    alert = done_by(Settings(notify="ann@example.com"), time(1, 30), begins=time(2))

    assert alert is not None
    assert alert.interval == timedelta(days=2) - timedelta(minutes=30)
