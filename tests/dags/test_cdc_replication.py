"""The shape of the DAG that follows other databases, and what its tasks do without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
    DownstreamTasksSkipped,
    ParamValidationError,
)

from include.cdc.request import DEFAULTS, Action
from include.cdc.state import ReplicationRow, State
from include.errors import BadRequest, LockHeld, NeedsResync, StreamBroken
from include.settings import PROJECT_ROOT, Settings

TASKS = ["plan", "copy", "swap", "apply", "health"]
MAPPED = {"copy", "apply"}
HEAVY = {"jpype", "pydbzengine", "confluent_kafka", "psycopg"}
FILE = """
replications:
  shop: {source: shop, kind: postgres, tables: [shop.*], target_schema: shop_live}
  depot:
    source: depot
    kind: postgres
    mode: kafka_connect
    tables: [public.*]
    target_schema: depot_live
    kafka: {consumers: 3}
  legacy: {source: legacy, kind: mysql, mode: kafka_connect, tables: [erp.*], target_schema: legacy_live}
"""


@pytest.fixture
def dag(dag_bag: Any) -> Any:
    return dag_bag.dags["cdc_replication"]


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "replications.yaml"
    file.write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("RETAIL_SYNC_CDC_FILE", str(file))
    return file


def context(states: dict[str, str] | None = None, **conf: Any) -> Any:
    instance = SimpleNamespace(dag_id="cdc_replication", run_id="run", task_id="task", map_index=-1, try_number=1)
    instance.get_task_states = lambda **_: {"run": states or {}}
    instance.left = {}
    instance.xcom_push = lambda key, value: instance.left.update({key: value})
    return {
        "ti": instance,
        "run_id": "run",
        "dag_run": SimpleNamespace(conf=conf),
        "params": {**DEFAULTS, **conf},
    }


def test_tables_are_copied_then_put_in_place_then_followed(dag: Any) -> None:
    edges = {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}

    assert set(dag.task_ids) == set(TASKS)
    assert edges == set(pairwise(TASKS))
    assert {task.task_id for task in dag.tasks if task.is_mapped} == MAPPED


def test_it_runs_every_minute_once_at_a_time(dag: Any) -> None:
    assert dag.timetable.expression == "* * * * *"
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_the_pool_caps_copies_only(dag: Any) -> None:
    pools = {task.task_id: task.pool for task in dag.tasks}

    assert pools == {task: Settings().cdc_pool if task == "copy" else "default_pool" for task in TASKS}


def test_a_failed_copy_stops_neither_the_others_nor_the_verdict(dag: Any) -> None:
    rules = {task.task_id: task.trigger_rule for task in dag.tasks}

    assert rules == {task: "all_done" if task in {"swap", "health"} else "all_success" for task in TASKS}


def test_a_stream_is_tried_again_once_as_the_next_run_is_another_try(dag: Any) -> None:
    assert {task.task_id: task.retries for task in dag.tasks} == {**dict.fromkeys(TASKS, 3), "apply": 1}


def test_mapped_tasks_are_named_in_the_grid(dag: Any) -> None:
    from jinja2 import Template

    def named(task_id: str, **values: Any) -> str:
        template = Template(dag.get_task(task_id).partial_kwargs["map_index_template"])
        return template.render(task=SimpleNamespace(**values))

    assert named("copy", replication="shop", table="shop.orders") == "shop · shop.orders"
    assert named("apply", replication="shop", consumer=0) == "shop"
    assert named("apply", replication="depot", consumer=2) == "depot · 2"


def test_the_params_are_those_of_a_request(dag: Any) -> None:
    assert dict(dag.params.dump()) == DEFAULTS
    assert dag.params.get_param("action").schema["enum"] == list(Action)


@pytest.mark.parametrize("conf", [{"action": "begin"}, {"minutes": -1}, {"tables": "shop.orders"}])
def test_a_bad_value_is_refused_when_the_dag_is_triggered(dag: Any, conf: dict[str, Any]) -> None:
    ((name, value),) = conf.items()

    with pytest.raises(ParamValidationError, match=name):
        dag.params[name] = value


def test_nothing_heavy_is_loaded_when_the_dag_is_parsed() -> None:
    code = "import runpy, sys; runpy.run_path('dags/cdc_replication.py'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT_ROOT, check=False)

    assert done.returncode == 0, done.stderr
    assert "retail_sync.operators.cdc" in done.stdout.split()
    assert HEAVY & set(done.stdout.split()) == set()


def plan(run: Any) -> Any:
    from retail_sync.operators.cdc import PlanCdcOperator

    return PlanCdcOperator(task_id="plan").execute(run)


def test_where_nothing_is_declared_the_plan_skips_the_rest(dag: Any, declared: Path) -> None:
    declared.write_text("replications: {}\n", encoding="utf-8")

    with pytest.raises(DownstreamTasksSkipped) as skipped:
        dag.get_task("plan").execute(context())
    assert set(skipped.value.tasks) == set(TASKS) - {"plan"}


def test_a_scheduled_plan_asks_no_database(declared: Path) -> None:
    assert plan(context()) == []


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"replication": "shpo"}, "'shpo' is not in replications.yaml; there are: shop, depot, legacy"),
        ({"action": "drop"}, "name the one to drop"),
        ({"minute": 5}, "unknown parameters: minute"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(declared: Path, conf: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        plan(context(**conf))


class Connections:
    """The connections of an Airflow; ``asked`` is what was looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **types: str) -> None:
        from airflow.sdk import BaseHook

        self.types, self.asked = types, set[str]()
        monkeypatch.setattr(BaseHook, "get_connection", self.get)

    def get(self, conn_id: str) -> Any:
        self.asked.add(conn_id)
        if conn_id not in self.types:
            raise AirflowNotFoundException(conn_id)
        parts = {"port": None, "schema": "data", "login": "us", "password": "secret", "extra_dejson": {"a": 1}}
        return SimpleNamespace(conn_type=self.types[conn_id], host=f"{conn_id}.example.com", **parts)


OURS = {"warehouse": "postgres", "control": "postgres"}


def test_a_missing_connection_fails_naming_it(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Connections(monkeypatch, **OURS)

    with pytest.raises(AirflowFailException, match="connection 'shop' is not set"):
        plan(context(action="start", replication="shop"))


def test_in_kafka_mode_all_connections_are_those_of_airflow(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from retail_sync.operators.cdc import CdcOperator

    Connections(monkeypatch, **OURS, shop="postgres", depot="postgres", kafka_connect="http", kafka_brokers="kafka")
    operator = CdcOperator(task_id="apply")

    kafka = operator.cdc_run(context(), "depot").kafka

    assert kafka is not None
    hosts = [parts["host"] for parts in (kafka.source, kafka.connect, kafka.brokers)]
    assert hosts == ["depot.example.com", "kafka_connect.example.com", "kafka_brokers.example.com"]
    assert set(kafka.source) == {"conn_type", "host", "port", "schema", "login", "password", "extra"}
    assert operator.cdc_run(context(), "shop").kafka is None


def test_a_source_of_another_kind_is_opened_as_that(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from include.cdc.sources.mysql import MysqlCdcSource
    from retail_sync.operators.cdc import CdcOperator

    Connections(monkeypatch, **OURS, legacy="mysql", kafka_connect="http", kafka_brokers="kafka")
    run = CdcOperator(task_id="look").cdc_run(context(), "legacy")
    assert isinstance(run.at_source, MysqlCdcSource)


def swapped(monkeypatch: pytest.MonkeyPatch, states: dict[str, State], run: Any) -> Any:
    from contextlib import nullcontext

    from include.cdc import state
    from include.cdc.targets import opening
    from retail_sync.operators.cdc import SwapOperator

    def row(_: Any, name: str) -> ReplicationRow | None:
        found = states.get(name)
        return found and ReplicationRow(name, found, "1", None, None, None, 0, None, None, 0, None)  # type: ignore[return-value]

    Connections(monkeypatch, **OURS)
    monkeypatch.setattr(state, "read", row)
    monkeypatch.setattr(opening, "opened", lambda *_: nullcontext(SimpleNamespace(records=None)))
    return SwapOperator(task_id="swap").execute(run)


def test_each_consumer_of_a_replication_is_a_task(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = swapped(monkeypatch, {"shop": State.STREAMING, "depot": State.STREAMING}, context())

    assert found == [{"replication": "shop", "consumer": 0}] + [
        {"replication": "depot", "consumer": number} for number in range(3)
    ]


def test_one_task_compares_for_all_consumers(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = swapped(monkeypatch, {"depot": State.STREAMING}, context(action="compare"))

    assert found == [{"replication": "depot", "consumer": 0}]


@pytest.mark.parametrize("state", [None, State.NEW, State.COPYING, State.STOPPED, State.NEEDS_RESYNC, State.DROPPED])
def test_a_scheduled_run_leaves_alone_what_is_not_to_be_followed(
    declared: Path, monkeypatch: pytest.MonkeyPatch, state: State | None
) -> None:
    states = {"depot": state} if state else {}

    assert swapped(monkeypatch, {"shop": State.STREAMING, **states}, context()) == [
        {"replication": "shop", "consumer": 0}
    ]


def test_what_was_named_is_tried_whatever_its_state_is(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = swapped(monkeypatch, {}, context(replication="shop"))

    assert found == [{"replication": "shop", "consumer": 0}]


def test_nothing_is_followed_after_a_stop_or_a_refused_plan(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert swapped(monkeypatch, {}, context(action="stop")) == []
    with pytest.raises(AirflowSkipException, match="see the task `plan`"):
        swapped(monkeypatch, {}, context({"plan": "failed"}))


def applied(monkeypatch: pytest.MonkeyPatch, outcome: Any, **conf: Any) -> Any:
    from include.cdc import follow
    from retail_sync.operators.cdc import ApplyChangesOperator

    def followed(*_: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    Connections(monkeypatch, **OURS, shop="postgres")
    monkeypatch.setattr(follow, "follow", followed)
    return ApplyChangesOperator(task_id="apply", replication="shop").execute(context(**conf))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (LockHeld("shop is locked"), AirflowSkipException),
        ({"waiting": "it is stopped"}, AirflowSkipException),
        (NeedsResync("the log is gone"), AirflowFailException),
        (BadRequest("was not started"), AirflowFailException),
        (StreamBroken("broke off"), StreamBroken),
        ({"compared": [{"table": "shop.carts", "equal": False}]}, AirflowFailException),
    ],
)
def test_what_waits_is_skipped_and_what_is_lost_fails_at_once(
    declared: Path, monkeypatch: pytest.MonkeyPatch, outcome: Any, expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        applied(monkeypatch, outcome)


def test_figures_of_a_stream_are_the_result(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"events": 5, "compared": [{"table": "shop.carts", "equal": True}]}

    assert applied(monkeypatch, figures, action="compare") == figures


def test_a_signal_ends_the_process_of_the_stream(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from include.cdc.embedded import child
    from retail_sync.operators.cdc import ApplyChangesOperator

    processes: list[subprocess.Popen[str]] = []

    def popen(*_: Any, **arguments: Any) -> Any:
        arguments["env"] = None
        processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], **arguments))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return processes[0]

    Connections(monkeypatch, **OURS, shop="postgres")
    monkeypatch.setattr(child, "subprocess", SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE))
    operator = ApplyChangesOperator(task_id="apply", replication="shop")
    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    try:
        with pytest.raises(SystemExit, match="replication shop: ended from outside"):
            operator.execute(context())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert processes[0].returncode == -signal.SIGKILL


def looked(monkeypatch: pytest.MonkeyPatch, reasons: list[Any], states: dict[str, str] | None = None) -> Any:
    from include.cdc import health
    from retail_sync.operators.cdc import HealthOperator

    severe = any(reason.severity == "unhealthy" for reason in reasons)
    status = health.Verdict.UNHEALTHY if severe else health.Verdict.DEGRADED

    def check(run: Any, **_: Any) -> Any:
        return health.Health(run.name, status, reasons)

    Connections(monkeypatch, **OURS, shop="postgres")
    monkeypatch.setattr(health, "check", check)
    return HealthOperator(task_id="health").execute(context(states, replication="shop"))


def reason(severity: str) -> Any:
    from include.cdc.health import Reason, Severity

    return Reason("lag_bytes", Severity(severity), f"{severity}: 7 bytes")


def test_a_degraded_replication_is_told_and_fails_nothing(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked(monkeypatch, [reason("degraded")])

    assert (found["shop"]["status"], found["shop"]["reasons"]) == ("degraded", ["degraded: 7 bytes"])


def test_an_unhealthy_replication_fails_the_run_with_its_reasons(
    declared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AirflowFailException, match=r"^shop: unhealthy: 7 bytes$"):
        looked(monkeypatch, [reason("degraded"), reason("unhealthy")])


def test_a_failed_task_fails_the_run(declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowFailException, match="failed tasks: copy"):
        looked(monkeypatch, [], {"copy": "failed"})
