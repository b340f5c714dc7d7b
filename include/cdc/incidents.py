"""What is wrong with a replication: one open row a kind and subject, renewed while it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import sqlalchemy as sa

from include.cdc.tables import cdc_incidents
from include.metadata import now

if TYPE_CHECKING:
    from include.cdc.targets.base import Target


class Severity(StrEnum):
    """How bad it is."""

    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    """Rows are missing, or will be."""


@dataclass(frozen=True)
class Incident:
    """
    Something that is wrong and not closed.

    :param subject: a table, or nothing.
    :param seen: how often it was met.
    """

    kind: str
    subject: str
    severity: Severity
    detail: str
    seen: int
    opened_at: datetime
    seen_at: datetime


def report(
    target: Target,
    replication: str,
    kind: str,
    subject: str = "",
    severity: str = Severity.DEGRADED,
    detail: str = "",
) -> None:
    """Open an incident, or renew the open one; it is there when the caller's transaction is."""
    found = {"severity": severity, "detail": detail, "seen_at": now()}
    with target.transaction():
        # two who find the same thing at once would open it twice
        target.take_turn(f"cdc_incidents {replication}")
        renewed = cdc_incidents.update().where(*_open(replication, kind, subject))
        if not target.records.execute(renewed.values(**found, seen=cdc_incidents.c.seen + 1)).rowcount:
            fresh = {"replication": replication, "kind": kind, "subject": subject, "opened_at": found["seen_at"]}
            target.records.execute(cdc_incidents.insert().values(**found, **fresh))


def close(records: sa.Connection, replication: str, kind: str | None = None, subject: str | None = None) -> int:
    """Close the open incidents of a kind and subject, or of all of them; returns how many there were."""
    closed = cdc_incidents.update().where(*_open(replication, kind, subject)).values(closed_at=now())
    return records.execute(closed).rowcount


def open_incidents(records: sa.Connection, replication: str) -> list[Incident]:
    """Return the open incidents, the oldest first."""
    t = cdc_incidents.c
    query = sa.select(t.kind, t.subject, t.severity, t.detail, t.seen, t.opened_at, t.seen_at)
    rows = records.execute(query.where(*_open(replication)).order_by(t.opened_at, t.id)).all()
    return [Incident(kind, subject, Severity(severity), *others) for kind, subject, severity, *others in rows]


def _open(replication: str, kind: str | None = None, subject: str | None = None) -> list[sa.ColumnElement[bool]]:
    t = cdc_incidents.c
    wanted = [t.replication == replication, t.closed_at.is_(None)]
    return wanted + [t[name] == value for name, value in (("kind", kind), ("subject", subject)) if value is not None]
