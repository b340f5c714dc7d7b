"""
How a replication is: facts of both databases, and what follows from them.

``judge`` is pure; a database that cannot be reached is a fact like others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from include.cdc import incidents, names, state
from include.cdc.incidents import Incident, Severity
from include.cdc.models import Replication
from include.cdc.run import CdcRun
from include.cdc.sources.base import CdcSource, LogFacts, Slot
from include.cdc.state import ReplicationRow, State
from include.engines.postgres.errors import translated
from include.errors import RetailSyncError

if TYPE_CHECKING:
    import psycopg

#: Over a limit is degraded, over so many times the limit is unhealthy.
_FAR_OVER = 4
#: A slot that may keep only this part of its limit more is about to be lost.
_LITTLE_LEFT = 0.25

_TABLES = """
    SELECT status, count(*), max(copied_at) FROM dbo.cdc_tables WHERE replication = %s AND epoch = %s GROUP BY 1
"""
_APPLIES = """
    SELECT max(started_at) FILTER (WHERE caught_up), max(finished_at) FILTER (WHERE error IS NULL)
    FROM dbo.cdc_applies WHERE replication = %s AND epoch = %s
"""
_LETTERS = "SELECT count(*) FROM dbo.cdc_dead_letters WHERE replication = %s AND resolved_at IS NULL"
_KEPT_LOG = "SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'"


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


class Cause(StrEnum):
    """Why it is not healthy; each is an incident while it lasts."""

    WAREHOUSE = "warehouse_unreachable"
    SOURCE = "source_unreachable"
    NEEDS_RESYNC = "needs_resync"
    LOG_GONE = "log_gone"
    SLOT_MISSING = "slot_missing"
    SLOT_LOST = "slot_lost"
    SLOT_AT_RISK = "slot_at_risk"
    LOG_GROWS = "log_grows"
    LAG_BYTES = "lag_bytes"
    LAG_SECONDS = "lag_seconds"
    APPLY_LATE = "apply_late"
    DEAD_LETTERS = "dead_letters"
    CONNECTOR = "connector"


#: What is unknown while the source cannot be asked.
_OF_THE_SOURCE = {
    *(Cause.LOG_GONE, Cause.SLOT_MISSING, Cause.SLOT_LOST, Cause.SLOT_AT_RISK),
    *(Cause.LOG_GROWS, Cause.LAG_BYTES, Cause.LAG_SECONDS),
}


@dataclass(frozen=True)
class Reason:
    """
    Why a replication is not healthy.

    :param kind: a ``Cause``, or the kind of an incident that somebody else opened.
    :param severity: degraded or unhealthy.
    """

    kind: str
    severity: Severity
    text: str


@dataclass(frozen=True)
class Facts:
    """
    What is known of a replication.

    :param row: None where it was never started, or the warehouse cannot be asked.
    :param log: what the source says of its log.
    :param caught_up_at: when a stream began that applied all that was committed then.
    :param last_at: when something was last applied or copied.
    :param connector: a line a part of the connector that does not run; None in mode embedded.
    """

    now: datetime
    row: ReplicationRow | None = None
    warehouse_error: str | None = None
    source_error: str | None = None
    log: LogFacts = field(default_factory=LogFacts)
    caught_up_at: datetime | None = None
    last_at: datetime | None = None
    dead_letters: int = 0
    incidents: Sequence[Incident] = ()
    tables: Mapping[str, int] = field(default_factory=dict)
    connector: Sequence[str] | None = None


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


def check(run: CdcRun, *, connector: Sequence[str] | None = None) -> Health:
    """Return how a replication is, and keep its incidents: one open a cause, closed when it is gone."""
    try:
        with run.in_warehouse() as session:
            found = health(run.replication, run.at_source, session, connector=connector)
            with session.transaction():
                record(session, found)
            return replace(found, incidents=incidents.open_incidents(session, run.name))
    except RetailSyncError as error:
        return judge(run.replication, Facts(datetime.now(UTC), warehouse_error=str(error)))


def health(
    replication: Replication,
    source: CdcSource | None,
    session: psycopg.Connection[Any],
    *,
    connector: Sequence[str] | None = None,
) -> Health:
    """
    Return how a replication is; nothing is written.

    :param source: None where it cannot be asked.
    :param session: with the warehouse.
    :param connector: in Kafka Connect mode, a line a part of the connector that does not run.
    """
    facts = Facts(datetime.now(UTC), connector=connector)
    try:
        with translated(f"replication {replication.name}: the warehouse"):
            facts = _of_warehouse(facts, replication, session)
    except RetailSyncError as error:
        return judge(replication, replace(facts, warehouse_error=str(error)))
    if source is not None and facts.row is not None and facts.row.state not in {State.NEW, State.DROPPED}:
        try:
            facts = replace(facts, log=source.facts(facts.row))
        except RetailSyncError as error:
            facts = replace(facts, source_error=str(error))
    return judge(replication, facts)


def record(session: psycopg.Connection[Any], found: Health) -> None:
    """Open or renew an incident for each cause, and close those that are gone; unknown ones stay."""
    causes = {reason.kind: reason for reason in found.reasons if reason.kind in set(Cause)}
    for kind, reason in causes.items():
        incidents.report(session, found.name, kind, "", reason.severity, reason.text)
    unknown = _OF_THE_SOURCE if Cause.SOURCE in causes else set()
    for kind in set(Cause) - set(causes) - unknown:
        incidents.close(session, found.name, kind)


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
    reasons = [*_of_facts(facts, row), *_of_slots(facts, row)]
    if row.state is State.STREAMING:
        reasons += _of_lag(replication, facts, found)
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


def _of_facts(facts: Facts, row: ReplicationRow) -> Iterator[Reason]:
    if facts.source_error:
        yield Reason(Cause.SOURCE, Severity.UNHEALTHY, facts.source_error)
    if row.state is State.NEEDS_RESYNC:
        text = f"{row.reason or 'the log that the stream has to read is gone'}; run it with action=resync"
        yield Reason(Cause.NEEDS_RESYNC, Severity.UNHEALTHY, text)
    if facts.log.gone and row.state is not State.NEEDS_RESYNC:
        yield Reason(Cause.LOG_GONE, Severity.UNHEALTHY, f"{facts.log.gone}; run it with action=resync")
    if facts.dead_letters:
        text = f"{facts.dead_letters} changes were refused by the target, see dbo.cdc_dead_letters"
        yield Reason(Cause.DEAD_LETTERS, Severity.DEGRADED, text)
    if facts.connector and row.state is not State.STOPPED:
        yield Reason(Cause.CONNECTOR, Severity.UNHEALTHY, "; ".join(facts.connector))
    for incident in facts.incidents:
        if incident.kind not in set(Cause):
            subject = f"{incident.subject}: " if incident.subject else ""
            yield Reason(incident.kind, incident.severity, f"{subject}{incident.detail}")


def _of_slots(facts: Facts, row: ReplicationRow) -> Iterator[Reason]:
    for name, slot in facts.log.slots.items():
        if slot is None:
            text = f"slot {name} is not there: changes are lost; run it with action=resync"
            yield Reason(Cause.SLOT_MISSING, Severity.UNHEALTHY, text)
        elif slot.wal_status == "lost":
            text = f"the source has removed log that slot {name} had to keep; run it with action=resync"
            yield Reason(Cause.SLOT_LOST, Severity.UNHEALTHY, text)
        else:
            yield from _at_risk(facts, slot)
            if row.state is State.STOPPED:
                yield from _growing(facts, slot)


def _at_risk(facts: Facts, slot: Slot) -> Iterator[Reason]:
    little = facts.log.kept_bytes is not None and slot.safe_bytes is not None
    left = slot.safe_bytes if slot.safe_bytes is not None else 0
    if slot.wal_status == "unreserved":
        text = f"slot {slot.name} is lost with the source's next checkpoint; let the stream catch up now"
        yield Reason(Cause.SLOT_AT_RISK, Severity.UNHEALTHY, text)
    elif little and left < _LITTLE_LEFT * (facts.log.kept_bytes or 0):
        text = f"slot {slot.name} is lost after {left:,} more bytes of log (max_slot_wal_keep_size)"
        yield Reason(Cause.SLOT_AT_RISK, Severity.DEGRADED, text)
    elif slot.wal_status == "extended":
        text = f"slot {slot.name} keeps more log than max_wal_size at the source: {slot.behind:,} bytes are behind"
        yield Reason(Cause.SLOT_AT_RISK, Severity.DEGRADED, text)


def _growing(facts: Facts, slot: Slot) -> Iterator[Reason]:
    if slot.behind <= 0:
        return
    limit = (
        "without a limit (max_slot_wal_keep_size = -1): its disk may fill"
        if facts.log.kept_bytes is None
        else f"up to {facts.log.kept_bytes:,} bytes, after that only a resync helps"
    )
    text = f"stopped, and the source keeps {slot.behind:,} bytes of log for it, {limit}"
    yield Reason(Cause.LOG_GROWS, Severity.DEGRADED, text)


def _of_lag(replication: Replication, facts: Facts, found: Health) -> Iterator[Reason]:
    behind, old = found.lag_bytes, found.lag_seconds
    if severity := _over(behind, replication.max_lag_bytes):
        yield Reason(Cause.LAG_BYTES, severity, f"{behind:,} bytes of log are not applied yet")
    if severity := _over(old, replication.max_lag_seconds):
        yield Reason(Cause.LAG_SECONDS, severity, f"the target is {old:.0f} s behind")
    if facts.last_at is not None:
        ago = (facts.now - facts.last_at).total_seconds()
        if severity := _over(ago, replication.max_lag_seconds):
            yield Reason(Cause.APPLY_LATE, severity, f"nothing was applied for {ago:.0f} s; is cdc_replication paused?")


def _over(value: float | None, limit: int) -> Severity | None:
    if value is None or value <= limit:
        return None
    return Severity.UNHEALTHY if value > _FAR_OVER * limit else Severity.DEGRADED


def _of_warehouse(facts: Facts, replication: Replication, session: psycopg.Connection[Any]) -> Facts:
    name = replication.name
    row = state.read(session, name)
    letters = session.execute(_LETTERS, (name,)).fetchone()
    facts = replace(facts, row=row, incidents=incidents.open_incidents(session, name))
    facts = replace(facts, dead_letters=letters[0] if letters else 0)
    epoch = row and (row.epoch or row.next_epoch)
    if not row or not epoch:
        return facts
    tables = session.execute(_TABLES, (name, epoch)).fetchall()
    caught_up, finished = session.execute(_APPLIES, (name, epoch)).fetchone() or (None, None)
    moments = [row.applied_at, finished, *(copied for _, _, copied in tables)]
    return replace(
        facts,
        tables={status: count for status, count, _ in tables},
        caught_up_at=caught_up,
        last_at=max((moment for moment in moments if moment), default=None),
    )
