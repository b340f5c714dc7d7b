from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk.exceptions import ParamValidationError

from include import catalog
from include.replication.nightly import DEFAULTS
from include.replication.progress import Phase
from retail_sync.assets import NIGHTLY

TABLES = [table.name for table in catalog.load().group("nightly")]
PHASES = ["load", "fix", "sweep"]
TASKS = ["plan", *PHASES, "record", "verdict"]


@pytest.fixture
def dag(dag_bag: Any) -> Any:
    return dag_bag.dags["nightly_replica"]


def test_the_phases_follow_each_other_then_the_record_and_the_verdict(dag: Any) -> None:
    edges = {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}

    assert set(dag.task_ids) == set(TASKS)
    # a mapped task is also after the task whose result it is mapped over
    assert edges == {*pairwise(TASKS), *(("plan", phase) for phase in PHASES)}


def test_the_phases_are_mapped_over_the_tables_of_the_plan(dag: Any) -> None:
    mapped = {task.task_id: task.partial_kwargs["phase"] for task in dag.tasks if task.is_mapped}

    assert mapped == {phase.value: phase for phase in Phase}
    for phase in PHASES:
        task = dag.get_task(phase)
        assert list(task.expand_input.value) == ["table"]
        assert task.expand_input.value["table"].operator.task_id == "plan"
        assert task.partial_kwargs["map_index_template"] == "{{ task.table }}"


def test_what_reads_the_source_runs_in_its_pool(dag: Any) -> None:
    pools = {task.task_id: task.pool for task in dag.tasks}

    assert pools == {task: "pos_source" if task in PHASES else "default_pool" for task in TASKS}


def test_a_failed_table_does_not_stop_what_comes_after(dag: Any) -> None:
    rules = {task.task_id: task.trigger_rule for task in dag.tasks}

    assert rules == {"plan": "all_success", **dict.fromkeys(TASKS[1:], "all_done")}


def test_tasks_are_tried_again_with_growing_pauses(dag: Any) -> None:
    for task in dag.tasks:
        assert (task.retries, task.retry_delay) == (3, timedelta(seconds=30))
        assert task.retry_exponential_backoff
        assert task.max_retry_delay == timedelta(minutes=10)


def test_the_record_tells_those_who_wait_for_the_nights_data(dag: Any) -> None:
    outlets = {task.task_id: task.outlets for task in dag.tasks if task.outlets}

    assert outlets == {"record": [NIGHTLY]}
    assert NIGHTLY.name == "nightly_replica"


def test_the_verdict_leaves_the_history_to_the_record(dag: Any) -> None:
    assert dag.get_task("verdict").run_type is None


def test_a_run_is_at_two_in_the_business_timezone_for_the_day_that_ended(dag: Any) -> None:
    zone = ZoneInfo("Asia/Kuala_Lumpur")

    assert dag.timetable.expression == "0 2 * * *"
    assert str(dag.timetable.timezone) == zone.key
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.start_date.astimezone(zone) == datetime(2018, 1, 1, tzinfo=zone)


def test_the_params_are_those_of_a_request(dag: Any) -> None:
    assert dict(dag.params.dump()) == DEFAULTS
    assert {dag.params.get_param(name).schema["format"] for name in ("date", "start", "end")} == {"date"}
    assert dag.params.get_param("tables").schema["examples"] == TABLES


@pytest.mark.parametrize(
    "conf",
    [
        {"tables": ["APP_4_STOCK"]},
        {"tables": "APP_4_SALES"},
        {"date": "01/10/2025"},
        {"start": 20251001},
        {"end": "yesterday"},
        {"fix_days": 0},
        {"fix_days": 367},
        {"fix_days": "3"},
        {"check_fixes_only": "yes"},
        {"sweep": None},
        {"export": 1},
    ],
)
def test_a_bad_value_is_refused_when_the_dag_is_triggered(dag: Any, conf: dict[str, Any]) -> None:
    ((name, value),) = conf.items()

    with pytest.raises(ParamValidationError, match=name):
        dag.params[name] = value


class Instance:
    """The task instance of the record, behind tasks with these states."""

    dag_id, run_id, task_id, map_index, try_number = "nightly_replica", "run", "record", -1, 1

    def __init__(self, request: dict[str, Any], states: dict[str, str]) -> None:
        self.request = request
        self.states = states

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: self.states}

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        return self.request if (task_ids, key) == ("plan", "request") else None


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Record a run of which ``etl_progress`` has no failure; returns what is told, and the errors by type of run."""
    from include.replication import history, progress
    from retail_sync.operators.nightly import RecordNightlyOperator

    written: dict[str, list[str]] = {}

    class Record:
        def __init__(self, engine: Any, run_id: str, run_type: Any) -> None:
            self.run_type = run_type

        def begin(self, *_: Any) -> None:
            pass

        def end(self, errors: list[str], _: Any) -> None:
            written[self.run_type.value] = errors

    def record(states: dict[str, str], load: str | None = "2025-10-31/2025-11-01") -> Any:
        operator = RecordNightlyOperator(task_id="record")
        run = SimpleNamespace(id="run", warehouse=SimpleNamespace(metadata=lambda: None))
        monkeypatch.setattr(operator, "open_run", lambda context, request: run)
        monkeypatch.setattr(history, "RunRecord", Record)
        monkeypatch.setattr(progress, "failures_of_run", lambda *_: [])
        request = {"tables": ["APP_4_SALES"], "load": load, "fix": "2025-10-30/2025-10-31", "sweep": True}
        context: Any = {"ti": Instance(request, states), "dag_run": SimpleNamespace(start_date=None)}
        assert operator.execute(context) == written
        return written

    return record


def test_a_run_without_failures_is_a_success_of_both_types(recorded: Any) -> None:
    assert recorded({"load_0": "success", "fix_0": "success", "sweep_0": "success"}) == {"T0": [], "T1": []}


def test_a_task_that_failed_before_it_began_a_window_fails_its_type_of_run(recorded: Any) -> None:
    states = {"load_0": "failed", "load_1": "success", "fix_0": "success"}

    assert recorded(states) == {"T0": ["failed tasks: load_0"], "T1": []}


@pytest.mark.parametrize("phase", ["fix", "sweep"])
def test_check_and_sweep_are_the_same_type_of_run(recorded: Any, phase: str) -> None:
    states = {"load_0": "success", f"{phase}_12": "failed"}

    assert recorded(states) == {"T0": [], "T1": [f"failed tasks: {phase}_12"]}


def test_a_phase_that_could_not_be_mapped_fails_its_type_of_run(recorded: Any) -> None:
    assert recorded({"load": "upstream_failed"}) == {"T0": ["failed tasks: load"], "T1": []}


def test_a_run_that_loads_nothing_has_one_type(recorded: Any) -> None:
    assert recorded({"fix_0": "success"}, load=None) == {"T1": []}
