"""What is wrong with a replication: one open row a kind and subject, renewed while it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

#: Two who find the same thing at once would open it twice.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('cdc_incidents ' || %s::text, 0))"
_RENEW = """
    UPDATE dbo.cdc_incidents SET severity = %s, detail = %s, seen = seen + 1, seen_at = now()
    WHERE replication = %s AND kind = %s AND subject = %s AND closed_at IS NULL
"""
_OPEN = """
    INSERT INTO dbo.cdc_incidents (severity, detail, replication, kind, subject, opened_at, seen_at)
    VALUES (%s, %s, %s, %s, %s, now(), now())
"""
_CLOSE = """
    UPDATE dbo.cdc_incidents SET closed_at = now()
    WHERE replication = %s AND kind = %s AND (%s::text IS NULL OR subject = %s::text) AND closed_at IS NULL
"""
_LIST = """
    SELECT kind, subject, severity, detail, seen, opened_at, seen_at FROM dbo.cdc_incidents
    WHERE replication = %s AND closed_at IS NULL ORDER BY opened_at, id
"""


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
    session: psycopg.Connection[Any],
    replication: str,
    kind: str,
    subject: str = "",
    severity: str = Severity.DEGRADED,
    detail: str = "",
) -> None:
    """Open an incident, or renew the open one; it is there when the caller's transaction is."""
    values = (severity, detail, replication, kind, subject)
    with session.transaction():
        session.execute(_LOCK, (replication,))
        if not session.execute(_RENEW, values).rowcount:
            session.execute(_OPEN, values)


def close(session: psycopg.Connection[Any], replication: str, kind: str, subject: str | None = None) -> int:
    """Close the open incidents of a kind, of all subjects without one; returns how many there were."""
    return session.execute(_CLOSE, (replication, kind, subject, subject)).rowcount


def open_incidents(session: psycopg.Connection[Any], replication: str) -> list[Incident]:
    """Return the open incidents, the oldest first."""
    rows = session.execute(_LIST, (replication,)).fetchall()
    return [Incident(kind, subject, Severity(severity), *others) for kind, subject, severity, *others in rows]
