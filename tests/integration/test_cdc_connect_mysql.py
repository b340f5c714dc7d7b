"""
A MySQL source in Kafka Connect mode: pinned, copied, followed and copied anew under writers, compared row by row.

Real Debezium runs the configuration that Connect was given; Connect is a stand-in, see ``connect_worker``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from include.cdc import health, operate, replicate, state
from include.cdc.follow import Task, follow
from include.cdc.incidents import open_incidents
from include.cdc.kafka import connector
from include.cdc.kafka.topics import topic_prefix
from include.cdc.models import Kind
from include.cdc.prerequisites.kafka import KafkaParts
from include.cdc.run import CdcRun
from include.cdc.sources.mysql import MysqlCdcSource
from tests.integration import mysql
from tests.integration.cdc import CdcStage, replication, run_of
from tests.integration.connect_server import LOGIN, PASSWORD, ConnectServer
from tests.integration.connect_worker import Worker

pytestmark = mysql.needs_mysql

ROWS = 1000
CONNECTOR = "retail_sync_shop"
#: Where the log is, as soon as it is quiet.
OFTEN = {"connect.keep.alive.interval.ms": 1000, "heartbeat.interval.ms": 500}
SHAPES = {"customers": "id, name, note, at", "orders": "shop, number, total, state"}


@dataclass(frozen=True)
class Shop:
    """A shop on MySQL, whose changes a connector writes into topics."""

    stage: CdcStage
    server: ConnectServer
    worker: Worker
    database: str
    run: CdcRun

    def written(self) -> None:
        """Wait until the topics of what readers see have all that is committed now."""
        source = self.run.at_source
        assert isinstance(source, MysqlCdcSource)
        end, until = source.end(), time.monotonic() + 60
        with self.run.in_warehouse() as target:
            prefix = topic_prefix("shop", self.run.row(target).epoch or "")
        while source.place_of(self.worker.offset(prefix) or {"file": "none.0", "pos": 0}) < end:
            assert time.monotonic() < until
            time.sleep(0.1)

    def prefix(self) -> str:
        """Return what the connector's topics begin with at present."""
        return self.server.cluster.connectors[CONNECTOR].config["topic.prefix"]

    def consume(self) -> int:
        return sum(follow(self.run, Task(consumer=number))["events"] for number in range(2))

    def differences(self) -> dict[str, int]:
        found = {}
        for table, columns in SHAPES.items():
            with closing(mysql.connect(self.database)) as session, session.cursor() as cursor:
                cursor.execute(f"SELECT {columns} FROM {table}")
                source = sorted(map(tuple, cursor.fetchall()))
            with self.stage.connect_warehouse() as session:
                target = sorted(session.execute(f"SELECT {columns} FROM shop_copy.{table}").fetchall())
            if source != target:
                found[table] = len(set(source) ^ set(target)) or abs(len(source) - len(target))
        return found


@contextmanager
def connect_at(cdc_stage: CdcStage) -> Iterator[tuple[ConnectServer, KafkaParts, str]]:
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    brokers, server, source = f"{broker.host}:{broker.port}", ConnectServer(), mysql.connection()
    parts: dict[str, Any] = {"host": source.host, "port": source.port, "schema": source.database, "extra": {}}
    given = KafkaParts(
        source={"conn_type": "mysql", **parts, "login": source.login, "password": source.password},
        connect={"conn_type": "http", "host": server.url, "login": LOGIN, "password": PASSWORD, "extra": {}},
        brokers={"conn_type": "kafka", "extra": {"bootstrap.servers": brokers, "log_level": "0"}},
    )
    yield server, given, brokers
    server.stop()
    producer.flush()


@pytest.fixture
def shop(cdc_stage: CdcStage, tmp_path: Path) -> Iterator[Shop]:
    stage = replace(cdc_stage, source_connection=mysql.connection())
    with mysql.fresh_shop(ROWS) as database, connect_at(stage) as (server, parts, brokers):
        fields = {"kind": Kind.MYSQL, "tables": [f"{database}.*"], "target_schema": "shop_copy", "chunk_rows": 500}
        of = replication("shop", **fields, mode="kafka_connect", kafka={"consumers": 2, "connector": OFTEN})
        worker = Worker(server.cluster, CONNECTOR, brokers, tmp_path)
        yield Shop(stage, server, worker, database, replace(run_of(stage, "test", of), kafka=parts))
        worker.close()


@pytest.mark.timeout(240)
def test_a_source_without_slots_is_followed_by_topics(shop: Shop) -> None:
    with mysql.writing(shop.database, ROWS, pause=0.003) as writers:
        replicate.copy(shop.run)
        assert writers.close() > 100
    shop.written()
    assert shop.consume() > 100
    assert shop.differences() == {}
    assert connector.failures(shop.run) == []

    mysql.run(shop.database, "UPDATE orders SET number = 18446744073709551615 WHERE shop = 1 AND number = 1")
    with mysql.writing(shop.database, ROWS, pause=0.003), ThreadPoolExecutor(1) as pool:
        before = shop.prefix()
        copy = pool.submit(replicate.copy, shop.run, resync=True)
        while shop.prefix() == before:
            time.sleep(0.05)
        shop.consume()
        copy.result()
    given = f"PUT /connectors/{CONNECTOR}/config"
    assert shop.server.cluster.requests.count(given) >= 4, "it was given back and again beside the copy"
    assert shop.prefix() != before
    shop.written()
    shop.consume()
    assert shop.differences() == {}

    with shop.run.in_warehouse() as target:
        position = shop.run.row(target).position
        assert position is not None
        purged = {**position, "offset": {**position["offset"], "file": "binlog.000000", "gtids": ""}}
        state.write(target.records, "shop", position=purged)
    assert health.check(shop.run).reasons == [], "the connector is further than the pin"
    operate.drop(shop.run)
    assert shop.server.cluster.connectors == {}


@pytest.mark.timeout(240)
def test_a_comparison_under_writers_is_of_one_moment_and_the_stream_goes_on(shop: Shop) -> None:
    replicate.copy(shop.run)
    with mysql.writing(shop.database, ROWS, pause=0.003):
        figures = follow(shop.run, Task(compare=True))
        assert [table["equal"] for table in figures["compared"]] == [True, True]
        assert figures["events"] > 0
    shop.written()
    assert shop.consume() > 0
    assert shop.differences() == {}
    with shop.stage.connect_warehouse() as session:
        session.execute(
            "UPDATE shop_copy.customers SET name = 'wrong' WHERE id = (SELECT min(id) FROM shop_copy.customers)"
        )
    # the last in the log; several consumers do not apply it
    mysql.run(shop.database, "UPDATE orders SET total = 0", "TRUNCATE orders")
    customers, orders = follow(shop.run, Task(compare=True))["compared"]
    assert (customers["missing"], customers["extra"], customers["different"]) == (0, 0, 1)
    assert orders["rows_target"] == orders["extra"] > 0
    with shop.stage.in_warehouse() as target:
        assert [incident.kind for incident in open_incidents(target.records, "shop")] == ["truncated"]
