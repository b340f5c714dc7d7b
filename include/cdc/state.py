"""The rows of a replication in the warehouse, read and written on the caller's session."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.errors import StreamBroken

if TYPE_CHECKING:
    import psycopg

#: Of a copy that is made beside the stream.
_BESIDE = frozenset({"next_epoch", "next_position", "run_id"})


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


def read(session: psycopg.Connection[Any], name: str) -> ReplicationRow | None:
    """Return the row of a replication, None where it was never started."""
    row = session.execute(
        "SELECT name, state, epoch, next_epoch, position, next_position, revision, applied_at, source_at, events,"
        " reason FROM dbo.cdc_replications WHERE name = %s",
        (name,),
    ).fetchone()
    if row is None:
        return None
    _, state, epoch, next_epoch, position, next_position, *others = row
    return ReplicationRow(
        name,
        State(state),
        epoch,
        next_epoch,
        json.loads(position) if position else None,
        json.loads(next_position) if next_position else None,
        *others,
    )


def write(session: psycopg.Connection[Any], name: str, **values: Any) -> None:
    """
    Write columns of a replication's row, which is made if it is missing; mappings are kept as JSON.

    A stream that runs breaks off where its own epoch, position or state is written.
    """
    breaks = int(not _BESIDE.issuperset(values))
    values = {key: json.dumps(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    changes = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(k), sql.Literal(v)) for k, v in values.items()
    )
    update = sql.SQL(
        "UPDATE dbo.cdc_replications SET updated_at = now(), revision = revision + {}, {} WHERE name = {}"
    ).format(sql.Literal(breaks), changes, sql.Literal(name))
    if not session.execute(update).rowcount:
        _insert(session, "cdc_replications", {"name": name, **values})


def advance(
    session: psycopg.Connection[Any],
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
    moved = session.execute(
        "UPDATE dbo.cdc_replications SET position = %s, applied_at = now(), source_at = coalesce(%s, source_at),"
        " events = events + %s, revision = revision + 1, updated_at = now()"
        " WHERE name = %s AND epoch = %s AND revision = %s",
        (json.dumps(position), source_at, events, row.name, row.epoch, revision),
    ).rowcount
    if not moved:
        raise StreamBroken(f"replication {row.name}: another run changed it meanwhile; nothing of this batch is kept")
    return revision + 1


def tables(session: psycopg.Connection[Any], name: str, epoch: str) -> dict[str, TableRow]:
    """Return the tables of an epoch by their names at the source."""
    rows = session.execute(
        "SELECT source_table, target_table, status, snapshot, chunk_key, rows_expected, rows_copied, seconds,"
        " copied_at FROM dbo.cdc_tables WHERE replication = %s AND epoch = %s ORDER BY 1",
        (name, epoch),
    ).fetchall()
    return {
        row[0]: TableRow(row[0], row[1], Status(row[2]), row[3], json.loads(row[4]) if row[4] else None, *row[5:])
        for row in rows
    }


def write_table(session: psycopg.Connection[Any], name: str, epoch: str, table: str, **values: Any) -> None:
    """Write columns of a table's row, which is made if it is missing; lists are kept as JSON."""
    values = {key: json.dumps(value) if isinstance(value, list) else value for key, value in values.items()}
    key = {"replication": name, "epoch": epoch, "source_table": table}
    changes = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(k), sql.Literal(v)) for k, v in values.items()
    )
    found = sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(k), sql.Literal(v)) for k, v in key.items())
    update = sql.SQL("UPDATE dbo.cdc_tables SET updated_at = now(), {} WHERE {}").format(changes, found)
    if not session.execute(update).rowcount:
        _insert(session, "cdc_tables", {**key, **values})


def _insert(session: psycopg.Connection[Any], table: str, values: Mapping[str, Any]) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, values))
    literals = sql.SQL(", ").join(map(sql.Literal, values.values()))
    statement = sql.SQL("INSERT INTO {} (updated_at, {}) VALUES (now(), {})")
    session.execute(statement.format(sql.Identifier("dbo", table), columns, literals))


def forget_epochs(session: psycopg.Connection[Any], name: str, keep: Sequence[str]) -> None:
    """Remove the rows of the tables of all other epochs."""
    session.execute("DELETE FROM dbo.cdc_tables WHERE replication = %s AND epoch <> ALL (%s)", (name, list(keep)))


def forget_tables(session: psycopg.Connection[Any], name: str, epoch: str, tables: Sequence[str]) -> None:
    """Remove the rows of some tables of an epoch."""
    session.execute(
        "DELETE FROM dbo.cdc_tables WHERE replication = %s AND epoch = %s AND source_table = ANY(%s)",
        (name, epoch, list(tables)),
    )
