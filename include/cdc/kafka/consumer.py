"""Read a replication's topics: batches are applied in one transaction with the offsets after them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from include.cdc import names
from include.cdc.kafka import offsets, topics
from include.cdc.kafka.brokers import Brokers
from include.cdc.kafka.client import Client, Message
from include.cdc.kafka.offsets import Offsets, Partition
from include.cdc.targets.base import Target
from include.errors import NeedsResync

log = logging.getLogger(__name__)

BATCH = 2048
_WAIT = 0.5
#: Seconds after which a run that goes on looks for topics that are new.
_LOOK_AGAIN = 30.0


#: Applies messages in the transaction that is open; those of one key are in order.
Handle = Callable[[Target, Sequence[Message]], None]
#: Whether a partition ends before a message.
Ends = Callable[[Message], bool]


@dataclass(frozen=True)
class Share:
    """Which of the mapped tasks this one is."""

    number: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            raise ValueError(f"no consumer {self.number} among {self.of}")

    def part(self, partitions: Sequence[Partition]) -> list[Partition]:
        """Return the partitions that are read here."""
        return [partition for index, partition in enumerate(partitions) if index % self.of == self.number]


@dataclass
class Consumed:
    """
    What a run has read.

    :param caught_up: whether all is applied that was there when it began, or last looked for topics.
    :param lag: messages that were still to be read of each partition when it ended.
    """

    messages: int = 0
    batches: int = 0
    caught_up: bool = False
    lag: dict[Partition, int] = field(default_factory=dict)


def consume(
    brokers: Brokers,
    target: Target,
    replication: str,
    epoch: str,
    handle: Handle,
    *,
    share: Share = Share(),
    seconds: float = 0.0,
    batch: int = BATCH,
    ends: Ends | None = None,
) -> Consumed:
    """
    Apply what the topics of an epoch hold, from where the last transaction was committed.

    :param target: a session with the warehouse, with no transaction open.
    :param seconds: how long to go on; 0: until what was there at the start is applied.
    :param batch: messages that are applied at once, at most.
    :param ends: each partition is read up to the first message for which this is true, which the next run begins with.
    :raises NeedsResync: if the brokers no longer have what has to be read next.
    :raises LockHeld: if another run has read on meanwhile; nothing is applied twice.
    :raises StreamBroken: or ``ConnectionLost``: if the brokers fail us.
    :raises AccessDenied: if they refuse the login.
    """
    if target.is_in_transaction:
        raise ValueError("a transaction is open: it would be committed late")
    until, done = time.monotonic() + seconds, Consumed()
    with Client.opened(brokers, names.consumer_group(replication, epoch)) as client:
        run = _Run(client, target, replication, epoch, share, ends)
        while True:
            run.read(handle, done, batch, min(until, time.monotonic() + _LOOK_AGAIN) if seconds else None)
            if time.monotonic() >= until:
                break
    log.info("replication %s: %d messages in %d batches", replication, done.messages, done.batches)
    return done


def lag(brokers: Brokers, target: Target, replication: str, epoch: str) -> dict[Partition, int]:
    """Return how many messages are still to be applied of each partition; raises what ``consume`` raises."""
    with Client.opened(brokers, names.consumer_group(replication, epoch)) as client:
        starts, highs = _Run(client, target, replication, epoch, Share()).positions()
    return {partition: highs[partition] - start for partition, start in starts.items()}


@dataclass(frozen=True)
class _Run:
    client: Client
    target: Target
    replication: str
    epoch: str
    share: Share
    ends: Ends | None = None

    def positions(self) -> tuple[Offsets, Offsets]:
        """Return where the partitions of our share are read on, and the offset after their last message."""
        with self.target.doing(f"replication {self.replication}: reading offsets"), self.target.transaction():
            kept = offsets.read(self.target.records, self.replication, self.epoch)
        found = self.client.partitions(lambda topic: topics.is_of(topic, self.replication, self.epoch))
        every = sorted((topic, number) for topic, count in found.items() for number in range(count))
        if gone := sorted(set(kept) - set(every)):
            topic, number = gone[0]
            raise NeedsResync(
                f"topic {topic}, partition {number}: was read before and is no longer there; changes may be lost, "
                "a resync closes the gap"
            )
        bounds = {partition: self.client.bounds(partition) for partition in self.share.part(every)}
        starts = {partition: offsets.start_of(partition, kept, low, high) for partition, (low, high) in bounds.items()}
        return starts, {partition: high for partition, (_, high) in bounds.items()}

    def read(self, handle: Handle, done: Consumed, batch: int, end: float | None) -> None:
        """Read until a time; without one, until what is there now is applied."""
        starts, highs = self.positions()
        with self.target.doing(f"replication {self.replication}: noting offsets"), self.target.transaction():
            offsets.begin(self.target.records, self.replication, self.epoch, starts)
        kept, reached, targets = dict(starts), dict(starts), dict(highs)
        over: set[Partition] = set()
        self.client.read_from(starts)
        while True:
            done.caught_up = all(reached[one] >= target or one in over for one, target in targets.items())
            if done.caught_up if end is None else time.monotonic() >= end:
                break
            wait = _WAIT if end is None else max(0.0, min(_WAIT, end - time.monotonic()))
            found, ends = self.client.messages(batch, wait)
            # nothing that was fetched before the partitions were assigned anew
            found = [one for one in found if one.offset >= kept.get((one.topic, one.partition), math.inf)]
            if self.ends:
                found = _before(self.ends, found, over)
            ends = {one: offset for one, offset in ends.items() if one in kept and one not in over}
            if found:
                after = {(message.topic, message.partition): message.offset + 1 for message in found}
                self._apply(handle, found, {partition: kept[partition] for partition in after}, after)
                done.messages, done.batches = done.messages + len(found), done.batches + 1
                kept |= after
                reached |= after
            for partition, offset in ends.items():
                # beyond what we keep where a transaction of Connect has left its mark
                reached[partition] = targets[partition] = max(reached[partition], offset)
        self.client.rest()
        done.lag = {
            partition: max(0, self.client.bounds(partition)[1] - offset) for partition, offset in reached.items()
        }

    def _apply(self, handle: Handle, found: Sequence[Message], began: Offsets, after: Offsets) -> None:
        with self.target.doing(f"replication {self.replication}: applying changes"), self.target.transaction():
            offsets.move(self.target.records, self.replication, self.epoch, began, after)
            handle(self.target, [message for message in found if message.value])
        self.client.tell(after)


def _before(ends: Ends, found: Sequence[Message], over: set[Partition]) -> list[Message]:
    """Return the messages of partitions that go on, and note those that end."""
    before = []
    for message in found:
        partition = message.topic, message.partition
        if partition not in over and not ends(message):
            before.append(message)
        else:
            over.add(partition)
    return before
