"""A MySQL server that is followed by its binary log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from include.cdc import names
from include.cdc.models import Replication
from include.cdc.sources import mysql_types
from include.cdc.sources.base import SourceTable
from include.cdc.sources.logged import LoggedCdcSource, Offset, Place
from include.cdc.sources.mysql_rows import MysqlRows, connect, translated
from include.cdc.state import ReplicationRow

_TABLES = """
    SELECT table_schema, table_name, COALESCE(table_rows, 0) FROM information_schema.tables
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')
    ORDER BY 1, 2
"""
_KEYS = """
    SELECT table_schema, table_name, column_name FROM information_schema.statistics
    WHERE index_name = 'PRIMARY' ORDER BY table_schema, table_name, seq_in_index
"""
#: Seconds in which the tables of a comparison have to be free of writers.
_LOCK_SECONDS = 10
#: The keys of an offset that tell how far it is within a transaction.
_WITHIN = {"event", "row"}


@dataclass(frozen=True)
class MysqlCdcSource(LoggedCdcSource):
    """A MySQL server that is followed; its schemas are its databases."""

    @contextmanager
    def session(self) -> Iterator[Any]:
        """Open a session in which each statement commits."""
        with translated(f"source {self.connection.id}"), closing(connect(self.connection, self.application)) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[MysqlRows]:
        """Read rows as they are now."""
        with self.session() as session:
            yield MysqlRows(session)

    @contextmanager
    def snapshot(self) -> Iterator[MysqlRows]:
        """Read rows as they are now, as long as the block runs."""
        with self.session() as session:
            _begin_snapshot(session)
            yield MysqlRows(session)

    def tables(self, replication: Replication) -> list[SourceTable]:
        """Return the tables that a replication follows, in the order of their names."""
        with self.session() as session:
            tables, parts = _rows(session, _TABLES), _rows(session, _KEYS)
        keys = defaultdict(list)
        for schema, table, column in parts:
            keys[f"{schema}.{table}"].append(column)
        found = [(f"{schema}.{table}", rows) for schema, table, rows in tables]
        return [SourceTable(name, tuple(keys[name]), int(rows)) for name, rows in found if replication.holds(name)]

    def place_of(self, offset: Offset) -> Place:
        """Return number of the file and position in it."""
        return _place(offset["file"], offset["pos"])

    def begin_of(self, offset: Offset) -> Offset:
        """Return the position from which the transaction of an event comes again as a whole."""
        return {name: value for name, value in offset.items() if name not in _WITHIN}

    def is_before(self, offset: Offset, other: Offset) -> bool:
        """Whether a position is before another one in a file; another server has other files."""
        return offset["file"] == other["file"] and self.place_of(offset) < self.place_of(other)

    def is_at(self, end: Place, offset: Offset) -> bool:
        """Whether a position is the end of the log; that of another server is another one."""
        return self.place_of(offset) == end

    def told(self, offset: Offset) -> str:
        """Return file and position."""
        return f"{offset['file']}:{offset['pos']}"

    def end(self) -> Place:
        """Return the place after all that is in the log now."""
        with self.session() as session:
            return _end(session)

    def behind(self, place: Place) -> int | None:
        """Return how many bytes of log there are from a place on."""
        with self.session() as session:
            sizes = {_place(name, 0): int(size) for name, size, *_ in _rows(session, "SHOW BINARY LOGS")}
        file = (place[0], 0)
        return sum(size for begin, size in sizes.items() if begin >= file) - (place[1] if file in sizes else 0)

    def gone(self, offset: Offset) -> str | None:
        """
        Return why the log after a position cannot be read any more.

        Where transactions have ids these tell, on whatever server they are; else the file does.
        """
        with self.session() as session:
            if gtids := offset.get("gtids"):
                query = "SELECT GTID_SUBSET(@@GLOBAL.gtid_purged, %s), GTID_SUBSET(%s, @@GLOBAL.gtid_executed)"
                ((is_kept, is_known),) = _rows(session, query, gtids, gtids)
                if not is_kept:
                    return "the source has purged binary logs that were not read yet"
                return None if is_known else "the source lacks transactions that were applied: its log was begun anew"
            sizes = {name: int(size) for name, size, *_ in _rows(session, "SHOW BINARY LOGS")}
        if offset["file"] not in sizes:
            return f"the source has purged binary log {offset['file']}, which was not read yet"
        if offset["pos"] > sizes[offset["file"]]:
            return f"binary log {offset['file']} is shorter than what was read of it: it was begun anew"
        return None

    @contextmanager
    def moment(self, tables: Sequence[str]) -> Iterator[tuple[Place, MysqlRows]]:
        """
        Give the rows at a place of the log.

        Writers of the tables wait for the moment in which the place is read and the view is opened.
        """
        with self.session() as session:
            with self.session() as locker:
                rows = MysqlRows(session)
                read = ", ".join(f"{rows.relation(table)} READ" for table in tables)
                _run(locker, f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}")
                _run(locker, f"LOCK TABLES {read}")
                place = _end(locker)
                _begin_snapshot(session)
            yield place, rows

    def engine_settings(self, replication: Replication, epoch: str, tables: Sequence[str]) -> dict[str, str]:
        """Return Debezium's settings; a heartbeat of the server's tells how far a quiet log is."""
        extra = self.connection.extra
        trust = {
            "ssl_truststore": "database.ssl.truststore",
            "ssl_truststore_password": "database.ssl.truststore.password",
        }
        databases = dict.fromkeys(table.partition(".")[0] for table in tables)
        return {
            "connector.class": "io.debezium.connector.mysql.MySqlConnector",
            "database.port": str(self.connection.port or 3306),
            "database.server.id": str(names.server_id(replication.name, epoch)),
            "database.include.list": ",".join(map(names.pattern, databases)),
            "database.ssl.mode": str(extra.get("ssl_mode", "preferred")),
            **{name: str(extra[key]) for key, name in trust.items() if extra.get(key)},
            **mysql_types.SENT,
            "inconsistent.schema.handling.mode": "fail",
            "heartbeat.interval.ms": "500",
            # a slow apply would be taken for a lost connection; the stream has a watch of its own
            "connect.keep.alive": "false",
            "connect.keep.alive.interval.ms": "1000",
        }

    def keeps(self, row: ReplicationRow) -> str:  # noqa: ARG002 (it keeps as much for everybody)
        """Say how long the source keeps its binary logs."""
        with self.session() as session:
            ((seconds,),) = _rows(session, "SELECT @@GLOBAL.binlog_expire_logs_seconds")
        if not int(seconds):
            return "the source keeps its binary logs for ever"
        return f"the source keeps its binary logs for {int(seconds) / 3600:.0f} hours; after that only a resync helps"


def _begin_snapshot(session: Any) -> None:
    _run(session, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    _run(session, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


def _end(session: Any) -> Place:
    """The statement has a new name since 8.2, and lost the old one with 8.4."""
    ((version,),) = _rows(session, "SELECT VERSION()")
    old = tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < (8, 2)
    rows = _rows(session, "SHOW MASTER STATUS" if old else "SHOW BINARY LOG STATUS")
    return _place(rows[0][0], rows[0][1])


def _place(file: str, position: int) -> Place:
    return int(file.rpartition(".")[2]), int(position)


def _rows(session: Any, query: str, *values: Any) -> list[Sequence[Any]]:
    with closing(session.cursor()) as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def _run(session: Any, statement: str) -> None:
    _rows(session, statement)
