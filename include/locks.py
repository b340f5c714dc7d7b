"""
Advisory locks on the control database: they keep two runs off the same thing.

A lock lives on a session of its own and is released by the server when the process dies,
however it dies. The session must be a direct one: a pooler in transaction mode would hand
the same lock to two clients.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from include.connections import Connection
from include.errors import ConnectionLost, LockHeld

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_HOLDER = """
    SELECT application_name, pid, backend_start
    FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted
      AND classid = %s AND objid = %s::bigint::oid
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""


class LockSpace(IntEnum):
    """What a lock is about; the numbers are the first half of the server's lock key, never reuse one."""

    WINDOW = 7101


@dataclass(frozen=True)
class Lock:
    """Locks that are held, until the ``with`` block of ``hold`` ends."""

    session: psycopg.Connection[Any]
    names: Sequence[str]

    def assert_held(self) -> None:
        """
        Make sure that the session, and with it the locks, is still there.

        :raises ConnectionLost: if it is gone: another run may be at work already.
        """
        from include.engines.postgres.errors import translated

        try:
            with translated(f"holding the lock of {self.names[0]}"):
                self.session.execute("SELECT 1")
        except ConnectionLost as error:
            raise ConnectionLost(f"the lock of {', '.join(self.names)} was lost, nothing is published") from error


@contextmanager
def hold(control: Connection, space: LockSpace, names: Sequence[str], *, holder: str, wait: float) -> Iterator[Lock]:
    """
    Hold the locks of ``names``, taken in order, while the block runs.

    :param holder: who we are, for those who wait; the server keeps 63 bytes of it.
    :param wait: seconds to wait for another run, in all.
    :raises LockHeld: naming who holds it, when the time is up.
    """
    from include.engines.postgres.connect import connect

    session = connect(control, holder, autocommit=True)
    try:
        deadline = time.monotonic() + wait
        for name in sorted(names):
            _take(session, space, name, deadline)
        yield Lock(session, sorted(names))
    finally:
        session.close()


def lock_key(name: str) -> int:
    """Return a stable signed 32-bit number of a name; two names that share one only wait in vain."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big", signed=True)


def _take(session: psycopg.Connection[Any], space: LockSpace, name: str, deadline: float) -> None:
    from include.engines.postgres.errors import translated

    key, waiting = (int(space), lock_key(name)), False
    with translated(f"taking the lock of {name}"):
        while True:
            row = session.execute("SELECT pg_catalog.pg_try_advisory_lock(%s::int, %s::int)", key).fetchone()
            if row is not None and row[0]:
                return
            holder = _holder(session, key)
            if time.monotonic() >= deadline:
                raise LockHeld(f"{name} is locked by {holder}; it is tried again later")
            if not waiting:
                log.info("%s is locked by %s, waiting", name, holder)
                waiting = True
            time.sleep(_POLL_SECONDS)


def _holder(session: psycopg.Connection[Any], key: tuple[int, int]) -> str:
    row = session.execute(_HOLDER, (key[0], key[1] % 2**32)).fetchone()
    if row is None:
        return "a run that just ended"
    application, pid, since = row
    return f"{application or 'an unnamed session'} (pid {pid}, since {since:%Y-%m-%d %H:%M:%S} UTC)"
