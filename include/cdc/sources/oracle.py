"""
An Oracle database that is followed by its redo log, through LogMiner.

As Debezium 3.6.3 has it: transactions come in the order of their commits, and an event tells the SCN of its
own. Its position has the SCN before which no transaction is open that it has seen (scn), the commits that came
before (commit_scn, the last of each redo thread), and how far it is in its transaction (txId, txSeq). Without the
latter the transaction comes again as a whole. Each round commits an update of Debezium's own table, and tells
its position with a heartbeat: a stream goes on however long other transactions are open.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from include.cdc.changes import UNAVAILABLE
from include.cdc.models import Replication
from include.cdc.sources.base import SourceTable
from include.cdc.sources.logged import LoggedCdcSource, Offset, Place
from include.cdc.sources.oracle_rows import OracleRows, connect, database_of, translated
from include.cdc.state import ReplicationRow
from include.errors import DatabaseBusy

TABLES = """
SELECT t.owner, t.table_name, NVL(t.num_rows, 0) FROM all_tables t
WHERE t.temporary = 'N' AND t.nested = 'NO' AND t.secondary = 'N' AND (t.iot_type IS NULL OR t.iot_type = 'IOT')
    AND t.owner NOT IN (SELECT u.username FROM all_users u WHERE u.oracle_maintained = 'Y')
ORDER BY t.owner, t.table_name
"""
KEYS = """
SELECT c.owner, c.table_name, k.column_name
FROM all_constraints c JOIN all_cons_columns k ON k.owner = c.owner AND k.constraint_name = c.constraint_name
WHERE c.constraint_type = 'P' AND c.status = 'ENABLED' ORDER BY c.owner, c.table_name, k.position
"""
CURRENT = "SELECT current_scn FROM v$database"
OPEN = "SELECT COUNT(*) FROM v$transaction WHERE start_scn < :1"
#: What is kept of the log, as Debezium looks for it.
OLDEST = """
SELECT MIN(l.first_change#) FROM (
    SELECT first_change# FROM v$log
    UNION ALL
    SELECT a.first_change# FROM v$archived_log a
    WHERE a.status = 'A' AND a.standby_dest = 'NO'
        AND a.resetlogs_change# = (SELECT d.resetlogs_change# FROM v$database d)
) l
"""
#: Seconds that transactions may go on which began before a pin.
_OPEN_SECONDS, _POLL_SECONDS = 600.0, 1.0
#: The keys of an offset that tell how far it is within a transaction.
_WITHIN = {"txId", "txSeq"}


@dataclass(frozen=True)
class OracleCdcSource(LoggedCdcSource):
    """An Oracle database that is followed; its schemas are its users."""

    @contextmanager
    def session(self) -> Iterator[Any]:
        """Open a session that only reads."""
        with translated(f"source {self.connection.id}"), closing(connect(self.connection, self.application)) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[OracleRows]:
        """Read rows as they are now."""
        with self.session() as session:
            yield OracleRows(session)

    @contextmanager
    def snapshot(self) -> Iterator[OracleRows]:
        """Read rows as they are now, as long as the block runs."""
        with self.session() as session:
            yield OracleRows(session, scn=_current(session))

    def tables(self, replication: Replication) -> list[SourceTable]:
        """Return the tables that a replication follows, in the order of their names."""
        with self.session() as session:
            tables, parts = _rows(session, TABLES), _rows(session, KEYS)
        keys = defaultdict(list)
        for owner, table, column in parts:
            keys[f"{owner}.{table}"].append(column)
        found = [(f"{owner}.{table}", rows) for owner, table, rows in tables]
        return [SourceTable(name, tuple(keys[name]), int(rows)) for name, rows in found if replication.holds(name)]

    def place_of(self, offset: Offset) -> Place:
        """Return the SCN before which all commits have come; of several redo threads LogMiner merges them by SCN."""
        commits = [int(part.partition(":")[0]) for part in str(offset.get("commit_scn") or "").split(",") if part]
        return (max(int(offset["scn"]), *commits),) if commits else (int(offset["scn"]),)

    def begin_of(self, offset: Offset) -> Offset:
        """Return the position from which the transaction of an event comes again as a whole."""
        return {name: value for name, value in offset.items() if name not in _WITHIN}

    def told(self, offset: Offset) -> str:
        """Return the SCN."""
        return f"SCN {offset['scn']}"

    def await_open(self) -> None:
        """
        Wait until all transactions have ended that are open now: mining begins after their first changes.

        :raises DatabaseBusy: if one goes on for too long.
        """
        deadline = time.monotonic() + _OPEN_SECONDS
        with self.session() as session:
            scn = _current(session)
            while _rows(session, OPEN, scn)[0][0]:
                if time.monotonic() >= deadline:
                    text = f"a transaction that began before SCN {scn} is still open after {_OPEN_SECONDS:.0f} s"
                    raise DatabaseBusy(f"source {self.connection.id}: {text}")
                time.sleep(_POLL_SECONDS)

    def end(self) -> Place:
        """Return the place after all that is committed now."""
        with self.session() as session:
            return _after(_current(session))

    def behind(self, place: Place) -> int | None:  # noqa: ARG002 (SCNs do not tell)
        """Return nothing: how many bytes there are between two SCNs is not known."""
        return None

    def gone(self, offset: Offset) -> str | None:
        """Return why the log after a position cannot be read any more."""
        with self.session() as session:
            oldest = _rows(session, OLDEST)[0][0]
        if oldest is None or int(oldest) > int(offset["scn"]):
            return f"the source has no redo log any more from SCN {offset['scn']}, which was not read yet"
        return None

    @contextmanager
    def moment(self, tables: Sequence[str]) -> Iterator[tuple[Place, OracleRows]]:  # noqa: ARG002 (it is of all)
        """Give the rows as of an SCN, and the place after all that was committed up to it: that is what they have."""
        with self.session() as session:
            scn = _current(session)
            yield _after(scn), OracleRows(session, scn=scn)

    def engine_settings(self, replication: Replication, epoch: str, tables: Sequence[str]) -> dict[str, str]:  # noqa: ARG002
        """Return Debezium's settings; a heartbeat after each round tells how far the log is read."""
        pluggable = self.connection.extra.get("pdb")
        return {
            "connector.class": "io.debezium.connector.oracle.OracleConnector",
            "database.port": str(self.connection.port or 1521),
            "database.dbname": database_of(self.connection),
            **({"database.pdb.name": str(pluggable)} if pluggable else {}),
            "database.connection.adapter": "logminer",
            # needs no dictionary in the log; definitions of before a change are in the history
            "log.mining.strategy": "online_catalog",
            # without it a CLOB or BLOB is left out of what is sent
            "lob.enabled": "true",
            "interval.handling.mode": "string",
            "unavailable.value.placeholder": UNAVAILABLE,
            # only definitions are read
            "snapshot.locking.mode": "none",
            "heartbeat.interval.ms": "500",
        }

    def keeps(self, row: ReplicationRow) -> str:  # noqa: ARG002 (it keeps as much for everybody)
        """Say how long the source keeps its archived log."""
        return "the source keeps its archived log as its deletion policy (RMAN) says; after that only a resync helps"


def _after(scn: int) -> Place:
    return (scn + 1,)


def _current(session: Any) -> int:
    return int(_rows(session, CURRENT)[0][0])


def _rows(session: Any, query: str, *values: Any) -> list[Sequence[Any]]:
    with closing(session.cursor()) as cursor:
        cursor.execute(query, list(values))
        return list(cursor.fetchall())
