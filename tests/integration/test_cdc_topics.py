"""
A replication in Kafka Connect mode, from its validation to its tables.

Real Debezium runs the configuration that Connect was given, and writes to a cluster that speaks Kafka's
protocol; Connect itself is a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from include.cdc import operate
from include.cdc.begin import begin
from include.cdc.copy import copy_table
from include.cdc.follow import Task, follow
from include.cdc.incidents import open_incidents
from include.cdc.kafka import connector
from include.cdc.models import Replication
from include.cdc.prerequisites.kafka import KafkaParts
from include.cdc.run import CdcRun
from include.cdc.swap import swap
from include.cdc.validate import validate
from include.connections import Connection
from include.demo import shop
from include.errors import BadRequest, LockHeld
from include.locks import LockSpace, Name, hold
from tests.integration import connect_worker
from tests.integration.cdc import CdcStage, differences, replication, run_of
from tests.integration.connect_server import LOGIN, PASSWORD, ConnectServer

TOPICS = replication(
    "shop", mode="kafka_connect", tables=["shop.*"], target_schema="shop_copy", chunk_rows=500, kafka={"consumers": 2}
)


@pytest.fixture
def connect_server() -> Iterator[ConnectServer]:
    server = ConnectServer()
    yield server
    server.stop()


@pytest.fixture
def brokers() -> Iterator[str]:
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    producer.flush()


@pytest.fixture
def kafka(cdc_stage: CdcStage, connect_server: ConnectServer, brokers: str) -> KafkaParts:
    extra = {"bootstrap.servers": brokers, "log_level": "0"}
    return KafkaParts(
        source=_parts(cdc_stage.source_connection),
        connect={
            "conn_type": "http",
            "host": connect_server.url,
            "login": LOGIN,
            "password": PASSWORD,
            "extra": {"attempts": 2, "pause": 0.01},
        },
        brokers={"conn_type": "kafka", "extra": extra},
    )


def _parts(connection: Connection) -> dict[str, Any]:
    texts = {"host": connection.host, "port": connection.port, "schema": connection.database}
    return {"conn_type": "postgres", **texts, "login": connection.login, "password": "", "extra": {}}


def work(stage: CdcStage, server: ConnectServer, brokers: str, folder: Path, marker: str) -> None:
    """Let Debezium write what is committed now."""
    with stage.connect_source() as session:
        stage.source.mark(session, marker)
    config = server.cluster.connectors["retail_sync_shop"].config
    process = connect_worker.started(config, brokers, str(folder), marker)
    assert process.stdout is not None
    process.stdout.read()
    assert process.wait(30) == 0


def consume_all(run: CdcRun, of: Replication = TOPICS) -> list[dict[str, Any]]:
    return [follow(run, Task(consumer=number)) for number in range(of.kafka.consumers)]


def test_topics_are_applied_once_and_the_connector_is_kept(
    cdc_stage: CdcStage, connect_server: ConnectServer, brokers: str, kafka: KafkaParts, tmp_path: Path
) -> None:
    stage = cdc_stage
    with stage.connect_source() as session:
        shop.fill(session, 500)
    run = replace(run_of(stage, "topics", TOPICS), kafka=kafka)
    assert validate(TOPICS, run.source, run.warehouse, run.control, kafka_parts=kafka) == []
    for table in begin(run):
        copy_table(run, table)
    with stage.connect_source() as session:
        till = shop.Till(session, 2)
        for _ in range(60):
            till.work()
    assert len(swap(run)) == 4

    assert [figures["events"] for figures in consume_all(run)] == [0, 0], "nothing is written yet"
    assert connector.failures(run) == []
    config = connect_server.cluster.connectors["retail_sync_shop"].config
    assert (config["snapshot.mode"], config["publication.autocreate.mode"]) == ("no_data", "disabled")
    work(stage, connect_server, brokers, tmp_path, "first")
    figures = consume_all(run)
    assert sum(part["events"] for part in figures) > 100
    assert all(part["dead"] == 0 for part in figures)
    assert differences(stage, TOPICS) == {}
    assert [part["events"] for part in consume_all(run)] == [0, 0]

    with pytest.raises(BadRequest, match="only an embedded stream"):
        follow(run, Task(compare=True))
    held = [Name(LockSpace.REPLICATION, "shop consumer 1")]
    with hold(run.control, held, holder="another", wait=0), pytest.raises(LockHeld):
        follow(run, Task(consumer=1))

    stage.at_source("TRUNCATE shop.carts")
    work(stage, connect_server, brokers, tmp_path, "second")
    consume_all(run)
    with stage.in_warehouse() as target:
        (incident,) = open_incidents(target.records, "shop")
    assert (incident.kind, incident.subject) == ("truncated", "shop.carts")

    operate.stop(run)
    assert connect_server.cluster.connectors["retail_sync_shop"].state == "STOPPED"
    assert "stopped" in follow(run, Task())["waiting"]
    operate.resume(run)
    assert connect_server.cluster.connectors["retail_sync_shop"].state == "RUNNING"
    operate.drop(run)
    assert connect_server.cluster.connectors == {}
