"""The rows of a replication in the warehouse, read and written on the caller's session."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from include.cdc.tables import cdc_replications, cdc_tables
from include.errors import StreamBroken
from include.metadata import now, upsert

#: Of a copy that is made beside the stream.
_BESIDE = frozenset({"next_epoch", "next_position", "run_id", "updated_at"})


class State(StrEnum):
    """What a replication is doing."""

    NEW = "new"
    COPYING = "copying"
    """No copy is whole yet; after that a new one is made beside the stream."""
    STREAMING = "streaming"
    STOPPED = "stopped"
    NEEDS_RESYNC = "needs_resync"
    """The log that the stream has to read is gone."""
    DROPPED = "dropped"


class Status(StrEnum):
    """How far the copy of a table is."""

    PENDING = "pending"
    COPYING = "copying"
    COPIED = "copied"
    """Whole, in staging."""
    LIVE = "live"


@dataclass(frozen=True)
class ReplicationRow:
    """
    A replication.

    :param epoch: the copy that readers see, and that the stream is applied to.
    :param next_epoch: a copy that is being made.
    :param position: where the stream goes on: ``pinned``, the slot's first position, and ``offset``,
        Debezium's own, once something was applied.
    """

    name: str
    state: State
    epoch: str | None
    next_epoch: str | None
    position: Mapping[str, Any] | None
    next_position: Mapping[str, Any] | None
    revision: int
    applied_at: datetime | None
    source_at: datetime | None
    events: int
    reason: str | None


@dataclass(frozen=True)
class TableRow:
    """A table of an epoch."""

    source_table: str
    target_table: str
    status: Status
    snapshot: str | None
    chunk_key: list[str] | None
    rows_expected: int | None
    rows_copied: int
    seconds: float
    copied_at: datetime | None


def read(records: sa.Connection, name: str) -> ReplicationRow | None:
    """Return the row of a replication, None where it was never started."""
    t = cdc_replications.c
    others = (t.revision, t.applied_at, t.source_at, t.events, t.reason)
    query = sa.select(t.state, t.epoch, t.next_epoch, t.position, t.next_position, *others).where(t.name == name)
    row = records.execute(query).first()
    if row is None:
        return None
    state, epoch, next_epoch, position, next_position, *rest = row
    return ReplicationRow(name, State(state), epoch, next_epoch, _parsed(position), _parsed(next_position), *rest)


def write(records: sa.Connection, name: str, **values: Any) -> None:
    """
    Write columns of a replication's row, which is made if it is missing; mappings are kept as JSON.

    A stream that runs breaks off where its own epoch, position or state is written.
    """
    values = {key: json.dumps(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    values["updated_at"] = now()
    t = cdc_replications.c
    update = cdc_replications.update().where(t.name == name).values(**values)
    if not _BESIDE.issuperset(values):
        update = update.values(revision=t.revision + 1)
    if not records.execute(update).rowcount:
        records.execute(cdc_replications.insert().values(name=name, **values))


def advance(
    records: sa.Connection,
    row: ReplicationRow,
    revision: int,
    position: Mapping[str, Any],
    source_at: datetime | None,
    events: int,
) -> int:
    """
    Save how far a stream is, in the transaction of its rows; returns the next revision.

    :raises StreamBroken: if somebody else wrote meanwhile: two streams, a resync, a stop.
    """
    t = cdc_replications.c
    mine = (t.name == row.name, t.epoch == row.epoch, t.revision == revision)
    values = {"position": json.dumps(position), "revision": t.revision + 1}
    if not records.execute(_applied(events, source_at).where(*mine).values(**values)).rowcount:
        raise StreamBroken(f"replication {row.name}: another run changed it meanwhile; nothing of this batch is kept")
    return revision + 1


def count(records: sa.Connection, row: ReplicationRow, source_at: datetime | None, events: int) -> None:
    """
    Count what one of several consumers applied, in the transaction of its rows; ``source_at`` never goes back.

    :raises StreamBroken: if the replication was copied anew or dropped meanwhile.
    """
    t = cdc_replications.c
    if not records.execute(
        _applied(events, source_at and _later(source_at)).where(t.name == row.name, t.epoch == row.epoch)
    ).rowcount:
        raise StreamBroken(f"replication {row.name}: it was copied anew or dropped; nothing of this batch is kept")


def _later(source_at: datetime) -> sa.Case[datetime]:
    known = cdc_replications.c.source_at
    is_later = sa.or_(known.is_(None), known < source_at)
    return sa.case((is_later, sa.literal(source_at, known.type)), else_=known)


def _applied(events: int, source_at: Any) -> sa.Update:
    at, known = now(), {} if source_at is None else {"source_at": source_at}
    counted = cdc_replications.c.events + events
    return cdc_replications.update().values(applied_at=at, updated_at=at, events=counted, **known)


def tables(records: sa.Connection, name: str, epoch: str) -> dict[str, TableRow]:
    """Return the tables of an epoch by their names at the source."""
    t = cdc_tables.c
    columns = (t.source_table, t.target_table, t.status, t.snapshot, t.chunk_key)
    counts = (t.rows_expected, t.rows_copied, t.seconds, t.copied_at)
    query = sa.select(*columns, *counts).where(t.replication == name, t.epoch == epoch).order_by(t.source_table)
    return {
        row[0]: TableRow(row[0], row[1], Status(row[2]), row[3], _parsed(row[4]), *row[5:])
        for row in records.execute(query)
    }


def write_table(records: sa.Connection, name: str, epoch: str, table: str, **values: Any) -> None:
    """Write columns of a table's row, which is made if it is missing; lists are kept as JSON."""
    values = {key: json.dumps(value) if isinstance(value, list) else value for key, value in values.items()}
    key = {"replication": name, "epoch": epoch, "source_table": table}
    upsert(records, cdc_tables, key, {"updated_at": now(), **values})


def forget_epochs(records: sa.Connection, name: str, keep: Sequence[str]) -> None:
    """Remove the rows of the tables of all other epochs."""
    t = cdc_tables.c
    records.execute(cdc_tables.delete().where(t.replication == name, t.epoch.not_in(list(keep))))


def forget_tables(records: sa.Connection, name: str, epoch: str, tables: Sequence[str]) -> None:
    """Remove the rows of some tables of an epoch."""
    t = cdc_tables.c
    for table in tables:
        gone = (t.replication == name, t.epoch == epoch, t.source_table == table)
        records.execute(cdc_tables.delete().where(*gone))


def _parsed(text: str | None) -> Any:
    return json.loads(text) if text else None
