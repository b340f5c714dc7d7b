"""A PostgreSQL database that is followed: its tables, its publication, its slots."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import IsolationLevel, sql

from include.cdc import names
from include.cdc.models import Replication
from include.connections import Connection
from include.engines.postgres.connect import connect, conninfo
from include.engines.postgres.errors import translated
from include.errors import AccessDenied

#: Ordinary and partitioned tables; partitions are followed by their root.
_TABLES = """
    SELECT n.nspname || '.' || c.relname, c.relreplident,
        CASE c.relkind
            WHEN 'p' THEN (
                SELECT coalesce(sum(greatest(p.reltuples, 0)), 0)
                FROM pg_partition_tree(c.oid) t JOIN pg_class p ON p.oid = t.relid WHERE t.isleaf
            )
            ELSE greatest(c.reltuples, 0)
        END::bigint,
        ARRAY(
            SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum ORDER BY place
        )
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_index i ON i.indrelid = c.oid
        AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
      AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
    ORDER BY 1
"""
_SLOT = """
    SELECT active, wal_status, confirmed_flush_lsn::text, safe_wal_size,
        pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
    FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()
"""
_POLL_SECONDS = 0.1
#: Of a table without one an UPDATE fails at the source as soon as it is published.
Identity = Literal["d", "f", "i", "n"]


@dataclass(frozen=True)
class SourceTable:
    """
    A table of the source.

    :param name: ``schema.table``.
    :param key: the columns of its primary key, or of the index that is its replica identity.
    :param identity: d for the primary key, f for the whole row, i for an index, n for nothing.
    :param rows: about how many rows it has; 0 where the source never counted them.
    """

    name: str
    key: tuple[str, ...]
    identity: Identity
    rows: int


@dataclass(frozen=True)
class Slot:
    """
    A replication slot.

    :param wal_status: reserved, extended, unreserved or lost.
    :param behind: bytes of log that were written since what was confirmed.
    """

    name: str
    active: bool
    wal_status: str
    confirmed: str
    safe_bytes: int | None
    behind: int


@dataclass(frozen=True)
class Pin:
    """A slot that was just made, and the snapshot that sees all before it, while its session is open."""

    lsn: str
    snapshot: str


@dataclass(frozen=True)
class CdcSource:
    """The source of a replication."""

    connection: Connection
    application: str = "retail-sync cdc"

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a session in which each statement commits."""
        with translated(f"source {self.connection.id}"), connect(self.connection, self.application) as session:
            session.autocommit = True
            yield session

    @contextmanager
    def snapshot(self, exported: str | None = None) -> Iterator[psycopg.Connection[Any]]:
        """Open a read-only view of one moment: that of an exported snapshot, else now."""
        with translated(f"source {self.connection.id}"), connect(self.connection, self.application) as session:
            session.isolation_level = IsolationLevel.REPEATABLE_READ
            session.read_only = True
            if exported:
                session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
            yield session

    @contextmanager
    def pin(self, slot: str, *, temporary: bool = False) -> Iterator[Pin]:
        """Make a slot; the snapshot is there as long as the block runs, the slot for good unless temporary."""
        kind = "TEMPORARY " if temporary else ""
        statement = f"CREATE_REPLICATION_SLOT {slot} {kind}LOGICAL pgoutput (SNAPSHOT 'export')"
        info = f"{conninfo(self.connection, self.application)} replication=database"
        with translated(f"source {self.connection.id}: making slot {slot}"):
            session = psycopg.connect(info, autocommit=True)
            try:
                row = session.execute(statement.encode()).fetchone()
                assert row is not None
                yield Pin(lsn=row[1], snapshot=row[2])
            finally:
                session.close()

    def tables(self, replication: Replication) -> list[SourceTable]:
        """Return the tables that a replication follows, in the order of their names."""
        with self.session() as session:
            rows = session.execute(_TABLES).fetchall()
        found = [SourceTable(name, tuple(key or ()), identity, count) for name, identity, count, key in rows]
        return [table for table in found if replication.holds(table.name)]

    def publish(self, replication: Replication, tables: Sequence[str]) -> None:
        """
        Make the publication, or let it hold exactly these tables.

        :raises AccessDenied: with the statement that somebody with the right has to run.
        """
        name = names.publication(replication.name)
        with self.session() as session:
            if set(self.published(session, name) or ()) == set(tables):
                return
            known = self.published(session, name) is not None
            listed = sql.SQL(", ").join(sql.Identifier(*table.split(".", 1)) for table in tables)
            form = (
                "ALTER PUBLICATION {} SET TABLE {}"
                if known
                else "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)"
            )
            statement = sql.SQL(form).format(sql.Identifier(name), listed)
            try:
                session.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                raise AccessDenied(
                    f"replication {replication.name}: {self.connection.login} may not change the publication; "
                    f"let an owner of the tables run: {statement.as_string(session)}"
                ) from None

    @staticmethod
    def published(session: psycopg.Connection[Any], name: str) -> list[str] | None:
        """Return the tables of a publication, None where there is none."""
        if session.execute("SELECT FROM pg_publication WHERE pubname = %s", (name,)).fetchone() is None:
            return None
        rows = session.execute(
            "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s", (name,)
        ).fetchall()
        return [table for (table,) in rows]

    @staticmethod
    def mark(session: psycopg.Connection[Any], content: str) -> None:
        """Write a moment into the stream."""
        session.execute("SELECT pg_logical_emit_message(true, %s, %s)", (names.MARKER_PREFIX, content))

    @staticmethod
    def await_writers(session: psycopg.Connection[Any]) -> None:
        """Wait until all transactions have ended that run now."""
        ended = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8"
        row = session.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
        while (done := session.execute(ended, row).fetchone()) and not done[0]:
            time.sleep(_POLL_SECONDS)

    @staticmethod
    def slot(session: psycopg.Connection[Any], name: str) -> Slot | None:
        """Return a slot of this database, None without it."""
        row = session.execute(_SLOT, (name,)).fetchone()
        return Slot(name, *row) if row else None

    @staticmethod
    def slots(session: psycopg.Connection[Any], replication: str) -> list[str]:
        """Return the names of all slots of a replication."""
        rows = session.execute(
            "SELECT slot_name FROM pg_replication_slots WHERE starts_with(slot_name, %s)"
            " AND substr(slot_name, length(%s) + 1) ~ '^[0-9]{14}$'",
            (prefix := names.slot_prefix(replication), prefix),
        ).fetchall()
        return [name for (name,) in rows]

    @staticmethod
    def drop_slot(session: psycopg.Connection[Any], name: str) -> None:
        """Remove a slot if it is there; whoever streams from it is cut off."""
        session.execute(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots"
            " WHERE slot_name = %s AND active_pid IS NOT NULL",
            (name,),
        )
        session.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (name,)
        )
