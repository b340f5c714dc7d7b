from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk.exceptions import ParamValidationError

from include import catalog
from include.replication.request import DEFAULTS

ROOT = Path(__file__).parent.parent.parent
SALES = [table.name for table in catalog.load().group("sales")]
DRIVERS = ("psycopg", "pyarrow", "polars", "pyodbc", "mssql_python", "adbc_driver_manager", "pgpq")


@pytest.fixture
def dag(dag_bag: Any) -> Any:
    return dag_bag.dags["sales_replication"]


def test_the_dag_folder_has_no_import_errors(dag_bag: Any) -> None:
    assert dag_bag.import_errors == {}


def test_every_table_is_opened_replicated_by_month_and_closed(dag: Any) -> None:
    parts = [f"{table}.{step}" for table in SALES for step in ("open", "months", "close")]

    assert set(dag.task_ids) == {"plan", *parts, "verdict"}


def test_tables_run_one_after_another_in_the_order_of_the_catalog(dag: Any) -> None:
    steps = ["plan", *(f"{table}.{step}" for table in SALES for step in ("open", "months", "close")), "verdict"]

    edges = {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}

    assert edges == set(pairwise(steps))


def test_only_the_months_are_mapped(dag: Any) -> None:
    mapped = {task.task_id for task in dag.tasks if task.is_mapped}

    assert mapped == {f"{table}.months" for table in SALES}


def test_what_reads_the_source_runs_in_its_pool(dag: Any) -> None:
    pools = {task.task_id: task.pool for task in dag.tasks}

    assert {task for task, pool in pools.items() if pool == "pos_source"} == set(dag.task_ids) - {"plan", "verdict"}


def test_a_failed_table_does_not_stop_the_next(dag: Any) -> None:
    rules = {task.task_id: task.trigger_rule for task in dag.tasks}

    assert {task for task, rule in rules.items() if rule == "all_done"} == {
        *(f"{table}.open" for table in SALES),
        "verdict",
    }
    assert set(rules.values()) == {"all_done", "all_success"}


def test_tasks_are_tried_again_with_growing_pauses(dag: Any) -> None:
    for task in dag.tasks:
        assert task.retries == 3
        assert task.retry_delay == timedelta(seconds=30)
        assert task.retry_exponential_backoff
        assert task.max_retry_delay == timedelta(minutes=10)


def test_each_table_is_an_asset_of_its_close(dag: Any) -> None:
    outlets = {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets}

    assert outlets == {f"{table}.close": [f"dbo.com_5013_{table}"] for table in SALES}


def test_a_run_is_the_month_before_in_the_business_timezone(dag: Any) -> None:
    zone = ZoneInfo("Asia/Kuala_Lumpur")

    assert dag.timetable.expression == "0 0 1 * *"
    assert str(dag.timetable.timezone) == zone.key
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.start_date.astimezone(zone) == datetime(2018, 1, 1, tzinfo=zone)


def test_the_params_are_those_of_a_request(dag: Any) -> None:
    assert dict(dag.params.dump()) == DEFAULTS
    assert dag.params.get_param("start_date").schema["format"] == "date"
    assert dag.params.get_param("tables").schema["examples"] == SALES


@pytest.mark.parametrize(
    "conf",
    [
        {"tables": ["APP_4_ITEM"]},
        {"verify": "closely"},
        {"on_failure": "shrug"},
        {"start_date": "01/10/2025"},
        {"export": "yes"},
    ],
)
def test_a_bad_value_is_refused_when_the_dag_is_triggered(dag: Any, conf: dict[str, Any]) -> None:
    (name, value), *_ = conf.items()

    with pytest.raises(ParamValidationError, match=name):
        dag.params[name] = value


def test_parsing_takes_under_a_second_and_loads_no_driver() -> None:
    script = f"""
import sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
began = time.monotonic()
bag = DagBag(dag_folder={str(ROOT / "dags")!r})
took = time.monotonic() - began
assert not bag.import_errors, bag.import_errors
print(took)
print(*[name for name in {DRIVERS!r} if name in set(sys.modules) - before])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    took, loaded = done.stdout.splitlines()[-2:]

    assert float(took) < 1.0
    assert loaded == ""


def test_parsing_opens_no_connection() -> None:
    script = f"""
import sys
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
opened = []
sys.addaudithook(lambda event, args: opened.append((event, args[1:])) if event == "socket.connect" else None)
bag = DagBag(dag_folder={str(ROOT / "dags")!r})
assert bag.dags
print(opened)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.splitlines()[-1] == "[]"
