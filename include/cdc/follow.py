"""Follow a source, wherever Debezium runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from include.cdc.models import Mode
from include.cdc.run import CdcRun

#: Hears how far a stream is: ``events``, and ``lag`` in seconds.
Told = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Task:
    """
    What to do.

    :param minutes: go on for so long; 0 ends as soon as all is applied that is committed now.
    :param compare: compare source and target at the moment where the stream ends.
    :param wait: seconds to wait for another stream of the replication.
    :param consumer: in Kafka Connect mode, which of the replication's consumers this is, from 0; one that compares
        reads for all of them.
    :param epoch: what the log is pinned for, where that is all that is done.
    """

    minutes: float = 0.0
    compare: bool = False
    wait: float = 0.0
    consumer: int = 0
    epoch: str = ""


def follow(run: CdcRun, task: Task, told: Told = lambda _: None) -> dict[str, Any]:
    """
    Apply what the source has committed.

    :return: events, upserted, deleted, dead, batches, lag, seconds, memory_mb, and ``compared``; only
        ``waiting`` with the reason where nothing is applied now.
    :raises LockHeld: if another run follows the source.
    :raises NeedsResync: if the log that has to be read is gone; nothing is skipped.
    :raises StreamBroken: if the stream broke off; the next one goes on where it was committed.
    """
    if run.replication.mode is Mode.KAFKA_CONNECT:
        from include.cdc.kafka.follow import follow_topics

        return follow_topics(run, task, told)
    from include.cdc.embedded.child import follow_in_process

    return follow_in_process(run, task, told)
