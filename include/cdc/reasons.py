"""Why a replication is not healthy, as it follows from what is known of it; nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from include.cdc.incidents import Incident, Severity
from include.cdc.models import Replication
from include.cdc.sources.base import LogFacts, Slot
from include.cdc.state import ReplicationRow, State

#: Over a limit is degraded, over so many times the limit is unhealthy.
_FAR_OVER = 4
#: A slot that may keep only this part of its limit more is about to be lost.
_LITTLE_LEFT = 0.25


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


def of_facts(facts: Facts, row: ReplicationRow) -> Iterator[Reason]:
    """Return what is the matter, slots and lag apart."""
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


def of_slots(facts: Facts, row: ReplicationRow) -> Iterator[Reason]:
    """Return what is the matter with the slots of a PostgreSQL source."""
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


def of_lag(replication: Replication, facts: Facts, behind: int | None, old: float | None) -> Iterator[Reason]:
    """
    Return what is late.

    :param behind: bytes of log that are not applied yet; ``old``: seconds that the target is behind.
    """
    if severity := _over(behind, replication.max_lag_bytes):
        yield Reason(Cause.LAG_BYTES, severity, f"{behind:,} bytes of log are not applied yet")
    if severity := _over(old, replication.max_lag_seconds):
        yield Reason(Cause.LAG_SECONDS, severity, f"the target is {old:.0f} s behind")
    if facts.last_at is not None:
        ago = (facts.now - facts.last_at).total_seconds()
        if severity := _over(ago, replication.max_lag_seconds):
            yield Reason(Cause.APPLY_LATE, severity, f"nothing was applied for {ago:.0f} s; is cdc_replication paused?")


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


def _over(value: float | None, limit: int) -> Severity | None:
    if value is None or value <= limit:
        return None
    return Severity.UNHEALTHY if value > _FAR_OVER * limit else Severity.DEGRADED
