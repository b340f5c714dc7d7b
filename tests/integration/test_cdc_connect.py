"""Kafka Connect's REST API, and what is asked of it for a replication, over HTTP of a server that answers like it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from include.cdc.kafka import connector
from include.cdc.kafka.connect import Connect, Status, StoredOffset, Task
from include.cdc.models import Kind
from include.cdc.prerequisites.kafka import KafkaParts
from include.cdc.run import CdcRun
from include.cdc.sources.base import Pin, SourceTable
from include.cdc.sources.mysql import MysqlCdcSource
from include.connections import Connection
from include.errors import (
    AccessDenied,
    ConnectionLost,
    NotConfigured,
    PermanentError,
    RetailSyncError,
    StreamBroken,
)
from include.settings import Settings
from tests.integration.cdc import replication
from tests.integration.connect_server import (
    LOGIN,
    MYSQL_PLUGIN,
    PASSWORD,
    PLUGIN,
    Answer,
    Cluster,
    Connector,
    ConnectServer,
)

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


def test_stored_offsets_are_those_of_all_partitions(connect: Connect, cluster: Cluster) -> None:
    assert connect.offsets(NAME) == []
    connect.ensure(NAME, CONFIG)
    cluster.offsets[NAME] = {json.dumps({"server": "a"}): {"pos": 4}, json.dumps({"server": "b"}): None}
    assert connect.offsets(NAME) == [StoredOffset({"server": "a"}, {"pos": 4})]


EPOCH = "20250101000000"
SHOP = "retail_sync_shop"
AT = {"file": "binlog.000007", "pos": 70}
MYSQL = Connection("source", "mysql", "127.0.0.1", 3306, "cdc", "hidden-word", "shop")


class Tables(MysqlCdcSource):
    """A source of which the tables are known without a server."""

    names = ("shop.orders",)

    def tables(self, *_: object) -> list[SourceTable]:
        return [SourceTable(name, ("id",), 0) for name in self.names]


@dataclass(frozen=True)
class Run(CdcRun):
    @property
    def at_source(self) -> Tables:
        return Tables(self.source)


@pytest.fixture
def run(server: ConnectServer, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(connector, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(connector, "_STORE_SECONDS", 15.0)
    source = {"host": "db.example", "schema": "shop", "login": "cdc", "password": "hidden-word", "extra": {}}
    connect = {"conn_type": "http", "host": server.url, "login": LOGIN, "password": PASSWORD, "extra": {}}
    given = KafkaParts(source, connect, {"host": "b:9092", "extra": {}})
    of = replication("shop", kind=Kind.MYSQL, mode="kafka_connect", tables=["shop.*"])
    return Run("test", of, MYSQL, MYSQL, MYSQL, Settings(), "test", given)


@contextmanager
def pinning(run: Run, cluster: Cluster) -> Iterator[Future[Pin]]:
    """Pin beside the test, once the connector has its configuration."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(connector.pinned, run, EPOCH)
        until(lambda: SHOP in cluster.connectors and cluster.connectors[SHOP].config.get("topic.prefix") == NAME)
        yield future


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def looked(cluster: Cluster, times: int = 2) -> None:
    """Wait until the offsets were asked for so many times more."""
    asked = f"GET /connectors/{SHOP}/offsets"
    before = cluster.requests.count(asked)
    until(lambda: cluster.requests.count(asked) >= before + times)


def store(cluster: Cluster, prefix: str, **offset: Any) -> None:
    cluster.offsets.setdefault(SHOP, {})[json.dumps({"server": prefix})] = {**AT, **offset}


def test_a_log_is_pinned_by_what_connect_stores_after_the_definitions(run: Run, cluster: Cluster) -> None:
    store(cluster, "rs_shop_20240101000000")
    with pinning(run, cluster) as pin:
        for unfinished in ({}, {"snapshot": "INITIAL", "snapshot_completed": False}, {"snapshot": True}):
            if unfinished:
                store(cluster, NAME, **unfinished)
            looked(cluster)
            assert not pin.done()
        store(cluster, NAME, gtids="a:1-7")
        offset = {**AT, "gtids": "a:1-7"}
        assert pin.result(10) == Pin({"pinned": "binlog.000007:70", "offset": offset})
    config = cluster.connectors[SHOP].config
    assert (config["connector.class"], config["heartbeat.interval.ms"]) == (MYSQL_PLUGIN, "5000")
    assert config["table.include.list"] == r"shop\.orders"


def test_a_configuration_that_is_given_back_meanwhile_is_given_again(run: Run, cluster: Cluster) -> None:
    with pinning(run, cluster) as pin:
        cluster.connectors[SHOP].config = {"topic.prefix": "rs_shop_20240101000000"}
        until(lambda: cluster.connectors[SHOP].config["topic.prefix"] == NAME)
        store(cluster, NAME)
        pin.result(10)


def test_a_connector_that_rests_runs_only_while_the_log_is_pinned(run: Run, cluster: Cluster) -> None:
    cluster.connectors[SHOP] = Connector({}, state="STOPPED")
    with pinning(run, cluster) as pin:
        until(lambda: cluster.connectors[SHOP].state == "RUNNING")
        store(cluster, NAME)
        pin.result(10)
    assert cluster.connectors[SHOP].state == "STOPPED"


def test_a_failure_of_the_old_configuration_does_not_count(
    run: Run, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.connectors[SHOP] = Connector({}, task="FAILED", trace=TRACE)
    with pinning(run, cluster) as pin:
        looked(cluster)
        store(cluster, NAME)
        pin.result(10)
    del cluster.offsets[SHOP]
    monkeypatch.setattr(connector, "_RESTART_SECONDS", 0.0)
    with pinning(run, cluster) as pin:
        looked(cluster)
        cluster.connectors[SHOP].task, cluster.connectors[SHOP].trace = "FAILED", TRACE
        with pytest.raises(StreamBroken, match=r'shop: task 0 has failed: .* slot "rs_shop" does not exist'):
            pin.result(10)


def test_a_position_that_is_never_stored_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "_STORE_SECONDS", 0.1)
    with pytest.raises(StreamBroken, match="has stored no position of connector retail_sync_shop"):
        connector.pinned(run, EPOCH)


def is_past(offset: Mapping[str, Any]) -> bool:
    return bool(offset["pos"] >= 100)


def test_the_position_of_an_epoch_is_what_connect_has_stored_of_the_log(run: Run, cluster: Cluster) -> None:
    connector.ensure(run, EPOCH, ["shop.orders"])
    store(cluster, "rs_shop_20240101000000")
    assert connector.position(run, EPOCH, ["shop.orders"]) is None
    store(cluster, NAME, gtids="a:1-7")
    assert connector.position(run, EPOCH, ["shop.orders"]) == {**AT, "gtids": "a:1-7"}


def test_topics_are_waited_for_until_a_position_past_a_moment_is_stored(run: Run, cluster: Cluster) -> None:
    connector.ensure(run, EPOCH, ["shop.orders"])
    store(cluster, "rs_shop_20240101000000", pos=1000)
    store(cluster, NAME, pos=99)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connector.await_past, run, EPOCH, ["shop.orders"], is_past)
        looked(cluster)
        assert not waiting.done()
        store(cluster, NAME, pos=100)
        waiting.result(10)


@pytest.mark.parametrize(
    ("part", "state", "said"),
    [
        ("state", "PAUSED", "connector retail_sync_shop is paused and writes nothing; resume it"),
        ("state", "STOPPED", "connector retail_sync_shop is stopped and writes nothing; resume it"),
        ("task", "FAILED", "shop: task 0 has failed: .*DebeziumException"),
        ("task", "RUNNING", "no position of connector retail_sync_shop past the moment of the comparison for 1 s"),
    ],
)
def test_a_connector_that_does_not_come_to_a_moment_is_told(
    run: Run, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, part: str, state: str, said: str
) -> None:
    monkeypatch.setattr(connector, "_RESTART_SECONDS", 0.0)
    monkeypatch.setattr(connector, "_STORE_SECONDS", 1.0)
    connector.ensure(run, EPOCH, ["shop.orders"])
    store(cluster, NAME, pos=99)
    setattr(cluster.connectors[SHOP], part, state)
    cluster.connectors[SHOP].trace = "io.debezium.DebeziumException: gone"
    with pytest.raises(StreamBroken, match=said):
        connector.await_past(run, EPOCH, ["shop.orders"], is_past)


def test_a_table_joins_while_the_connector_has_ended(
    run: Run, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector.join(run, EPOCH)
    assert cluster.connectors == {}, "the first configuration has all tables"
    connector.ensure(run, EPOCH, ["shop.orders"])
    connector.join(run, EPOCH)
    assert cluster.requests[-1].startswith("GET"), "nothing has to be changed"
    monkeypatch.setattr(Tables, "names", ("shop.carts", "shop.orders"))
    cluster.requests.clear()
    connector.join(run, EPOCH)
    changes = [request for request in cluster.requests if not request.startswith("GET")]
    assert changes == [f"PUT /connectors/{SHOP}/{what}" for what in ("stop", "config", "resume")]
    assert cluster.connectors[SHOP].config["table.include.list"] == r"shop\.carts,shop\.orders"
