"""The shape of the DAG that tells of the last day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_it_tells_each_morning_of_the_day_before(dag_bag: Any) -> None:
    dag = dag_bag.dags["daily_digest"]

    assert [task.task_id for task in dag.tasks] == ["digest"]
    assert dag.timetable.expression == "0 7 * * *"
    assert str(dag.timetable.timezone) == "Asia/Kuala_Lumpur"
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_its_time_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("RETAIL_SYNC_DIGEST_TIME", "06:30")
    dag = DagBag(dag_folder=Path(__file__).parent.parent.parent / "dags" / "daily_digest.py").dags["daily_digest"]

    assert dag.timetable.expression == "30 6 * * *"
