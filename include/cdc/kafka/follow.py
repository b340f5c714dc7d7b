"""Follow a source whose changes Kafka Connect writes into topics."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from include.cdc import incidents, state
from include.cdc.batches import Batches
from include.cdc.changes import OTHER_KEY_HEADERS, Change, Op
from include.cdc.events import parse
from include.cdc.figures import latest, record
from include.cdc.follow import Task, Told
from include.cdc.gaps import assert_whole
from include.cdc.kafka import connector
from include.cdc.kafka.brokers import Brokers
from include.cdc.kafka.client import Message
from include.cdc.kafka.consumer import Consumed, Share, consume
from include.cdc.kafka.moment import Moment, moment_of
from include.cdc.live import followed
from include.cdc.prerequisites.kafka import parts
from include.cdc.ready import must_wait
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow
from include.cdc.swap import forget_old_epochs
from include.cdc.targets.base import Target
from include.locks import LockSpace, Name, hold

log = logging.getLogger(__name__)

TRUNCATED = "truncated"


@dataclass
class _Topics:
    """The topics of a replication, applied by one of its consumers."""

    run: CdcRun
    batches: Batches
    told: Told

    def read(self, brokers: Brokers, task: Task, moment: Moment | None) -> Consumed:
        """Apply the partitions of a consumer; for a comparison all of them, up to a moment."""
        target, row, consumers = self.batches.target, self.batches.row, self.run.replication.kafka.consumers
        assert row.epoch is not None
        if moment is not None:
            return consume(brokers, target, row.name, row.epoch, self.handle, ends=moment.ends)
        share, seconds = Share(task.consumer, consumers), task.minutes * 60
        return consume(brokers, target, row.name, row.epoch, self.handle, share=share, seconds=seconds)

    def handle(self, target: Target, messages: Sequence[Message]) -> None:
        """Apply messages in the transaction that is open."""
        parsed = [parse(message.key, message.value, _other_key(message)) for message in messages]
        changes = [item for item in parsed if isinstance(item, Change)]
        at = latest(changes)
        row, ordered = self.batches.row, self._ordered(target, changes)
        self.batches.apply(ordered, lambda target: state.count(target.records, row, at, len(changes)))
        self.batches.figures.saw(at)
        self.told(self.batches.figures.progress())

    def _ordered(self, target: Target, changes: list[Change]) -> list[Change]:
        """
        Return the changes whose order is known.

        Those of a row are in one partition, in order; a TRUNCATE is in any of them.
        """
        if self.run.replication.kafka.consumers == 1:
            return changes
        for table in sorted({change.table for change in changes if change.op is Op.TRUNCATE}):
            text = "was truncated, and partitions do not tell before or after which changes: resync the table"
            incidents.report(target, self.run.name, TRUNCATED, table, incidents.Severity.UNHEALTHY, f"{table} {text}")
        return [change for change in changes if change.op is not Op.TRUNCATE]


def follow_topics(run: CdcRun, task: Task, told: Told) -> dict[str, Any]:
    """
    Apply what the topics hold; the first consumer also sees to it that the connector is as it should be.

    One that compares reads all partitions, up to a moment of the source that is taken now.

    :raises StreamBroken: if the connector does not come to that moment; what was applied stays.
    """
    given = run.kafka or parts(run.replication, run.source, run.settings.local_dir)
    with ExitStack() as kept:
        kept.enter_context(run.applying(task.wait) if task.compare else _sharing(run, task))
        target = kept.enter_context(run.in_warehouse())
        row = run.row(target)
        if reason := must_wait(target, run, row):
            return {"waiting": reason, "events": 0}
        topics = _Topics(run, Batches.of(run, target, row), told)
        assert row.epoch is not None
        tables = sorted(topics.batches.tables)
        if task.consumer == 0 or task.compare:
            connector.ensure(run, row.epoch, tables)
            _look(run, target, row, tables)
            forget_old_epochs(run, target)
        moment = kept.enter_context(moment_of(run.at_source, tables)) if task.compare else None
        began, error, caught_up = datetime.now(UTC), None, False
        try:
            if moment:
                topics.batches.moment = moment.rows
                connector.await_past(run, row.epoch, tables, moment.is_past)
            caught_up = topics.read(Brokers.of(run.replication.kafka.brokers, given.brokers), task, moment).caught_up
        except Exception as failure:
            error = str(failure)
            raise
        finally:
            figures = topics.batches.figures
            record(target, run, row, figures, began=began, caught_up=caught_up, error=error, consumer=task.consumer)
        return {**figures.as_dict(), "compared": topics.batches.compared()}


def _look(run: CdcRun, target: Target, row: ReplicationRow, tables: Sequence[str]) -> None:
    """Look whether the connector has passed by changes of single tables, where the source can lose those."""
    assert row.epoch is not None
    if run.at_source.has_gaps and (offset := connector.position(run, row.epoch, tables)):
        assert_whole(
            run, target, replace(row, position={"offset": offset}), followed(target, run.replication, row.epoch)
        )


def _sharing(run: CdcRun, task: Task) -> Any:
    """Several consumers apply at once, each its own partitions; who swaps or stops waits for all of them."""
    locks = [
        Name(LockSpace.REPLICATION, f"{run.name} apply", shared=True),
        Name(LockSpace.REPLICATION, f"{run.name} consumer {task.consumer}"),
    ]
    return hold(run.control, locks, holder=run.holder, wait=task.wait)


def _other_key(message: Message) -> Mapping[str, Any] | None:
    headers = dict(message.headers)
    for name in OTHER_KEY_HEADERS:
        if content := headers.get(name):
            key = json.loads(content)
            return key if isinstance(key, dict) else None
    return None
