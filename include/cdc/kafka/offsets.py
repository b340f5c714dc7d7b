"""The offsets that are read next, kept in the warehouse with the rows that were read before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.errors import LockHeld, NeedsResync

if TYPE_CHECKING:
    import psycopg

#: Topic and number.
Partition = tuple[str, int]
Offsets = Mapping[Partition, int]

_READ = """
    SELECT topic, partition_no, next_offset FROM dbo.cdc_offsets WHERE replication = %s AND epoch = %s
"""
_BEGIN = """
    INSERT INTO dbo.cdc_offsets (replication, epoch, topic, partition_no, next_offset, updated_at)
    SELECT %s, %s, topic, partition_no, next_offset, pg_catalog.now()
    FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS fresh (topic, partition_no, next_offset)
    ON CONFLICT DO NOTHING
"""
_MOVE = """
    UPDATE dbo.cdc_offsets AS kept SET next_offset = moved.next_offset, updated_at = pg_catalog.now()
    FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) AS moved (topic, partition_no, began, next_offset)
    WHERE kept.replication = %s AND kept.epoch = %s
      AND kept.topic = moved.topic AND kept.partition_no = moved.partition_no AND kept.next_offset = moved.began
"""


def read(session: psycopg.Connection[Any], replication: str, epoch: str) -> dict[Partition, int]:
    """Return the offset that is read next of every partition that an epoch has read."""
    return {(topic, number): offset for topic, number, offset in session.execute(_READ, (replication, epoch))}


def begin(session: psycopg.Connection[Any], replication: str, epoch: str, offsets: Offsets) -> None:
    """Note where partitions are begun; those that are noted already stay as they are."""
    rows = [(topic, number, offset) for (topic, number), offset in sorted(offsets.items())]
    if rows:
        topics, numbers, starts = (list(column) for column in zip(*rows, strict=True))
        session.execute(_BEGIN, (replication, epoch, topics, numbers, starts))


def move(session: psycopg.Connection[Any], replication: str, epoch: str, began: Offsets, ended: Offsets) -> None:
    """
    Move partitions on, in the transaction of the rows that were read between.

    :param began: where they have to stand; ``ended``: where they are put.
    :raises LockHeld: if one stands elsewhere: another run has read on.
    """
    rows = [(topic, number, began[topic, number], offset) for (topic, number), offset in sorted(ended.items())]
    topics, numbers, starts, ends = (list(column) for column in zip(*rows, strict=True))
    cursor = session.execute(_MOVE, (topics, numbers, starts, ends, replication, epoch))
    if cursor.rowcount != len(rows):
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
