from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, ParamValidationError

from include import catalog
from include.replication.refresh import DEFAULTS

TABLES = [table.name for table in catalog.load().group("reference")]


@pytest.fixture
def dag(dag_bag: Any) -> Any:
    return dag_bag.dags["reference_tables"]


def test_the_tables_are_refreshed_between_plan_and_verdict(dag: Any) -> None:
    edges = {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}

    assert set(dag.task_ids) == {"plan", "refresh", "verdict"}
    assert edges == {("plan", "refresh"), ("refresh", "verdict")}


def test_the_refresh_is_mapped_over_the_tables_of_the_plan(dag: Any) -> None:
    task = dag.get_task("refresh")

    assert [each.task_id for each in dag.tasks if each.is_mapped] == ["refresh"]
    assert list(task.expand_input.value) == ["table"]
    assert task.expand_input.value["table"].operator.task_id == "plan"
    assert task.partial_kwargs["map_index_template"] == "{{ task.table }}"


def test_what_reads_the_source_runs_in_its_pool(dag: Any) -> None:
    pools = {task.task_id: task.pool for task in dag.tasks}

    assert pools == {"plan": "default_pool", "refresh": "pos_source", "verdict": "default_pool"}


def test_only_the_verdict_waits_for_failures(dag: Any) -> None:
    rules = {task.task_id: task.trigger_rule for task in dag.tasks}

    assert rules == {"plan": "all_success", "refresh": "all_success", "verdict": "all_done"}


def test_tasks_are_tried_again_with_growing_pauses(dag: Any) -> None:
    for task in dag.tasks:
        assert (task.retries, task.retry_delay) == (3, timedelta(seconds=30))
        assert task.retry_exponential_backoff
        assert task.max_retry_delay == timedelta(minutes=10)


def test_the_verdict_records_the_run_as_one_of_reference_tables(dag: Any) -> None:
    assert dag.get_task("verdict").run_type == "reference"
    assert [task.task_id for task in dag.tasks if task.outlets] == []


def test_a_run_is_at_one_in_the_business_timezone(dag: Any) -> None:
    zone = ZoneInfo("Asia/Kuala_Lumpur")

    assert dag.timetable.expression == "0 1 * * *"
    assert str(dag.timetable.timezone) == zone.key
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.start_date.astimezone(zone) == datetime(2018, 1, 1, tzinfo=zone)


def test_the_params_are_those_of_a_request(dag: Any) -> None:
    assert dict(dag.params.dump()) == DEFAULTS
    assert {dag.params.get_param(name).schema["format"] for name in ("start_date", "end_date")} == {"date"}
    assert dag.params.get_param("tables").schema["examples"] == TABLES


@pytest.mark.parametrize(
    "conf",
    [
        {"tables": ["APP_4_SALES"]},
        {"tables": "APP_4_ITEM"},
        {"start_date": "01/10/2025"},
        {"end_date": 20251001},
        {"full_table": "no"},
        {"allow_empty": None},
        {"force": 1},
        {"export": "yes"},
    ],
)
def test_a_bad_value_is_refused_when_the_dag_is_triggered(dag: Any, conf: dict[str, Any]) -> None:
    ((name, value),) = conf.items()

    with pytest.raises(ParamValidationError, match=name):
        dag.params[name] = value


def planned(**conf: Any) -> tuple[list[str], dict[str, Any]]:
    from retail_sync.operators.refresh import PlanRefreshOperator

    pushed: dict[str, Any] = {}
    instance = SimpleNamespace(xcom_push=lambda key, value: pushed.__setitem__(key, value))
    context: Any = {"dag_run": SimpleNamespace(conf=conf), "ti": instance, "params": {**DEFAULTS, **conf}}
    return PlanRefreshOperator(task_id="plan").execute(context), pushed


def test_the_plan_returns_the_tables_the_smallest_first_and_leaves_the_request() -> None:
    dates = {"full_table": False, "start_date": "2025-10-05", "end_date": "2025-10-20"}
    tables, pushed = planned(tables=["APP_4_EODLOG", "APP_4_ITEM"], **dates)

    assert tables == ["APP_4_ITEM", "APP_4_EODLOG"]
    assert list(pushed) == ["request"]
    assert pushed["request"]["spans"] == {"APP_4_ITEM": "whole", "APP_4_EODLOG": "2025-10-05/2025-10-21"}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"full_table": False}, "give start_date and end_date"),
        ({"start_date": "2025-10-05"}, "set full_table to false"),
        ({"full_table": False, "start_date": "2025-10-05", "end_date": "2999-01-01"}, "in the future"),
        ({"date": "2025-10-05"}, "unknown parameters: date"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        planned(**conf)


def test_no_table_is_refreshed_without_a_plan() -> None:
    from retail_sync.operators.refresh import RefreshTableOperator

    context: Any = {"ti": SimpleNamespace(xcom_pull=lambda **_: None)}

    with pytest.raises(AirflowSkipException, match="refused"):
        RefreshTableOperator(task_id="refresh", table="APP_4_ITEM").execute(context)
