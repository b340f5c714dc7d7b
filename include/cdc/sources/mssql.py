"""
A SQL Server database that is followed by what its change data capture writes down.

Its log is that of the capture job, in the order of commits. As Debezium 3.6.3 has it: an event's position
is commit_lsn and change_lsn; what has no change_lsn, a heartbeat after a round that brought nothing, stands
after all of its commit_lsn. After a round that did, heartbeats stay at its last event as long as nothing more
is captured. Where nothing was ever captured the position is before all, and heartbeats fail to come. Read again,
a commit comes from its first change that is not before the saved change_lsn.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from include.cdc import names
from include.cdc.models import Replication
from include.cdc.sources import mssql_captures, mssql_log
from include.cdc.sources.base import Gaps, SourceTable
from include.cdc.sources.logged import LoggedCdcSource, Offset, Place
from include.cdc.sources.mssql_rows import MssqlRows
from include.cdc.state import ReplicationRow
from include.engines.mssql.connect import flag
from include.engines.mssql.drivers import driver_for
from include.engines.mssql.errors import translated
from include.errors import NotConfigured, NotReady

if TYPE_CHECKING:
    from include.engines.mssql.drivers import Session

log = logging.getLogger(__name__)

TABLES = """
SELECT s.name + N'.' + t.name,
    (SELECT COALESCE(SUM(p.rows), 0) FROM sys.partitions AS p WHERE p.object_id = t.object_id AND p.index_id IN (0, 1))
FROM sys.tables AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id
WHERE t.is_ms_shipped = 0 AND s.name <> N'cdc' ORDER BY 1
"""
KEYS = """
SELECT s.name + N'.' + t.name, c.name
FROM sys.indexes AS i
JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id
JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id
JOIN sys.tables AS t ON t.object_id = i.object_id
JOIN sys.schemas AS s ON s.schema_id = t.schema_id
WHERE i.is_primary_key = 1 ORDER BY 1, k.key_ordinal
"""
IS_CAPTURED = "SELECT CAST(is_cdc_enabled AS int) FROM sys.databases WHERE name = DB_NAME()"
ALLOWS_SNAPSHOTS = "SELECT CAST(snapshot_isolation_state AS int) FROM sys.databases WHERE name = DB_NAME()"
RETENTION = "SELECT retention FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'cleanup'"

_FIRST, _LAST, _NONE = "00000000:00000000:0000", "ffffffff:ffffffff:ffff", "NULL"
#: Seconds in which the tables of a comparison have to be free of writers.
_LOCK_SECONDS = 10
#: Seconds that are more than the server's clock, which tells 1/300, is off.
_TICK_SECONDS = 0.05


@dataclass(frozen=True)
class MssqlCdcSource(LoggedCdcSource):
    """A SQL Server database that is followed."""

    has_gaps: ClassVar[bool] = True

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session with the primary: on a replica that lags, what was committed before a pin may be missing."""
        session = driver_for(self.connection).open(self.connection, self.application, read_only=False)
        try:
            with translated(f"source {self.connection.id}"):
                yield session
        finally:
            session.close()

    @contextmanager
    def reading(self) -> Iterator[MssqlRows]:
        """Read rows as they are now."""
        with self.session() as session:
            yield MssqlRows(session)

    @contextmanager
    def snapshot(self) -> Iterator[MssqlRows]:
        """
        Read rows as they are at one moment, where the database allows SNAPSHOT isolation.

        Else as they are committed while they are read; what changes meanwhile comes by the stream.
        """
        with self.session() as session:
            if session.fetch(ALLOWS_SNAPSHOTS)[0][0] == 1:
                session.commit()
                session.execute("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
            yield MssqlRows(session)

    def tables(self, replication: Replication) -> list[SourceTable]:
        """Return the tables that a replication follows, in the order of their names."""
        with self.session() as session:
            tables, parts = session.fetch(TABLES), session.fetch(KEYS)
        keys = defaultdict(list)
        for table, column in parts:
            keys[table].append(column)
        return [SourceTable(name, tuple(keys[name]), int(rows)) for name, rows in tables if replication.holds(name)]

    def place_of(self, offset: Offset) -> Place:
        """Return the LSN of the commit, and whether the position is after all of it."""
        lsn, change = offset.get("commit_lsn"), offset.get("change_lsn")
        return "" if lsn in (None, _NONE) else str(lsn), int(change in (None, _NONE, _LAST))

    def rest_of(self, offset: Offset) -> Offset | None:
        """
        Return the position after the commit of the last event: an event has one heartbeat at most before the next.

        What commits later without a change of ours does not move it, so its place may be before the end for ever.
        Where nothing came since a position of ours, reading it failed: that tells nothing.
        """
        is_ours = offset.get("change_lsn") in (_FIRST, _LAST)
        return None if is_ours else self.begin_of({**offset, "change_lsn": _NONE})

    def begin_of(self, offset: Offset) -> Offset:
        """Return the position before the first change of a commit, or after its last one where all have come."""
        lsn, is_over = self.place_of(offset)
        return {**offset, "change_lsn": _LAST if lsn and is_over else _FIRST, "event_serial_no": 0}

    def told(self, offset: Offset) -> str:
        """Return the LSN of the commit."""
        return self.place_of(offset)[0] or "the begin of what is captured"

    def end(self) -> Place:
        """Return the place after all that is captured, when all is that is committed now."""
        with self.session() as session:
            mssql_log.await_capture(session, mssql_log.now(session))
            return mssql_log.place(session.fetch(mssql_log.LATEST))

    def behind(self, place: Place) -> int | None:  # noqa: ARG002 (LSNs do not tell)
        """Return nothing: how many bytes there are between two LSNs is not known."""
        return None

    def gone(self, offset: Offset) -> str | None:
        """Return why changes after a position cannot be read any more."""
        with self.session() as session:
            if session.fetch(IS_CAPTURED)[0][0] != 1:
                return "change data capture is off for the database"
            oldest, _ = mssql_log.place(session.fetch(mssql_log.OLDEST))
        if not oldest:
            return "no table of the database is captured"
        if self.place_of(offset)[0] and oldest > self.place_of(offset)[0]:
            return "the source has removed captured changes that were not read yet"
        return None

    def gaps(self, row: ReplicationRow, seen: Mapping[str, str | None]) -> Gaps:
        """
        Return the tables whose capture does not reach back any more to what the stream has to read.

        What a table's copy sees of its capture is recorded, and renewed by each look: see ``mssql_captures``.
        """
        position, _ = self.place_of((row.position or {}).get("offset") or {})
        with self.session() as session:
            captures = mssql_captures.by_table(session.fetch(mssql_captures.CAPTURES))
        lost, trusted = {}, {}
        for table, text in seen.items():
            if (now := captures.get(table)) is None:
                continue
            known = mssql_captures.read(text) if text else None
            if reason := mssql_captures.lost(known, now, position):
                lost[table] = reason
            else:
                trusted[table] = mssql_captures.written(mssql_captures.trusted(known, now, position))
        return Gaps(lost, trusted)

    def refreshed(self, offset: Offset) -> Offset:
        """Return where the capture job is, if it has found nothing since a position; the clean-up passes older ones."""
        with self.session() as session:
            (there, _), latest = (
                mssql_log.place(session.fetch(mssql_log.LATEST_QUIET)),
                mssql_log.place(session.fetch(mssql_log.LATEST)),
            )
        if latest > self.place_of(offset) or there <= self.place_of(offset)[0]:
            return offset
        return self.begin_of({**offset, "commit_lsn": there, "change_lsn": _NONE})

    @contextmanager
    def moment(self, tables: Sequence[str]) -> Iterator[tuple[Place, MssqlRows]]:
        """
        Give the rows of tables at a place of the log.

        Their writers wait for the moment in which the view is opened; the server's clock, which is
        written down with each commit, tells afterwards which commits were before it.

        :raises NotReady: if the database does not allow SNAPSHOT isolation.
        """
        with self.session() as session:
            if session.fetch(ALLOWS_SNAPSHOTS)[0][0] != 1:
                database = self.connection.database
                raise NotReady(
                    f"source {self.connection.id}: rows cannot be read as of one moment;"
                    f" ALTER DATABASE [{database}] SET ALLOW_SNAPSHOT_ISOLATION ON"
                )
            session.commit()
            rows = MssqlRows(session)
            relations = [rows.relation(table) for table in tables]
            with self.session() as locker:
                locker.execute(f"SET LOCK_TIMEOUT {_LOCK_SECONDS * 1000}")
                for relation in relations:
                    locker.fetch(f"SELECT TOP (1) 1 FROM {relation} WITH (TABLOCK, HOLDLOCK)")  # noqa: S608 (quoted)
                time.sleep(_TICK_SECONDS)
                session.execute("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
                # the view is that of the first read
                session.fetch(f"SELECT TOP (1) 1 FROM {relations[0]}")  # noqa: S608 (quoted)
                at = mssql_log.now(session)
                time.sleep(_TICK_SECONDS)
            with self.session() as other:
                mssql_log.await_capture(other, at)
                place = mssql_log.place(other.fetch(mssql_log.LATEST_THEN, at))
            yield place, rows

    def engine_settings(self, replication: Replication, epoch: str, tables: Sequence[str]) -> dict[str, str]:  # noqa: ARG002
        """
        Return Debezium's settings; a heartbeat after each round tells how far the log is read.

        :raises NotConfigured: if the connection names no database.
        """
        extra = self.connection.extra
        encrypt = str(extra.get("encrypt", "yes")).lower()
        is_strict = encrypt == "strict"
        return {
            "connector.class": "io.debezium.connector.sqlserver.SqlServerConnector",
            "database.port": str(self.connection.port or 1433),
            "database.names": self._database,
            "driver.encrypt": encrypt if is_strict else str(encrypt not in {"no", "false", "0", "optional"}).lower(),
            "driver.trustServerCertificate": str(
                flag(self.connection, "trust_server_certificate", default=False)
            ).lower(),
            # only definitions are read, for which by default it would lock the tables against everybody
            "snapshot.isolation.mode": "read_committed",
            "heartbeat.interval.ms": "500",
        }

    def partition(self) -> dict[str, str]:
        """Return what Debezium calls the log, in this order."""
        return {"server": names.TOPIC_PREFIX, "database": self._database}

    def keeps(self, row: ReplicationRow) -> str:  # noqa: ARG002 (it keeps as much for everybody)
        """Say how long the source keeps what it has captured."""
        with self.session() as session:
            found = session.fetch(RETENTION)
        if not found:
            return "the source keeps captured changes for ever: it has no job that removes them"
        return f"the source keeps captured changes for {found[0][0] / 60:.0f} hours; after that only a resync helps"

    @property
    def _database(self) -> str:
        if not self.connection.database:
            raise NotConfigured(f"connection {self.connection.id!r}: set schema to the database")
        return self.connection.database
