"""A PostgreSQL database that is followed: its tables, its publication, its slots."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import IsolationLevel, sql

from include.cdc import names
from include.cdc.models import Replication
from include.cdc.sources.base import CdcSource, LogFacts, Pin, Slot, SourceTable
from include.cdc.sources.postgres_rows import PostgresRows
from include.engines.postgres.connect import connect, conninfo
from include.engines.postgres.errors import translated
from include.errors import AccessDenied, StreamBroken

if TYPE_CHECKING:
    from include.cdc.run import CdcRun
    from include.cdc.state import ReplicationRow

log = logging.getLogger(__name__)

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
_KEPT_LOG = "SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'"
_POLL_SECONDS = 0.1
#: A server notices only after a while that the one who read a slot is dead.
_SLOT_SECONDS = 30.0


@dataclass(frozen=True)
class Exported:
    """A slot that was just made, and the snapshot that sees all before it, while its session is open."""

    lsn: str
    snapshot: str


@dataclass(frozen=True)
class PostgresCdcSource(CdcSource):
    """A PostgreSQL database that is followed."""

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a session in which each statement commits."""
        with translated(f"source {self.connection.id}"), connect(self.connection, self.application) as session:
            session.autocommit = True
            yield session

    @contextmanager
    def reading(self) -> Iterator[PostgresRows]:
        """Read rows as they are now."""
        with self.session() as session:
            yield PostgresRows(session)

    @contextmanager
    def snapshot(self) -> Iterator[PostgresRows]:
        """Read rows as they are when the first statement runs that is no lock."""
        with self._snapshot(None) as rows:
            yield rows

    @contextmanager
    def moment(self, tables: Sequence[str]) -> Iterator[tuple[str | None, PostgresRows]]:
        """
        Give the snapshot of a slot, of all that was committed before its position and nothing else, and the rows.

        The tables are held as long as the block runs; without any, nothing tells what the snapshot sees.
        """
        with (
            self.export(f"rs_compare_{uuid.uuid4().hex}", temporary=True) as exported,
            self._snapshot(exported.snapshot) as rows,
        ):
            seen = [rows.hold(table) for table in tables]
            yield (seen[-1] if seen else None), rows

    @contextmanager
    def _snapshot(self, exported: str | None) -> Iterator[PostgresRows]:
        with translated(f"source {self.connection.id}"), connect(self.connection, self.application) as session:
            session.isolation_level = IsolationLevel.REPEATABLE_READ
            session.read_only = True
            if exported:
                session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
            yield PostgresRows(session)

    def pin(self, run: CdcRun, epoch: str) -> Pin:
        """Make the slot of an epoch, anew if it is there: a run died before it could record it."""
        slot = names.slot(run.name, epoch)
        with self.session() as session:
            self.drop_slot(session, slot)
        self.join(run)
        with self.export(slot) as exported:
            return Pin({"pinned": exported.lsn, "offset": None})

    def join(self, run: CdcRun) -> None:
        """Publish all tables that are followed."""
        self.publish(run.replication, [table.name for table in self.tables(run.replication)])

    @contextmanager
    def export(self, slot: str, *, temporary: bool = False) -> Iterator[Exported]:
        """Make a slot; the snapshot is there as long as the block runs, the slot for good unless temporary."""
        kind = "TEMPORARY " if temporary else ""
        statement = f"CREATE_REPLICATION_SLOT {slot} {kind}LOGICAL pgoutput (SNAPSHOT 'export')"
        info = f"{conninfo(self.connection, self.application)} replication=database"
        with translated(f"source {self.connection.id}: making slot {slot}"):
            session = psycopg.connect(info, autocommit=True)
            try:
                row = session.execute(statement.encode()).fetchone()
                assert row is not None
                yield Exported(lsn=row[1], snapshot=row[2])
            finally:
                session.close()

    def tables(self, replication: Replication) -> list[SourceTable]:
        """Return the tables that a replication follows, in the order of their names."""
        with self.session() as session:
            rows = session.execute(_TABLES).fetchall()
        found = [SourceTable(name, tuple(key or ()), count, identity) for name, identity, count, key in rows]
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

    def await_writers(self) -> None:
        """Wait until all transactions have ended that run now: what they wrote before a table was published."""
        ended = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8"
        with self.session() as session:
            row = session.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
            while (done := session.execute(ended, row).fetchone()) and not done[0]:
                time.sleep(_POLL_SECONDS)

    def lost(self, replication: Replication, row: ReplicationRow, tables: Sequence[str]) -> str | None:
        """
        Return what is gone: of the slot's log, or of the publication.

        That a slot is past the saved position tells nothing: Debezium also confirms log that holds no
        change of ours. A table that was dropped and made anew is not published any more.
        """
        assert row.epoch is not None
        name, publication = names.slot(row.name, row.epoch), names.publication(row.name)
        with self.session() as session:
            slot = self.slot(session, name)
            published = set(self.published(session, publication) or ())
        if slot is None:
            return f"slot {name} is not there any more"
        if slot.wal_status == "lost":
            return f"the source has removed log that slot {name} had to keep"
        there = {table.name for table in self.tables(replication)}
        left = sorted((there & set(tables)) - published)
        return f"{', '.join(left)} was taken off publication {publication}" if left else None

    def await_turn(self, row: ReplicationRow) -> None:
        """Wait until nobody reads the slot."""
        assert row.epoch is not None
        name, deadline = names.slot(row.name, row.epoch), time.monotonic() + _SLOT_SECONDS
        with self.session() as session:
            while (slot := self.slot(session, name)) is not None and slot.active:
                if time.monotonic() > deadline:
                    raise StreamBroken(f"replication {row.name}: somebody else reads slot {name}")
                time.sleep(_POLL_SECONDS)

    def engine_settings(self, replication: Replication, epoch: str, tables: Sequence[str]) -> dict[str, str]:  # noqa: ARG002
        """Return Debezium's settings; slot and publication are ours to make, the connector makes neither."""
        extras = {"sslmode": "database.sslmode", "sslrootcert": "database.sslrootcert"}
        extras |= {"sslcert": "database.sslcert", "sslkey": "database.sslkey"}
        extra = self.connection.extra
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.port": str(self.connection.port or 5432),
            "database.dbname": self.connection.database,
            **{name: str(extra[key]) for key, name in extras.items() if extra.get(key)},
            "plugin.name": "pgoutput",
            "slot.name": names.slot(replication.name, epoch),
            "slot.drop.on.stop": "false",
            "publication.name": names.publication(replication.name),
            "publication.autocreate.mode": "disabled",
            "message.prefix.include.list": names.MARKER_PREFIX,
            "interval.handling.mode": "string",
            "include.unknown.datatypes": "true",
        }

    def facts(self, row: ReplicationRow) -> LogFacts:
        """Return the slots that have to be there, and how much log the server keeps for them."""
        epochs = [(row.epoch, row.position), (row.next_epoch, row.next_position)]
        with self.session() as session:
            slots = [names.slot(row.name, epoch) for epoch, position in epochs if epoch and position]
            kept = session.execute(_KEPT_LOG).fetchone()
            limit = kept[0] if kept and kept[0] >= 0 else None
            return LogFacts({name: self.slot(session, name) for name in slots}, kept_bytes=limit)

    def keeps(self, row: ReplicationRow) -> str:
        """Say how much log the slot of a stopped replication keeps."""
        with self.session() as session:
            keeps = session.execute("SHOW max_slot_wal_keep_size").fetchone()
            slot = self.slot(session, names.slot(row.name, row.epoch)) if row.epoch else None
        limit = "without a limit: its disk may fill" if keeps and keeps[0] == "-1" else f"up to {keeps and keeps[0]}"
        return f"the source keeps its log for it, {limit}" + (f", {slot.behind:,} bytes now" if slot else "")

    def forget(self, replication: Replication, keep: Sequence[str] = ()) -> None:
        """Drop slots, which would keep the source's log for ever; without any that is kept, the publication too."""
        kept = {names.slot(replication.name, epoch) for epoch in keep}
        with self.session() as session:
            for slot in self.slots(session, replication.name):
                if slot not in kept:
                    self.drop_slot(session, slot)
                    log.info("replication %s: slot %s is dropped", replication.name, slot)
            if not keep:
                publication = sql.Identifier(names.publication(replication.name))
                session.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(publication))

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
