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

_TAKE = {
    False: "SELECT pg_catalog.pg_try_advisory_lock(%s::int, %s::int)",
    True: "SELECT pg_catalog.pg_try_advisory_lock_shared(%s::int, %s::int)",
}
_WAIT = {
    False: "SELECT pg_catalog.pg_advisory_lock(%s::int, %s::int)",
    True: "SELECT pg_catalog.pg_advisory_lock_shared(%s::int, %s::int)",
}
_HOLDER = """
    SELECT application_name, pid, backend_start
    FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted
      AND classid = %s AND objid = %s::bigint::oid
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""
_NOBODY = "a run that just ended"
#: How long whoever wants any of several locks waits before it tries them again.
_PAUSE_SECONDS = 0.5


class LockSpace(IntEnum):
    """What a lock is about; the numbers are the first half of the server's lock key, never reuse one."""

    WINDOW = 7101
    TABLE = 7102
    STORE = 7201
    """A store of the orders sync, whatever the pipeline."""
    WORKER = 7202
    """A place among the stores that a run may sync at once."""
    RUN = 7203
    """A run of the command line that is alive."""
    REPLICATION = 7301
    """A followed database: who pins, swaps or applies."""
    REPLICATED_TABLE = 7302
    """A table of a followed database that is copied."""


@dataclass(frozen=True, order=True)
class Name:
    """A lock by its name; a shared one only keeps off those who want it for themselves."""

    space: LockSpace
    name: str
    shared: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """The server's key of the lock."""
        return int(self.space), lock_key(self.name)


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
def hold(control: Connection, names: Sequence[Name], *, holder: str, wait: float) -> Iterator[Lock]:
    """
    Hold locks, taken in the order of their spaces from the last to the first, while the block runs.

    Whoever waits stands in the server's queue: one who wants a table for itself gets it when those
    who share it now are done, however many more would like to share it.

    :param holder: who we are, for those who wait; the server keeps 63 bytes of it.
    :param wait: seconds to wait for another run, in all.
    :raises LockHeld: naming who holds it, when the time is up.
    """
    from include.engines.postgres.connect import connect

    session = connect(control, holder, autocommit=True)
    try:
        deadline = time.monotonic() + wait
        ordered = sorted(names, key=lambda lock: (-lock.space, lock.name))
        for lock in ordered:
            _take(session, lock, deadline)
        yield Lock(session, [lock.name for lock in ordered])
    finally:
        _release(session)


@contextmanager
def hold_any(control: Connection, names: Sequence[Name], *, holder: str, wait: float) -> Iterator[Lock]:
    """
    Hold one of several locks, the first in their order that is free, while the block runs.

    Whoever waits stands in no queue: it tries all of them now and then.

    :param wait: seconds to wait for one to be free.
    :raises LockHeld: naming who holds them, when the time is up.
    """
    from include.engines.postgres.connect import connect
    from include.engines.postgres.errors import translated

    session = connect(control, holder, autocommit=True)
    try:
        with translated(f"taking a lock of {', '.join(lock.name for lock in names)}"):
            lock = _take_any(session, names, time.monotonic() + wait)
        yield Lock(session, [lock.name])
    finally:
        _release(session)


def holder_of(session: psycopg.Connection[Any], name: Name) -> str | None:
    """Return who holds a lock, None where nobody does."""
    return _holder(session, name.key)


def lock_key(name: str) -> int:
    """Return a stable signed 32-bit number of a name; two names that share one only wait in vain."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big", signed=True)


def _release(session: psycopg.Connection[Any]) -> None:
    """Give the locks back and wait for it: a server notices a closed session only a moment later."""
    import psycopg

    try:
        if not session.closed:
            session.execute("SELECT pg_catalog.pg_advisory_unlock_all()")
    except psycopg.Error as error:
        log.debug("the session of the locks had ended already: %s", error)
    finally:
        session.close()


def _take(session: psycopg.Connection[Any], lock: Name, deadline: float) -> None:
    import psycopg

    from include.engines.postgres.errors import translated

    with translated(f"taking the lock of {lock.name}"):
        if _took(session, lock):
            return
        holder = _holder(session, lock.key) or _NOBODY
        left = deadline - time.monotonic()
        if left > 0:
            log.info("%s is locked by %s, waiting", lock.name, holder)
            # a place in the queue of one who died meanwhile is given up
            session.execute("SET client_connection_check_interval = '10s'")
            session.execute("SELECT set_config('lock_timeout', %s, false)", (f"{max(1, round(left * 1000))}ms",))
            try:
                session.execute(_WAIT[lock.shared], lock.key)
            except psycopg.errors.LockNotAvailable:
                holder = _holder(session, lock.key) or _NOBODY
            else:
                return
    raise LockHeld(f"{lock.name} is locked by {holder}; it is tried again later")


def _take_any(session: psycopg.Connection[Any], names: Sequence[Name], deadline: float) -> Name:
    while True:
        for lock in names:
            if _took(session, lock):
                return lock
        left = deadline - time.monotonic()
        if left <= 0:
            held = "; ".join(f"{lock.name} is locked by {_holder(session, lock.key) or _NOBODY}" for lock in names)
            raise LockHeld(f"{held}; it is tried again later")
        time.sleep(min(_PAUSE_SECONDS, left))


def _took(session: psycopg.Connection[Any], lock: Name) -> bool:
    """Take a lock if it is free."""
    row = session.execute(_TAKE[lock.shared], lock.key).fetchone()
    return row is not None and bool(row[0])


def _holder(session: psycopg.Connection[Any], key: tuple[int, int]) -> str | None:
    row = session.execute(_HOLDER, (key[0], key[1] % 2**32)).fetchone()
    if row is None:
        return None
    application, pid, since = row
    return f"{application or 'an unnamed session'} (pid {pid}, since {since:%Y-%m-%d %H:%M:%S} UTC)"
