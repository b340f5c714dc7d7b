from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from include import catalog
from include.errors import LockHeld, SchemaMismatch, TransientError
from include.maintenance.request import DEFAULTS, Step, maintained
from include.maintenance.run import Failure, Report
from include.settings import Settings
from retail_sync.assets import NIGHTLY

TABLES = [table.name for table in maintained(catalog.load())]
TASKS = ["plan", "upkeep", "dimensions", "quality"]


@pytest.fixture
def dag(dag_bag: Any) -> Any:
    return dag_bag.dags["warehouse_maintenance"]


def test_the_steps_follow_each_other(dag: Any) -> None:
    edges = {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}

    assert set(dag.task_ids) == set(TASKS)
    assert edges == set(pairwise(TASKS))
    assert not any(task.is_mapped for task in dag.tasks)


def test_it_runs_after_each_nightly_run(dag: Any) -> None:
    assert [asset.name for asset in dag.timetable.asset_condition.objects] == [NIGHTLY.name]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_a_failed_step_does_not_stop_the_next(dag: Any) -> None:
    rules = {task.task_id: task.trigger_rule for task in dag.tasks}

    assert rules == {"plan": "all_success", "upkeep": "all_success", "dimensions": "all_done", "quality": "all_done"}


def test_the_last_task_fails_for_all(dag: Any) -> None:
    assert dag.get_task("quality").after == ["upkeep", "dimensions"]
    assert [dag.get_task(task).step for task in TASKS[1:]] == list(Step)


def test_tasks_are_tried_again_with_growing_pauses(dag: Any) -> None:
    for task in dag.tasks:
        assert (task.retries, task.retry_delay) == (3, timedelta(seconds=30))
        assert task.retry_exponential_backoff


def test_the_params_are_those_of_a_request(dag: Any) -> None:
    assert dict(dag.params.dump()) == DEFAULTS
    assert dag.params.get_param("date").schema["format"] == "date"
    assert dag.params.get_param("tables").schema["examples"] == TABLES


@pytest.mark.parametrize("conf", [{"tables": ["APP_4_STAFF"]}, {"tables": "APP_4_ITEM"}, {"date": "01/10/2025"}])
def test_a_bad_value_is_refused_when_the_dag_is_triggered(dag: Any, conf: dict[str, Any]) -> None:
    ((name, value),) = conf.items()

    with pytest.raises(ParamValidationError, match=name):
        dag.params[name] = value


def planned(**conf: Any) -> dict[str, Any]:
    from retail_sync.operators.maintain import PlanMaintenanceOperator

    context: Any = {"dag_run": SimpleNamespace(conf=conf), "params": {**DEFAULTS, **conf}}
    return PlanMaintenanceOperator(task_id="plan").execute(context)


def test_the_plan_is_all_tables_by_default_and_the_named_ones_in_the_order_of_a_run() -> None:
    assert planned() == {"tables": TABLES, "date": None}
    assert planned(tables=["APP_4_ITEM", "APP_4_SALES"], date="2025-10-31") == {
        "tables": ["APP_4_SALES", "APP_4_ITEM"],
        "date": "2025-10-31",
    }


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"tables": ["APP_4_NOTHING"]}, "APP_4_NOTHING"),
        ({"date": "2999-01-01"}, "in the future"),
        ({"day": "2025-10-01"}, "unknown parameters: day"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        planned(**conf)


class Instance:
    """A task instance of which the tasks before it have these states and problems."""

    dag_id, run_id, task_id, map_index, try_number = "warehouse_maintenance", "run", "quality", -1, 1

    def __init__(self, states: dict[str, str], problems: dict[str, list[str]]) -> None:
        self.states = states
        self.problems = problems
        self.pushed: dict[str, Any] = {}

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: self.states}

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        if task_ids == "plan":
            return {"tables": ["APP_4_SALES"], "date": "2025-10-31"}
        return self.problems.get(task_ids)

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.pushed[key] = value


def run_step(monkeypatch: pytest.MonkeyPatch, report: Report, instance: Instance) -> dict[str, Any]:
    from include.maintenance import run
    from retail_sync.operators.maintain import MaintainOperator

    asked: list[Any] = []

    def maintain(work: Any, request: Any, steps: Any) -> Report:
        asked.append(([table.name for table in request.tables], request.day, list(steps)))
        return report

    operator = MaintainOperator(task_id="quality", step=Step.QUALITY, after=["upkeep", "dimensions"])
    work = SimpleNamespace(catalog=catalog.load(), settings=Settings())
    monkeypatch.setattr(run, "maintain", maintain)
    monkeypatch.setattr(operator, "_maintenance", lambda context: work)
    context: Any = {"ti": instance, "run_id": "run"}
    done = operator.execute(context)
    assert asked == [(["APP_4_SALES"], date(2025, 10, 31), [Step.QUALITY])]
    return done


def test_a_run_without_problems_returns_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance({"upkeep": "success", "dimensions": "success"}, {})

    assert run_step(monkeypatch, Report(), instance)["problems"] == 0
    assert instance.pushed == {"problems": []}


def test_what_failed_before_fails_the_last_task_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance({"upkeep": "failed", "dimensions": "failed"}, {"upkeep": ["upkeep: APP_4_ITEM: no table"]})

    with pytest.raises(AirflowFailException) as failed:
        run_step(monkeypatch, Report(), instance)
    assert "upkeep: APP_4_ITEM: no table" in str(failed.value)
    assert "dimensions: failed, see its log" in str(failed.value)


def test_only_a_passing_failure_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lasting = Report(failures=[Failure("T", Step.QUALITY, SchemaMismatch("T: gone"))])
    passing = Report(failures=[*lasting.failures, Failure("U", Step.QUALITY, LockHeld("U: held"))])

    with pytest.raises(AirflowFailException, match="T: gone"):
        run_step(monkeypatch, lasting, Instance({}, {}))
    with pytest.raises(TransientError, match="T: gone; quality: U: held"):
        run_step(monkeypatch, passing, Instance({}, {}))
