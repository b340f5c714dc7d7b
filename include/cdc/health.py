"""
How a replication is: facts of both databases and of its connector, and what follows from them.

``judge`` is pure; a database that cannot be reached is a fact like others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa

from include.cdc import incidents, names, state
from include.cdc.incidents import Incident, Severity
from include.cdc.kafka import connector
from include.cdc.letters import open_count
from include.cdc.models import Mode, Replication
from include.cdc.reasons import Cause, Facts, Reason, of_facts, of_lag, of_slots
from include.cdc.run import CdcRun
from include.cdc.sources.base import Slot
from include.cdc.sources.logged import LoggedCdcSource
from include.cdc.state import ReplicationRow, State
from include.cdc.tables import cdc_applies, cdc_replications
from include.cdc.targets.base import Target
from include.errors import RetailSyncError
from include.metadata import now


class Verdict(StrEnum):
    """How a replication is, in a word."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    STOPPED = "stopped"
    COPYING = "copying"
    """Its first copy is not finished."""
    NEW = "new"
    """Never started, or dropped."""


#: What is unknown while the source cannot be asked.
_OF_THE_SOURCE = {
    *(Cause.LOG_GONE, Cause.SLOT_MISSING, Cause.SLOT_LOST, Cause.SLOT_AT_RISK),
    *(Cause.LOG_GROWS, Cause.LAG_BYTES, Cause.LAG_SECONDS),
}


@dataclass(frozen=True)
class Health:
    """
    How a replication is.

    :param lag_bytes: log of the source that is not confirmed yet; None where it cannot be told.
    :param lag_seconds: how old the state of the target is; 0 when nothing is behind.
    :param slot: that of the copy that readers see.
    :param tables: how many there are, by status.
    """

    name: str
    status: Verdict
    reasons: Sequence[Reason] = ()
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    slot: Slot | None = None
    applied_at: datetime | None = None
    incidents: Sequence[Incident] = ()
    tables: Mapping[str, int] = field(default_factory=dict)
    events: int = 0
    state: str = State.NEW
    epoch: str | None = None


def check(run: CdcRun) -> Health:
    """Return how a replication is, and keep its incidents: one open a cause, closed when it is gone."""
    try:
        with run.in_warehouse() as target:
            found = health(run, target)
            with target.transaction():
                record(target, found)
            return replace(found, incidents=incidents.open_incidents(target.records, run.name))
    except RetailSyncError as error:
        return judge(run.replication, Facts(datetime.now(UTC), warehouse_error=str(error)))


def health(run: CdcRun, target: Target) -> Health:
    """
    Return how a replication is; nothing is written.

    :param target: a session with the warehouse.
    """
    facts = Facts(datetime.now(UTC))
    try:
        with target.doing(f"replication {run.name}: the warehouse"):
            facts = _of_warehouse(facts, run.replication, target.records)
    except RetailSyncError as error:
        return judge(run.replication, replace(facts, warehouse_error=str(error)))
    row = facts.row
    if row is None or row.state in {State.NEW, State.DROPPED}:
        return judge(run.replication, facts)
    in_kafka = run.replication.mode is Mode.KAFKA_CONNECT
    if in_kafka and row.epoch is not None:
        facts = replace(facts, connector=connector.failures(run))
    source = run.at_source
    if in_kafka and isinstance(source, LoggedCdcSource):
        # the saved position stays where the log was pinned; Connect's own is later, and the connector fails without it
        return judge(run.replication, facts)
    try:
        facts = replace(facts, log=source.facts(row))
    except RetailSyncError as error:
        facts = replace(facts, source_error=str(error))
    return judge(run.replication, facts)


def record(target: Target, found: Health) -> None:
    """Keep the lag, open or renew an incident for each cause, and close those that are gone; unknown ones stay."""
    causes = {reason.kind: reason for reason in found.reasons if reason.kind in set(Cause)}
    for kind, reason in causes.items():
        incidents.report(target, found.name, kind, "", reason.severity, reason.text)
    unknown = _OF_THE_SOURCE if Cause.SOURCE in causes else set()
    for kind in set(Cause) - set(causes) - unknown:
        incidents.close(target.records, found.name, kind)
    looked = cdc_replications.update().where(cdc_replications.c.name == found.name)
    target.records.execute(looked.values(lag_bytes=found.lag_bytes, looked_at=now()))


def judge(replication: Replication, facts: Facts) -> Health:
    """Return what follows from the facts."""
    row = facts.row
    if row is None or row.state in {State.NEW, State.DROPPED}:
        text = facts.warehouse_error
        reasons = [Reason(Cause.WAREHOUSE, Severity.UNHEALTHY, text)] if text else []
        status = Verdict.UNHEALTHY if text else Verdict.NEW
        return Health(replication.name, status, reasons, incidents=facts.incidents, tables=facts.tables)
    slot = facts.log.slots.get(names.slot(replication.name, row.epoch)) if row.epoch else None
    behind = slot.behind if slot else facts.log.behind
    found = Health(
        name=replication.name,
        status=Verdict.HEALTHY,
        lag_bytes=behind,
        lag_seconds=_lag_seconds(facts, row, behind),
        slot=slot,
        applied_at=row.applied_at,
        incidents=facts.incidents,
        tables=facts.tables,
        events=row.events,
        state=row.state,
        epoch=row.epoch,
    )
    reasons = [*of_facts(facts, row), *of_slots(facts, row)]
    if row.state is State.STREAMING:
        reasons += of_lag(replication, facts, found.lag_bytes, found.lag_seconds)
    return replace(found, reasons=reasons, status=_status(row, reasons))


def _status(row: ReplicationRow, reasons: Sequence[Reason]) -> Verdict:
    if any(reason.severity is Severity.UNHEALTHY for reason in reasons):
        return Verdict.UNHEALTHY
    if row.state is State.STOPPED:
        return Verdict.STOPPED
    if row.state is State.COPYING:
        return Verdict.COPYING
    return Verdict.DEGRADED if reasons else Verdict.HEALTHY


def _lag_seconds(facts: Facts, row: ReplicationRow, behind: int | None) -> float | None:
    """What was committed before a stream began that caught up is applied, however old the last change is."""
    if behind is not None and behind <= 0:
        return 0.0
    known = [moment for moment in (row.source_at, facts.caught_up_at) if moment]
    return max(0.0, round((facts.now - max(known)).total_seconds(), 1)) if known else None


def _of_warehouse(facts: Facts, replication: Replication, records: sa.Connection) -> Facts:
    name = replication.name
    row = state.read(records, name)
    letters = open_count(records, name)
    facts = replace(facts, row=row, incidents=incidents.open_incidents(records, name), dead_letters=letters)
    epoch = row and (row.epoch or row.next_epoch)
    if not row or not epoch:
        return facts
    tables = list(state.tables(records, name, epoch).values())
    t = cdc_applies.c
    began, ended = sa.case((t.caught_up == sa.true(), t.started_at)), sa.case((t.error.is_(None), t.finished_at))
    applies = sa.select(sa.func.max(began), sa.func.max(ended)).where(t.replication == name, t.epoch == epoch)
    caught_up, finished = records.execute(applies).one()
    moments = [row.applied_at, finished, *(table.copied_at for table in tables)]
    return replace(
        facts,
        tables=Counter(str(table.status) for table in tables),
        caught_up_at=caught_up,
        last_at=max((moment for moment in moments if moment), default=None),
    )
