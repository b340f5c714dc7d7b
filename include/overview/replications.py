"""The followed databases, as their tables in the warehouse tell of them; no source is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from include.cdc.health import Verdict
from include.cdc.incidents import Severity
from include.cdc.state import State
from include.cdc.tables import cdc_applies, cdc_incidents, cdc_replications, cdc_tables
from include.metadata import now
from include.overview.parts import ERROR_LENGTH, iso, unix

MOST_STREAMS = 60

#: Events a minute are those of the streams that ended within this time.
_RECENT = timedelta(minutes=10)


def replications(engine: sa.Engine, names: Iterable[str]) -> dict[str, Any]:
    """
    Return how the named replications are.

    Their status follows from their state and the open incidents, which the last look of `cdc_replication` has left.
    ``lag_seconds`` is how old the copy is at most; ``lag_bytes`` is what that last look found.
    ``history`` has ``[Unix seconds, events, lag in seconds]`` of the newest streams, the newest last.
    """
    wanted = list(names)
    with engine.connect() as connection:
        rows = {row["name"]: row for row in _rows(connection, cdc_replications, cdc_replications.c.name, wanted)}
        incidents = _open_incidents(connection, wanted)
        tables = _tables(connection, wanted)
        return {
            "replications": [
                _shown(name, rows.get(name), incidents, tables, _streams(connection, rows.get(name))) for name in wanted
            ]
        }


def _shown(name: str, row: Any, incidents: Sequence[Any], tables: Sequence[Any], streams: Sequence[Any]) -> Any:
    own = [incident for incident in incidents if incident["replication"] == name]
    epoch = row and (row["epoch"] or row["next_epoch"])
    return {
        "name": name,
        "status": _status(row, own).value,
        "reasons": _reasons(row, own),
        "lag_seconds": _lag(row, streams),
        "lag_bytes": row["lag_bytes"] if row else None,
        "events": row["events"] if row else 0,
        "events_per_minute": _rate(streams),
        "applied_at": iso(row["applied_at"]) if row else None,
        "tables": {
            found["status"]: found["count"]
            for found in tables
            if found["replication"] == name and found["epoch"] == epoch
        },
        "incidents": [
            {
                **{field: incident[field] for field in ("kind", "subject", "severity")},
                "detail": incident["detail"][:ERROR_LENGTH],
                "opened_at": iso(incident["opened_at"]),
            }
            for incident in own
        ],
        "history": [
            [unix(stream["finished_at"]), stream["events"], stream["lag_seconds"]] for stream in reversed(streams)
        ],
    }


def _status(row: Any, incidents: Sequence[Any]) -> Verdict:
    """Return the word for it, by the rules of `health` as far as the warehouse knows."""
    if row is None or row["state"] in (State.NEW, State.DROPPED):
        return Verdict.NEW
    severities = {incident["severity"] for incident in incidents}
    if Severity.UNHEALTHY in severities or row["state"] == State.NEEDS_RESYNC:
        return Verdict.UNHEALTHY
    by_state = {State.STOPPED: Verdict.STOPPED, State.COPYING: Verdict.COPYING}
    return by_state.get(row["state"]) or (Verdict.DEGRADED if severities else Verdict.HEALTHY)


def _reasons(row: Any, incidents: Sequence[Any]) -> list[str]:
    texts = [": ".join(filter(None, (incident["subject"], incident["detail"]))) for incident in incidents]
    if row is not None and row["state"] == State.NEEDS_RESYNC and not texts:
        texts.append(row["reason"] or "the log that the stream has to read is gone")
    return [text[:ERROR_LENGTH] for text in texts]


def _lag(row: Any, streams: Sequence[Any]) -> float | None:
    """What was committed before a stream began that caught up is applied, however old the last change is."""
    if row is None or row["state"] in (State.NEW, State.DROPPED):
        return None
    caught_up = [stream["started_at"] for stream in streams if stream["caught_up"]]
    known = [moment for moment in (row["source_at"], *caught_up) if moment]
    if not known:
        return None
    seconds: float = (now() - max(known)).total_seconds()
    return max(0.0, round(seconds, 1))


def _rate(streams: Sequence[Any]) -> float | None:
    """Return the events a minute of the last streams, None where none ended of late."""
    since: datetime = now() - _RECENT
    recent = [stream for stream in streams if stream["finished_at"] > since]
    if not recent:
        return None
    seconds: float = (now() - min(stream["started_at"] for stream in recent)).total_seconds()
    events: int = sum(stream["events"] for stream in recent)
    return round(events / max(seconds, 1.0) * 60, 1)


def _streams(connection: sa.Connection, row: Any) -> Sequence[Any]:
    """Return the newest streams of the copy that readers see, the newest first."""
    if row is None or row["epoch"] is None:
        return []
    query = (
        sa.select(
            *(cdc_applies.c[name] for name in ("started_at", "finished_at", "events", "lag_seconds", "caught_up"))
        )
        .where(
            cdc_applies.c.replication == row["name"],
            cdc_applies.c.epoch == row["epoch"],
            cdc_applies.c.finished_at.is_not(None),
        )
        .order_by(cdc_applies.c.started_at.desc())
        .limit(MOST_STREAMS)
    )
    return connection.execute(query).mappings().all()


def _open_incidents(connection: sa.Connection, names: Sequence[str]) -> Sequence[Any]:
    query = sa.select(cdc_incidents).where(cdc_incidents.c.replication.in_(names), cdc_incidents.c.closed_at.is_(None))
    return connection.execute(query.order_by(cdc_incidents.c.opened_at, cdc_incidents.c.id)).mappings().all()


def _tables(connection: sa.Connection, names: Sequence[str]) -> Sequence[Any]:
    key = (cdc_tables.c.replication, cdc_tables.c.epoch, cdc_tables.c.status)
    query = sa.select(*key, sa.func.count().label("count")).where(cdc_tables.c.replication.in_(names)).group_by(*key)
    return connection.execute(query).mappings().all()


def _rows(connection: sa.Connection, table: sa.Table, column: Any, names: Sequence[str]) -> Sequence[Any]:
    return connection.execute(sa.select(table).where(column.in_(names))).mappings().all()
