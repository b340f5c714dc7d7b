"""The offsets that are read next, kept in the warehouse with the rows that were read before."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from include.cdc.tables import cdc_offsets
from include.errors import LockHeld, NeedsResync
from include.metadata import now

#: Topic and number.
Partition = tuple[str, int]
Offsets = Mapping[Partition, int]


def read(records: sa.Connection, replication: str, epoch: str) -> dict[Partition, int]:
    """Return the offset that is read next of every partition that an epoch has read."""
    t = cdc_offsets.c
    query = sa.select(t.topic, t.partition_no, t.next_offset).where(t.replication == replication, t.epoch == epoch)
    return {(topic, number): offset for topic, number, offset in records.execute(query)}


def begin(records: sa.Connection, replication: str, epoch: str, offsets: Offsets) -> None:
    """Note where partitions are begun; those that are noted already stay as they are."""
    known = read(records, replication, epoch)
    for (topic, number), offset in sorted(offsets.items()):
        if (topic, number) not in known:
            place = {"replication": replication, "epoch": epoch, "topic": topic, "partition_no": number}
            records.execute(cdc_offsets.insert().values(**place, next_offset=offset, updated_at=now()))


def move(records: sa.Connection, replication: str, epoch: str, began: Offsets, ended: Offsets) -> None:
    """
    Move partitions on, in the transaction of the rows that were read between.

    :param began: where they have to stand; ``ended``: where they are put.
    :raises LockHeld: if one stands elsewhere: another run has read on.
    """
    t = cdc_offsets.c
    for (topic, number), offset in sorted(ended.items()):
        place = (t.replication == replication, t.epoch == epoch, t.topic == topic, t.partition_no == number)
        moved = cdc_offsets.update().where(*place, t.next_offset == began[topic, number])
        if not records.execute(moved.values(next_offset=offset, updated_at=now())).rowcount:
            raise LockHeld(f"replication {replication}: another run reads the same partitions; nothing was applied")


def start_of(partition: Partition, kept: Offsets, low: int, high: int) -> int:
    """
    Return the offset at which a partition is read on.

    The topics of an epoch are its own, so what was never read begins at 0.

    :param low: the first offset that the brokers still have; ``high``: the one after the last.
    :raises NeedsResync: if what has to be read next is no longer there.
    """
    start = kept.get(partition, 0)
    if not low <= start <= high:
        topic, number = partition
        raise NeedsResync(
            f"topic {topic}, partition {number}: offset {start} has to be read next, the brokers have {low} to {high}; "
            "changes are lost, a resync closes the gap"
        )
    return start
