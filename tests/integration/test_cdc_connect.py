"""Kafka Connect's REST API, asked over HTTP of a server that answers like it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from include.cdc.kafka.connect import Connect, Status, Task
from include.errors import (
    AccessDenied,
    ConnectionLost,
    NotConfigured,
    PermanentError,
    RetailSyncError,
    StreamBroken,
)
from tests.integration.connect_server import LOGIN, PASSWORD, PLUGIN, Answer, Cluster, Connector, ConnectServer

NAME = "rs_shop_20250101000000"
CONFIG = {"connector.class": PLUGIN, "database.password": "hidden-word", "tasks.max": "1"}
TRACE = """org.apache.kafka.connect.errors.ConnectException: An exception occurred in the change event producer.
\tat io.debezium.pipeline.ErrorHandler.setProducerThrowable(ErrorHandler.java:67)
Caused by: io.debezium.DebeziumException: wrapped Struct{id=7,name=Jane}
\tat io.debezium.Foo.bar(Foo.java:1)
Caused by: org.postgresql.util.PSQLException: ERROR: replication slot "rs_shop" does not exist
\tat org.postgresql.Core.query(Core.java:2)
"""


@pytest.fixture
def server() -> Iterator[ConnectServer]:
    server = ConnectServer()
    yield server
    server.stop()


def client(url: str, **parts: Any) -> Connect:
    parts = {"conn_type": "http", "host": url, "login": LOGIN, "password": PASSWORD, **parts}
    return Connect.of("connect", {"extra": {"attempts": 3, "pause": 0.01}, **parts})


@pytest.fixture
def connect(server: ConnectServer) -> Iterator[Connect]:
    connect = client(server.url)
    yield connect
    connect.close()


@pytest.fixture
def cluster(server: ConnectServer) -> Cluster:
    return server.cluster


def test_a_configuration_is_sent_once_and_again_only_when_it_changes(connect: Connect, cluster: Cluster) -> None:
    assert connect.ensure(NAME, CONFIG)
    assert cluster.connectors[NAME].config == {**CONFIG, "name": NAME}
    assert not connect.ensure(NAME, CONFIG)
    assert [request.split()[0] for request in cluster.requests] == ["GET", "PUT", "GET"]
    assert connect.ensure(NAME, {**CONFIG, "max.batch.size": "100"})


@pytest.mark.parametrize("passing", [Answer(409, "rebalance in process"), Answer(500), Answer(503), Answer(0)])
def test_a_passing_failure_is_asked_again(connect: Connect, cluster: Cluster, passing: Answer) -> None:
    cluster.next_answers = [passing, passing]
    assert connect.ensure(NAME, CONFIG)
    assert cluster.connectors[NAME].config["tasks.max"] == "1"


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer(409, "Cannot complete request momentarily"), StreamBroken, "answered 409: Cannot complete"),
        (Answer(500), StreamBroken, "answered 500"),
        (Answer(0), ConnectionLost, "broke off"),
    ],
)
def test_what_does_not_pass_is_left_to_a_later_run(
    connect: Connect, cluster: Cluster, answer: Answer, kind: type[RetailSyncError], said: str
) -> None:
    cluster.next_answers = [answer] * 3
    with pytest.raises(kind, match=said):
        connect.status(NAME)
    assert len(cluster.requests) == 3


def test_a_cluster_that_is_not_there_is_a_lost_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionLost, match=r"connect: GET .* broke off"):
            client(f"http://127.0.0.1:{taken.getsockname()[1]}").status(NAME)


def test_a_refused_login_is_not_tried_again(server: ConnectServer) -> None:
    with pytest.raises(AccessDenied, match="refused to the login"):
        client(server.url, password="wrong-word").status(NAME)
    assert len(server.cluster.requests) == 1


def test_a_refusal_is_told_without_the_password(connect: Connect, cluster: Cluster) -> None:
    cluster.connectors[NAME] = Connector({})
    connect.status(NAME)
    cluster.next_answers = [Answer(404), Answer(400, "Invalid value hidden-word\nfor opensesame")]
    with pytest.raises(PermanentError, match=r"refused \(400\): Invalid value \*\*\* for \*\*\*$"):
        connect.ensure(NAME, CONFIG)


def test_problems_name_the_setting_and_hide_the_password(connect: Connect, cluster: Cluster) -> None:
    assert connect.problems(CONFIG) == []
    cluster.errors = {"database.password": ["hidden-word is refused"], "tasks.max": ["no number", "too low"]}
    assert connect.problems(CONFIG) == [
        "connector setting database.password: *** is refused",
        "connector setting tasks.max: no number",
        "connector setting tasks.max: too low",
    ]


def test_a_missing_plugin_is_the_only_problem(connect: Connect, cluster: Cluster) -> None:
    cluster.plugins = ["org.apache.kafka.connect.mirror.MirrorSourceConnector"]
    (problem,) = connect.problems(CONFIG)
    assert PLUGIN in problem


def test_a_failed_task_is_told_in_short_and_restarted(connect: Connect, cluster: Cluster) -> None:
    assert connect.status(NAME) is None
    connect.ensure(NAME, CONFIG)
    assert connect.status(NAME) == Status("RUNNING", (Task(0, "RUNNING"),))
    cluster.connectors[NAME].task, cluster.connectors[NAME].trace = "FAILED", TRACE
    status = connect.status(NAME)
    assert status is not None
    (failure,) = status.failures
    assert failure == (
        "task 0 has failed: org.apache.kafka.connect.errors.ConnectException: An exception occurred in the change "
        "event producer.; Caused by: org.postgresql.util.PSQLException: "
        'ERROR: replication slot "rs_shop" does not exist'
    )
    connect.restart_failed(NAME)
    status = connect.status(NAME)
    assert status is not None
    assert status.failures == []


def test_records_of_a_trace_are_left_out(connect: Connect, cluster: Cluster) -> None:
    cluster.connectors[NAME] = Connector({}, task="FAILED", trace="DataException: no field in Struct{id=7,name=Jane}")
    status = connect.status(NAME)
    assert status is not None
    assert status.tasks[0].trace == "DataException: no field in Struct{…}"


def test_a_connector_is_paused_stopped_resumed_and_removed(connect: Connect, cluster: Cluster) -> None:
    connect.ensure(NAME, CONFIG)
    states = []
    for act in (connect.pause, connect.stop, connect.resume):
        act(NAME)
        status = connect.status(NAME)
        states.append(status and status.state)
    assert states == ["PAUSED", "STOPPED", "RUNNING"]
    assert connect.topics(NAME) == [f"{NAME}.shop.a", f"{NAME}.shop.b"]
    connect.delete(NAME)
    assert NAME not in cluster.connectors
    connect.delete(NAME)
    with pytest.raises(PermanentError, match="not found"):
        connect.resume(NAME)


@pytest.mark.parametrize(
    "parts", [{"host": ""}, {"host": "ftp://h"}, {"host": "http://u:hidden@h"}, {"extra": {"attempts": "x"}}]
)
def test_a_connection_that_makes_no_address_is_named(parts: dict[str, Any]) -> None:
    with pytest.raises(NotConfigured, match="connection 'connect'") as refused:
        client(**{"url": "h", **parts} if "host" not in parts else {"url": "", **parts})
    assert "hidden" not in str(refused.value)
