"""
How far the capture job of a SQL Server is, by what it writes down.

It reads the log of the database in rounds, as a rule every five seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.cdc.sources import mssql_captures
from include.cdc.sources.logged import Place
from include.engines.mssql.errors import translated
from include.errors import AccessDenied

if TYPE_CHECKING:
    from include.engines.mssql.drivers import Session

log = logging.getLogger(__name__)

NOW = "SELECT CONVERT(varchar(23), GETDATE(), 121)"
#: Of a quiet log the capture job writes down now and then that it is there, with a transaction of zeros.
LATEST = "SELECT CONVERT(varchar(20), MAX(start_lsn), 2) FROM cdc.lsn_time_mapping WHERE tran_id <> 0x00"
LATEST_THEN = f"{LATEST} AND tran_end_time <= CONVERT(datetime, ?, 121)"
LATEST_QUIET = "SELECT CONVERT(varchar(20), MAX(start_lsn), 2) FROM cdc.lsn_time_mapping"
#: Debezium looks there too, and refuses what is older.
OLDEST = "SELECT CONVERT(varchar(20), MIN(start_lsn), 2) FROM cdc.change_tables"
IS_LATER = "SELECT COUNT(*) FROM cdc.lsn_time_mapping WHERE tran_end_time > CONVERT(datetime, ?, 121)"
SCANS = """
SELECT COALESCE(SUM(CASE WHEN start_time > CONVERT(datetime, ?, 121) AND end_time IS NOT NULL THEN 1 ELSE 0 END), 0),
    COALESCE(SUM(empty_scan_count), 0)
FROM sys.dm_cdc_log_scan_sessions WHERE session_id > 0
"""

#: Seconds that the capture job may take to reach what is committed.
_CAPTURE_SECONDS, _POLL_SECONDS = 30.0, 0.5


def now(session: Session) -> str:
    """Return the time of the server, as it writes it."""
    return str(session.fetch(NOW)[0][0])


def place(rows: Sequence[tuple[str | None]]) -> Place:
    """Return the place after a commit, of an LSN as 20 digits; before all without one."""
    return mssql_captures.lsn(rows[0][0]), 1


def await_capture(session: Session, at: str) -> None:
    """
    Wait until the capture job has passed what was committed at a time of the server.

    A later commit that is captured tells so, or a scan that began later and is over; two more empty
    ones, which the server only counts. What a login may not see is not waited for longer than others.
    """
    deadline = time.monotonic() + _CAPTURE_SECONDS
    before = _scans(session, at)
    while time.monotonic() < deadline:
        if session.fetch(IS_LATER, at)[0][0]:
            return
        scans = _scans(session, at)
        if scans and before and (scans[0] or scans[1] >= before[1] + 2):
            return
        time.sleep(_POLL_SECONDS)
    log.warning("whether all is captured cannot be told after %.0f s; what is not comes later", _CAPTURE_SECONDS)


def _scans(session: Session, at: str) -> tuple[int, int] | None:
    """Return how many scans began later and are over, and how many were empty; None for a login without the right."""
    try:
        with translated("asking how far changes are captured"):
            ended, empty = session.fetch(SCANS, at)[0]
    except AccessDenied:
        return None
    return int(ended), int(empty)
