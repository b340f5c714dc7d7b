"""
A replication in Kafka Connect mode, from its validation to its tables.

Real Debezium runs the configuration that Connect was given, and writes to a cluster that speaks Kafka's
protocol; Connect itself is a stand-in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from include.cdc import operate, replicate
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
from include.errors import LockHeld, StreamBroken
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


@contextmanager
def selling(stage: CdcStage, *seeds: int) -> Iterator[None]:
    """Let tills work, not as fast as they can: the cluster keeps no more than 5 MB of a partition."""
    over = threading.Event()

    def work(seed: int) -> None:
        with stage.connect_source() as session:
            till = shop.Till(session, seed)
            while not over.is_set():
                till.work()
                over.wait(0.02)

    tills = [threading.Thread(target=work, args=(seed,)) for seed in seeds]
    for till in tills:
        till.start()
    try:
        yield
    finally:
        over.set()
        for till in tills:
            till.join(30)


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


@pytest.fixture
def followed(
    cdc_stage: CdcStage, connect_server: ConnectServer, brokers: str, kafka: KafkaParts, tmp_path: Path
) -> Iterator[CdcRun]:
    """A shop that is copied, and whose connector runs."""
    with cdc_stage.connect_source() as session:
        shop.fill(session, 500)
    run = replace(run_of(cdc_stage, "compare", TOPICS), kafka=kafka)
    replicate.copy(run)
    follow(run, Task())
    worker = connect_worker.Worker(connect_server.cluster, "retail_sync_shop", brokers, tmp_path)
    yield run
    worker.close()


def test_a_comparison_under_writers_is_of_one_moment_and_the_stream_goes_on(
    cdc_stage: CdcStage, followed: CdcRun
) -> None:
    # none of these tills empties a table, which several consumers do not apply
    with selling(cdc_stage, 2, 3):
        figures = follow(followed, Task(compare=True))
        assert [table["table"] for table in figures["compared"] if table["equal"]] == sorted(shop.TABLES)
        assert figures["events"] > 20
        assert sum(part["events"] for part in consume_all(followed)) > 0
        cdc_stage.at_warehouse(
            "UPDATE shop_copy.customers SET name = 'wrong' WHERE id = 1",
            "DELETE FROM shop_copy.products WHERE code = 'P1' AND region = 'KL'",
        )
        compared = {table["table"]: table for table in follow(followed, Task(compare=True))["compared"]}
    found = {name: (table["missing"], table["extra"], table["different"]) for name, table in compared.items()}
    assert found == {
        "shop.carts": (0, 0, 0),
        "shop.customers": (0, 0, 1),
        "shop.orders": (0, 0, 0),
        "shop.products": (1, 0, 0),
    }
    assert [compared[f"shop.{name}"]["sample_keys"] for name in ("customers", "products")] == [
        (("1",),),
        (("P1", "KL"),),
    ]
    follow(followed, Task(compare=True))
    assert differences(cdc_stage, TOPICS) == {"shop.customers": (1, 1), "shop.products": (1, 0)}


def test_a_comparison_is_given_up_while_others_consume_or_the_connector_rests(
    cdc_stage: CdcStage, followed: CdcRun, connect_server: ConnectServer
) -> None:
    consumers = [Name(LockSpace.REPLICATION, "shop apply", shared=True)]
    with hold(followed.control, consumers, holder="another", wait=0), pytest.raises(LockHeld):
        follow(followed, Task(compare=True))
    cdc_stage.at_source("UPDATE shop.customers SET points = 1")
    connect_server.cluster.connectors["retail_sync_shop"].state = "PAUSED"
    with pytest.raises(StreamBroken, match="connector retail_sync_shop is paused"):
        follow(followed, Task(compare=True))
    connect_server.cluster.connectors["retail_sync_shop"].state = "RUNNING"
    figures = follow(followed, Task(compare=True))
    assert (figures["events"], [table["equal"] for table in figures["compared"]]) == (500, [True] * 4)
