"""Topics of a broker that speaks Kafka's protocol (librdkafka's mock cluster), applied to a real PostgreSQL."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from include import migrations
from include.cdc import names
from include.cdc.kafka import client, consumer, offsets
from include.cdc.kafka.brokers import Brokers
from include.cdc.kafka.client import Message
from include.cdc.kafka.consumer import Consumed, Share, consume, lag
from include.cdc.kafka.topics import topic_prefix
from include.cdc.targets.postgres import PostgresTarget, opened
from include.connections import Connection, parse
from include.demo.postgres import EmbeddedPostgres
from include.engines.postgres.connect import connect
from include.errors import ConnectionLost, LockHeld, NeedsResync, NotConfigured, SchemaMismatch, StreamBroken
from include.settings import PROJECT_ROOT
from tests.integration.conftest import drop_database, fresh_database

EPOCHS = (f"2025010100{number:04}" for number in itertools.count())

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

#: Applies what there is in a process that kills itself at a point; prints nothing.
VICTIM = """
import os, signal, sys
from include.cdc.kafka import client, consumer
from include.cdc.kafka.brokers import Brokers
from include.connections import parse
from include.cdc.targets.postgres import opened
from tests.integration.test_cdc_consumer import record

brokers, warehouse, epoch, point, batches = sys.argv[1:]
left = int(batches)

def die(at):
    if at == point and left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def handle(target, messages):
    global left
    left -= 1
    die("before the rows")
    record(target, messages)
    die("before the commit")

tell = client.Client.tell

def told(self, offsets):
    die("after the commit")
    tell(self, offsets)
    die("after the brokers were told")

client.Client.tell = told
with opened(parse("warehouse", warehouse), "test") as target:
    consumer.consume(Brokers("kafka", {"bootstrap.servers": brokers}), target, "shop", epoch, handle, batch=50)
"""


def record(target: PostgresTarget, messages: Sequence[Message]) -> None:
    """Write down what was handed over; what comes twice is there twice."""
    session = target.session
    session.cursor().executemany(
        "INSERT INTO public.applied (topic, part, place, key, value, backend) VALUES (%s, %s, %s, %s, %s, %s)",
        [(m.topic, m.partition, m.offset, m.key, m.value, session.info.backend_pid) for m in messages],
    )


@pytest.fixture(scope="module")
def cluster() -> Producer:
    """What holds a cluster of one broker; topics come with their first message and have four partitions."""
    return Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})


@pytest.fixture(scope="module")
def brokers(cluster: Producer) -> Brokers:
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    return Brokers("kafka", {"bootstrap.servers": f"{broker.host}:{broker.port}", "log_level": "0"})


@pytest.fixture(scope="module")
def warehouse(server: EmbeddedPostgres) -> Iterator[Connection]:
    database = fresh_database(server, "kafka")
    connection = parse("warehouse", server.uri(database))
    migrations.migrate("warehouse", connection)
    with connect(connection) as session:
        session.execute(
            "CREATE TABLE public.applied (id bigint GENERATED ALWAYS AS IDENTITY, topic text, part int, place bigint,"
            " key text, value text, backend int)"
        )
    yield connection
    drop_database(server, database)


@dataclass
class Epoch:
    """Topics of a test's own, who writes to them, and what arrived of them."""

    name: str
    brokers: Brokers
    warehouse: Connection
    producer: Producer
    target: PostgresTarget

    def topic(self, table: str = "public.orders") -> str:
        return f"{topic_prefix('shop', self.name)}.{table}"

    def write(self, count: int, table: str = "public.orders", *, keys: int = 20, first: int = 0) -> None:
        for number in range(first, first + count):
            self.producer.produce(self.topic(table), key=str(number % keys), value=str(number))
        assert self.producer.flush(30) == 0

    def consume(self, handle: consumer.Handle = record, **options: Any) -> Consumed:
        return consume(self.brokers, self.target, "shop", self.name, handle, **options)

    def applied(self) -> list[tuple[Any, ...]]:
        with connect(self.warehouse) as session:
            query = "SELECT topic, part, key, value::int, backend FROM public.applied WHERE topic LIKE %s ORDER BY id"
            return session.execute(query, (f"{topic_prefix('shop', self.name)}.%",)).fetchall()

    def assert_applied_once(self, count: int) -> None:
        """All messages, none twice, and those of a key in order."""
        order: dict[tuple[str, str], list[int]] = {}
        for topic, _, key, value, _ in self.applied():
            order.setdefault((topic, key), []).append(value)
        assert sorted(itertools.chain.from_iterable(order.values())) == list(range(count))
        assert all(values == sorted(values) for values in order.values())

    def kept(self) -> dict[tuple[str, int], int]:
        with opened(self.warehouse, "test") as target:
            return offsets.read(target.records, "shop", self.name)


@pytest.fixture
def epoch(brokers: Brokers, warehouse: Connection) -> Iterator[Epoch]:
    producer = Producer({**brokers.settings, "linger.ms": 5})
    with opened(warehouse, "test") as target:
        yield Epoch(next(EPOCHS), brokers, warehouse, producer, target)


def test_all_is_applied_once_and_the_next_run_goes_on(epoch: Epoch) -> None:
    epoch.write(500)
    done = epoch.consume(batch=100)
    assert (done.messages, done.caught_up, set(done.lag.values())) == (500, True, {0})
    assert done.batches >= 5
    assert epoch.consume().messages == 0
    epoch.write(30, first=500)
    assert sum(lag(epoch.brokers, epoch.target, "shop", epoch.name).values()) == 30
    assert epoch.consume().messages == 30
    epoch.assert_applied_once(530)


def test_an_epoch_without_topics_is_caught_up(epoch: Epoch) -> None:
    assert epoch.consume() == Consumed(caught_up=True)


def test_topics_of_another_epoch_or_replication_are_left_alone(epoch: Epoch) -> None:
    for topic in (f"rs_shop2_{epoch.name}.public.orders", f"rs_shop_{epoch.name}1.public.orders", "rs_shop"):
        epoch.producer.produce(topic, key="1", value="1")
    epoch.write(3)
    assert epoch.consume().messages == 3


def test_the_brokers_are_told_for_those_who_look_there(epoch: Epoch) -> None:
    epoch.write(100)
    epoch.consume()
    group = names.consumer_group("shop", epoch.name)
    with closing(Consumer({**epoch.brokers.settings, "group.id": group})) as looking:
        committed = looking.committed([TopicPartition(*partition) for partition in epoch.kept()], timeout=10)
    assert {(part.topic, part.partition): part.offset for part in committed if part.offset >= 0} == {
        partition: offset for partition, offset in epoch.kept().items() if offset
    }


def test_messages_are_handed_over_as_text_with_headers_and_without_tombstones(epoch: Epoch) -> None:
    heard: list[Message] = []
    headers = [("__debezium.newkey", b'{"id":2}'), ("empty", None)]
    epoch.producer.produce(epoch.topic(), key='{"id":1}', value='{"op":"d"}', headers=headers, partition=0)
    epoch.producer.produce(epoch.topic(), key='{"id":1}', value=None, partition=0)
    epoch.producer.produce(epoch.topic(), value='{"op":"t"}', partition=0)
    epoch.producer.flush(10)
    epoch.consume(lambda _, messages: heard.extend(messages))
    assert heard == [
        Message(epoch.topic(), 0, 0, '{"id":1}', '{"op":"d"}', {"__debezium.newkey": '{"id":2}'}),
        Message(epoch.topic(), 0, 2, None, '{"op":"t"}'),
    ]
    assert epoch.kept()[epoch.topic(), 0] == 3


def test_what_fails_while_it_is_applied_is_read_again(epoch: Epoch) -> None:
    epoch.write(60)

    def fail(target: PostgresTarget, messages: Sequence[Message]) -> None:
        record(target, messages)
        target.session.execute("SELECT * FROM missing")

    with pytest.raises(SchemaMismatch, match="replication shop: applying changes"):
        epoch.consume(fail)
    assert epoch.applied() == []
    epoch.consume()
    epoch.assert_applied_once(60)


@pytest.mark.parametrize(
    ("point", "batches"),
    [
        ("before the rows", 1),
        ("before the commit", 1),
        ("before the commit", 2),
        ("after the commit", 2),
        ("after the brokers were told", 2),
    ],
)
def test_a_killed_process_loses_and_doubles_nothing(
    epoch: Epoch, server: EmbeddedPostgres, point: str, batches: int
) -> None:
    epoch.write(300)
    warehouse = server.uri(epoch.warehouse.database)
    command = [sys.executable, "-c", VICTIM, epoch.brokers.addresses, warehouse, epoch.name, point, str(batches)]
    killed = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert bool(epoch.applied()) == (batches == 2)
    epoch.consume(batch=50)
    epoch.assert_applied_once(300)


def test_consumers_share_the_partitions(epoch: Epoch) -> None:
    epoch.write(400)
    epoch.write(400, "public.items", first=400)

    def work(number: int) -> None:
        with opened(epoch.warehouse, "test") as target:
            consume(epoch.brokers, target, "shop", epoch.name, record, share=Share(number, 3), batch=50)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    epoch.assert_applied_once(800)
    readers = {(topic, part, backend) for topic, part, _, _, backend in epoch.applied()}
    assert len({backend for *_, backend in readers}) == 3
    assert len({(topic, part) for topic, part, _ in readers}) == len(readers)


def test_a_consumer_too_many_has_nothing_to_do(epoch: Epoch) -> None:
    epoch.write(10)
    assert epoch.consume(share=Share(7, 8)).caught_up
    with pytest.raises(ValueError, match="no consumer 8 among 8"):
        Share(8, 8)


def test_of_two_who_read_the_same_the_second_applies_nothing(epoch: Epoch) -> None:
    epoch.write(40, keys=1)
    refused: list[Exception] = []

    def second() -> None:
        with opened(epoch.warehouse, "test") as target:
            try:
                consume(epoch.brokers, target, "shop", epoch.name, record)
            except LockHeld as error:
                refused.append(error)

    thread = threading.Thread(target=second)

    def first(target: PostgresTarget, messages: Sequence[Message]) -> None:
        record(target, messages)
        thread.start()
        # a session of its own, as within a transaction the view stays as it was first looked at
        with closing(connect(epoch.warehouse, autocommit=True)) as looking:
            await_that(lambda: looking.execute(WAITING).fetchone() == (1,))

    epoch.consume(first)
    thread.join()
    assert "another run reads the same partitions" in str(refused[0])
    epoch.assert_applied_once(40)


def test_a_run_that_goes_on_reads_what_is_written_meanwhile_in_new_topics_too(
    epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "_LOOK_AGAIN", 2.0)
    epoch.write(50)
    writes = iter([lambda: epoch.write(50, "public.items", first=50)])

    class Enough(Exception): ...

    def handle(target: PostgresTarget, messages: Sequence[Message]) -> None:
        record(target, messages)
        for write in itertools.islice(writes, 1):
            write()
        if messages[-1].topic == epoch.topic("public.items"):
            raise Enough

    with pytest.raises(Enough):
        epoch.consume(handle, seconds=120)
    epoch.consume()
    epoch.assert_applied_once(100)


def test_a_run_that_goes_on_ends_in_time(epoch: Epoch) -> None:
    epoch.write(10)
    epoch.consume()
    began = time.monotonic()
    assert epoch.consume(seconds=1).caught_up
    assert time.monotonic() - began >= 1


def test_a_partition_ends_where_it_is_told_to_and_the_next_run_begins_there(epoch: Epoch) -> None:
    epoch.write(150)
    done = epoch.consume(batch=30, ends=lambda message: 100 <= int(message.value or 0) < 120)
    assert (done.messages, done.caught_up, sum(done.lag.values())) == (100, True, 50)
    assert epoch.consume().messages == 50
    epoch.assert_applied_once(150)


def test_an_offset_that_is_purged_needs_a_resync(epoch: Epoch) -> None:
    epoch.producer.produce(epoch.topic(), value="0", partition=0)
    epoch.producer.flush(10)
    epoch.consume()
    purge(epoch, epoch.topic())
    with pytest.raises(NeedsResync, match="partition 0: offset 1 has to be read next, the brokers have"):
        epoch.consume()
    assert len(epoch.applied()) == 1
    with pytest.raises(NeedsResync):
        lag(epoch.brokers, epoch.target, "shop", epoch.name)


def test_what_was_purged_before_it_was_ever_read_needs_a_resync(epoch: Epoch) -> None:
    purge(epoch, epoch.topic())
    with pytest.raises(NeedsResync, match="offset 0 has to be read next"):
        epoch.consume()


def test_what_is_purged_while_it_is_read_needs_a_resync(epoch: Epoch, monkeypatch: pytest.MonkeyPatch) -> None:
    purge(epoch, epoch.topic())
    monkeypatch.setattr(client.Client, "bounds", lambda *_: (0, 1000))
    with pytest.raises(NeedsResync, match="reading rs_shop_"):
        epoch.consume()


@pytest.mark.parametrize(("table", "offset"), [("public.gone", 5), ("public.orders", 1000)])
def test_a_topic_that_was_removed_or_made_anew_needs_a_resync(epoch: Epoch, table: str, offset: int) -> None:
    epoch.write(5)
    with epoch.target.transaction():
        offsets.begin(epoch.target.records, "shop", epoch.name, {(epoch.topic(table), 0): offset})
    with pytest.raises(NeedsResync):
        epoch.consume()
    assert epoch.applied() == []


def test_brokers_that_do_not_answer_are_a_lost_connection(epoch: Epoch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_ANSWER", 1.0)
    epoch.brokers = Brokers("kafka", {"bootstrap.servers": "127.0.0.1:1"})
    with pytest.raises(ConnectionLost, match=r"kafka \(kafka 127.0.0.1:1\): asking for the topics"):
        epoch.consume()


def test_brokers_that_fall_silent_break_the_stream(epoch: Epoch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_SILENCE", 3.0)
    monkeypatch.setitem(client._OURS, "enable.partition.eof", "false")
    monkeypatch.setattr(client.Client, "bounds", lambda *_: (0, 1000))
    epoch.write(5)
    with pytest.raises(StreamBroken, match="nothing came for 3 s"):
        epoch.consume()
    epoch.assert_applied_once(5)


def test_a_setting_that_is_none_is_named(epoch: Epoch) -> None:
    epoch.brokers = Brokers("kafka", {**epoch.brokers.settings, "no.such": "hidden-word"})
    with pytest.raises(NotConfigured, match=r"connection 'kafka': extra no\.such") as refused:
        epoch.consume()
    assert "hidden" not in str(refused.value)


def test_what_would_be_committed_with_other_work_is_refused(epoch: Epoch) -> None:
    with epoch.target.transaction(), pytest.raises(ValueError, match="a transaction is open"):
        epoch.consume()


def purge(epoch: Epoch, topic: str) -> None:
    """Write more than the mock cluster keeps of a partition, 5 MB."""
    for _ in range(60):
        epoch.producer.produce(topic, value=b"0" * 100_000, partition=0)
    assert epoch.producer.flush(30) == 0


def await_that(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)
