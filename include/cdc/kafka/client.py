"""A consumer of confluent-kafka, with its errors as errors of ours."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from include.cdc.kafka.brokers import Brokers
from include.cdc.kafka.offsets import Offsets, Partition
from include.errors import AccessDenied, ConnectionLost, NeedsResync, NotConfigured, RetailSyncError, StreamBroken

if TYPE_CHECKING:
    import confluent_kafka
    from confluent_kafka import Consumer, KafkaError

log = logging.getLogger(__name__)

#: Seconds that brokers are given to answer a question.
_ANSWER = 20.0
#: Seconds without a message or the end of a partition after which a stream is given up; who expects
#: silence asks for the partitions anew before.
_SILENCE = 60.0
#: Whatever the connection says: positions are ours, and a position that is gone is an error.
_OURS = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "auto.offset.reset": "error",
    "enable.partition.eof": "true",
    "isolation.level": "read_committed",
    "max.poll.interval.ms": "86400000",
    "queued.max.messages.kbytes": "16384",
}
_PROPERTY = re.compile(r'property:? "([^"]+)"')


@dataclass(frozen=True, slots=True)
class Message:
    """A message as Kafka has it; ``key`` is None for what is of a whole table, ``value`` for a tombstone."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: str | None
    headers: Mapping[str, str] = field(default_factory=dict)


class Client:
    """A consumer that is told which partitions it reads, never asks for a share."""

    def __init__(self, consumer: Consumer, brokers: Brokers) -> None:
        self._consumer, self._brokers = consumer, brokers
        self._error: KafkaError | None = None
        self._heard = time.monotonic()

    @classmethod
    @contextmanager
    def opened(cls, brokers: Brokers, group: str) -> Iterator[Client]:
        """
        Hold a consumer of a group while the block runs.

        :raises NotConfigured: if a setting of the connection is none of librdkafka's.
        """
        from confluent_kafka import Consumer, KafkaException

        client: Client

        def note(error: KafkaError) -> None:
            # the first: what follows from it says less
            client._error = error if client._error is None else client._error

        settings = {**brokers.settings, **_OURS, "group.id": group}
        try:
            consumer = Consumer({**settings, "error_cb": note, "on_commit": _tell}, logger=log)
        except KafkaException as error:
            found = _PROPERTY.search(str(error))
            what = f"extra {found[1]}" if found else "a setting"
            raise NotConfigured(f"connection {brokers.id!r}: {what} is not understood by librdkafka") from None
        client = cls(consumer, brokers)
        try:
            yield client
        finally:
            consumer.close()

    def partitions(self, wanted: Callable[[str], bool]) -> dict[str, int]:
        """
        Return the number of partitions of each topic whose name is wanted.

        :raises ConnectionLost: if no broker answers.
        :raises AccessDenied: if they refuse the login.
        """
        with self._asking("asking for the topics"):
            found = self._consumer.list_topics(timeout=_ANSWER).topics
        for name in filter(wanted, found):
            if (error := found[name].error) is not None:
                raise _translated(self._brokers, f"asking for topic {name}", error)
        return {name: len(found[name].partitions) for name in filter(wanted, found)}

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return the first offset that the brokers have of a partition, and the one after the last."""
        from confluent_kafka import TopicPartition

        with self._asking(f"asking for the offsets of {partition[0]}"):
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_ANSWER)
        return low, high

    def read_from(self, offsets: Offsets) -> None:
        """Read these partitions from now on, each from its offset."""
        from confluent_kafka import TopicPartition

        self._heard = time.monotonic()
        self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in offsets.items()])

    def rest(self) -> None:
        """Read nothing for now: a question to a broker would stand behind what is waited for there."""
        self._consumer.unassign()

    def messages(self, limit: int, seconds: float) -> tuple[list[Message], dict[Partition, int]]:
        """
        Return the next messages, and of partitions that were read to their end the offset after it.

        :param limit: how many at most; ``seconds``: how long more are waited for.
        :raises StreamBroken: if the brokers fall silent or report an error.
        :raises NeedsResync: if an offset is no longer there.
        """
        from confluent_kafka import KafkaError

        messages: list[Message] = []
        ends: dict[Partition, int] = {}
        for message in self._consumer.consume(limit, timeout=seconds):
            error = message.error()
            if error is None:
                messages.append(_message(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[_place(message)] = message.offset() or 0
            else:
                raise _translated(self._brokers, f"reading {message.topic()}, partition {message.partition()}", error)
        if messages or ends:
            self._heard, self._error = time.monotonic(), None
        elif time.monotonic() - self._heard > _SILENCE:
            said = "" if self._error is None else f": {self._error.str()}"
            raise StreamBroken(f"{self._brokers}: nothing came for {_SILENCE:.0f} s{said}")
        return messages, ends

    def tell(self, offsets: Offsets) -> None:
        """Tell the brokers, for those who look at lags there, without waiting; nothing depends on it."""
        from confluent_kafka import KafkaException, TopicPartition

        try:
            self._consumer.commit(
                offsets=[TopicPartition(*partition, offset) for partition, offset in offsets.items()],
                asynchronous=True,
            )
        except KafkaException as error:
            log.debug("the brokers were not told how far the group is: %s", error)

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        from confluent_kafka import KafkaException

        try:
            yield
        except KafkaException as error:
            self._consumer.poll(0)  # has the reason noted, where a link or a login failed
            raise _translated(self._brokers, doing, error.args[0] if self._error is None else self._error) from None


def _message(found: confluent_kafka.Message) -> Message:
    key, value = found.key(), found.value()
    headers = {name: _text(content) for name, content in _headers(found) if content is not None}
    return Message(
        *_place(found),
        found.offset() or 0,
        _text(key) if key is not None else None,
        _text(value) if value is not None else None,
        headers,
    )


def _headers(found: confluent_kafka.Message) -> list[tuple[str, str | bytes | None]]:
    return cast("list[tuple[str, str | bytes | None]]", found.headers() or [])


def _place(found: confluent_kafka.Message) -> Partition:
    return found.topic() or "", found.partition() or 0


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


def _translated(brokers: Brokers, doing: str, error: KafkaError) -> RetailSyncError:
    from confluent_kafka import KafkaError as Codes

    refused = {
        Codes._AUTHENTICATION,
        Codes.SASL_AUTHENTICATION_FAILED,
        Codes.TOPIC_AUTHORIZATION_FAILED,
        Codes.GROUP_AUTHORIZATION_FAILED,
        Codes.CLUSTER_AUTHORIZATION_FAILED,
    }
    lost = {Codes._ALL_BROKERS_DOWN, Codes._TRANSPORT, Codes._RESOLVE, Codes._TIMED_OUT, Codes._SSL}
    gone = {Codes._AUTO_OFFSET_RESET, Codes.OFFSET_OUT_OF_RANGE}
    kinds: Mapping[type[RetailSyncError], set[int]] = {AccessDenied: refused, ConnectionLost: lost, NeedsResync: gone}
    kind = next((kind for kind, codes in kinds.items() if error.code() in codes), StreamBroken)
    return kind(f"{brokers}: {doing}: {error.str()} [{error.name()}]")


def _tell(error: KafkaError | None, _: object) -> None:
    if error is not None:
        log.debug("the brokers did not note how far the group is: %s", error)
