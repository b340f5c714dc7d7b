"""The shape of the three DAGs of the orders sync, and how plans become mapped tasks."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from include.errors import LockHeld
from include.orders_sync.pipelines import TD
from include.orders_sync.planner import Planned, Reason
from include.orders_sync.request import PROFILE_DEFAULTS, SYNC_DEFAULTS
from include.settings import Settings
from include.windows import Window

PROFILER_TASKS = ["open", "td.plan", "td.store", "uc.plan", "uc.store", "close"]
WINDOW = Planned(Window.inclusive(date(2026, 1, 1), date(2026, 1, 10)), Reason.BACKFILL)


def edges(dag: Any) -> set[tuple[str, str]]:
    return {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}


@pytest.fixture
def profiler(dag_bag: Any) -> Any:
    return dag_bag.dags["orders_sync_profiler"]


@pytest.fixture(params=["td_orders_sync", "uc_orders_sync"])
def pipeline(dag_bag: Any, request: pytest.FixtureRequest) -> Any:
    return dag_bag.dags[request.param]


def test_the_profiler_plans_each_crm_and_maps_over_its_stores(profiler: Any) -> None:
    assert sorted(profiler.task_ids) == sorted(PROFILER_TASKS)
    chains = [("open", f"{group}.plan", f"{group}.store", "close") for group in ("td", "uc")]
    assert edges(profiler) == {pair for chain in chains for pair in pairwise(chain)}
    assert {task.task_id for task in profiler.tasks if task.is_mapped} == {"td.store", "uc.store"}


def test_the_profiler_runs_every_two_hours_in_the_pipelines_timezone_once_at_a_time(profiler: Any) -> None:
    assert profiler.timetable.expression == "0 */2 * * *"
    assert str(profiler.timetable.timezone) == "Asia/Kolkata"
    assert (profiler.catchup, profiler.max_active_runs) == (False, 1)


def test_a_pipeline_runs_by_hand_only(pipeline: Any) -> None:
    assert edges(pipeline) == {("plan", "store"), ("store", "close")}
    assert {task.task_id for task in pipeline.tasks if task.is_mapped} == {"store"}
    assert not pipeline.timetable.can_be_scheduled


def test_pools_cap_each_crm(dag_bag: Any) -> None:
    for dag_id, expected in {
        "orders_sync_profiler": {"td.store": "crm_td", "uc.store": "crm_uc"},
        "td_orders_sync": {"store": "crm_td"},
        "uc_orders_sync": {"store": "crm_uc"},
    }.items():
        pools = {task.task_id: task.pool for task in dag_bag.dags[dag_id].tasks if task.pool != "default_pool"}
        assert pools == expected


def test_a_store_is_named_in_the_grid_and_tried_again(profiler: Any) -> None:
    store = profiler.get_task("td.store")
    assert store.partial_kwargs["map_index_template"] == "{{ task.title }}"
    assert store.partial_kwargs["max_active_tis_per_dagrun"] == Settings().crm_max_workers
    assert store.retries == Settings().retries


def test_a_store_that_another_run_holds_is_skipped_by_the_profiler_and_fails_by_hand(
    profiler: Any, pipeline: Any
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from retail_sync.operators.orders import SyncStoreOperator

    errors, last_try = [LockHeld("A1 is locked")], {"ti": SimpleNamespace(try_number=4, max_tries=3)}
    for dag_task, expected in (
        (profiler.get_task("td.store"), AirflowSkipException),
        (pipeline.get_task("store"), LockHeld),
    ):
        by_hand = dag_task.partial_kwargs.get("by_hand", False)
        task = SyncStoreOperator(task_id="store", pipeline=TD.code, stores=["A1"], title="A1", by_hand=by_hand)
        with pytest.raises(expected, match="A1 is locked"):
            task._raise(errors, last_try)


def test_the_run_is_closed_whatever_happened(dag_bag: Any) -> None:
    for dag_id in ("orders_sync_profiler", "td_orders_sync", "uc_orders_sync"):
        assert dag_bag.dags[dag_id].get_task("close").trigger_rule == "all_done"


def test_the_forms_show_every_parameter(profiler: Any, pipeline: Any) -> None:
    assert list(profiler.params) == list(PROFILE_DEFAULTS)
    only_td = {"orders_only", "sales_only"} if pipeline.dag_id == "uc_orders_sync" else set()
    assert set(pipeline.params) == set(SYNC_DEFAULTS) - only_td


def mapped(stores: int, windows: int = 2) -> list[dict[str, Any]]:
    from retail_sync.operators.orders import mapped_stores

    return mapped_stores(TD, {f"S{number:04}": [WINDOW] * windows for number in range(stores)})


def test_each_store_that_has_work_is_a_task() -> None:
    assert mapped(2, windows=1) == [
        {"stores": ["S0000"], "title": "TD · S0000 · 1 window"},
        {"stores": ["S0001"], "title": "TD · S0001 · 1 window"},
    ]
    assert mapped(500, windows=20)[499] == {"stores": ["S0499"], "title": "TD · S0499 · 20 windows"}
    assert mapped(0) == []


def test_more_stores_than_airflow_maps_over_share_tasks() -> None:
    tasks = mapped(2500)
    assert len(tasks) <= 1024
    assert [code for task in tasks for code in task["stores"]] == [f"S{number:04}" for number in range(2500)]
    assert tasks[0]["title"] == "TD · S0000 to S0002 · 6 windows"


def test_nobody_is_told_where_no_address_is_set(dag_bag: Any) -> None:
    assert not dag_bag.dags["orders_sync_profiler"].get_task("close").on_failure_callback


def test_a_run_of_airflow_has_an_id_that_fits_the_log_and_no_other_dag_shares() -> None:
    from include.orders_sync.request import run_id_of

    long = "manual__2026-11-25T17:20:34.123456+00:00_abcdefgh_and_more_that_somebody_typed"
    ids = {run_id_of(dag, run) for dag in ("orders_sync_profiler", "td_orders_sync") for run in (long, long + "!")}
    assert len(ids) == 4
    assert all(len(run_id) <= 64 for run_id in ids)
    assert run_id_of("td_orders_sync", "by hand") == "td_orders_sync__by hand"
