"""PostgreSQL's errors as errors of this project, by SQLSTATE, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager
import psycopg

from include.errors import (
    AccessDenied,
    ConnectionLost,
    DatabaseBusy,
    LockTimeout,
    PermanentError,
    RetailSyncError,
    SchemaMismatch,
    TransientError,
    ValueDoesNotFit,
)

#: The longest matching prefix of the SQLSTATE decides. (PostgreSQL manual, appendix A)
_KINDS: dict[str, tuple[type[RetailSyncError], str]] = {
    "": (PermanentError, "see the server's log"),
    "08": (ConnectionLost, "is the server reachable?"),
    "22": (ValueDoesNotFit, "widen the column in the warehouse, or mend the value at the source"),
    "23": (PermanentError, "the rows break a constraint of the warehouse table"),
    "23505": (PermanentError, "the source has a key twice; correct `key` in the catalog or the rows"),
    "25": (PermanentError, "the database is read-only or in the wrong state; is it the right server?"),
    "25P03": (ConnectionLost, "the server ended the session, see its idle_in_transaction_session_timeout"),
    "25P04": (ConnectionLost, "the server ended the session, see its transaction_timeout"),
    "28": (AccessDenied, "check login and password of the connection"),
    "3D000": (AccessDenied, "check the database name of the connection"),
    "3F000": (SchemaMismatch, "run `python -m include migrate`"),
    "40": (DatabaseBusy, "the server rolled the transaction back; it is tried again"),
    "42": (PermanentError, "the server refused the statement"),
    "42501": (AccessDenied, "grant the right, see `python -m include check`"),
    "42703": (SchemaMismatch, "run `python -m include migrate`, or fetch the columns with `add-table`"),
    "42P01": (SchemaMismatch, "run `python -m include migrate`"),
    "53": (DatabaseBusy, "the server is out of connections, memory or disk"),
    "55P03": (LockTimeout, "a lock was not to be had in time"),
    "57": (ConnectionLost, "the server ended the session"),
    "57014": (DatabaseBusy, "the statement was cancelled or ran into a timeout"),
    "58": (TransientError, "the server has trouble with its files"),
    "XX": (TransientError, "the server met an internal error, see its log"),
}
#: What a message about a value quotes is the value.
_QUOTED = re.compile(r'"[^"]*"')
_COLUMN = re.compile(r"column ([^\s:,]+)")
#: A snapshot ends with the session that exported it.
_LOST_SNAPSHOT = re.compile(r'snapshot "[^"]*" does not exist|invalid snapshot identifier')


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """
    Raise the drivers' errors as ours.

    The driver's own error is not chained: its text can hold values of a row, and whatever
    is chained ends up in a task's log.

    :param doing: what was tried, with table and window: the beginning of the message.
    """
    try:
        yield
    except psycopg.Error as error:
        raise translation(doing, error) from None
    except adbc_driver_manager.Error as error:
        raise _translate(doing, error.sqlstate, _first_line(error), error) from None


def translation(doing: str, error: psycopg.Error) -> RetailSyncError:
    """Return a driver's error as ours."""
    return _translate(doing, error.sqlstate, error.diag.message_primary or _first_line(error), error)


def _translate(doing: str, sqlstate: str | None, text: str, error: Exception) -> RetailSyncError:
    if _LOST_SNAPSHOT.search(text):
        sqlstate = "57P01"
    if not sqlstate:
        lost = isinstance(error, psycopg.OperationalError | adbc_driver_manager.OperationalError)
        sqlstate = _login_sqlstate(text) if lost else ""
    prefix = max((known for known in _KINDS if sqlstate.startswith(known)), key=len)
    kind, remedy = _KINDS[prefix]
    if kind is ValueDoesNotFit:
        text = _QUOTED.sub('"…"', text)
    column = ""
    if isinstance(error, psycopg.Error) and (found := _COLUMN.search(error.diag.context or "")):
        column = f", column {found[1]}"
    code = f" [{sqlstate}]" if sqlstate else ""
    return kind(f"{doing}{column}: {text}{code} ({remedy})")


def _login_sqlstate(text: str) -> str:
    """A failed connect has no SQLSTATE, only libpq's text; every other loss is one of the link."""
    if "authentication failed" in text or "no pg_hba.conf entry" in text or "no password supplied" in text:
        return "28000"
    if re.search(r'(database|role) ".*" does not exist', text):
        return "3D000" if "database" in text else "28000"
    if "too many clients" in text or "remaining connection slots" in text:
        return "53300"
    return "08006"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
