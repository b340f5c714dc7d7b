"""
Every error that the engine raises on purpose.

RetailSyncError
├── TransientError          worth a retry, nothing was changed half
│   ├── ConnectionLost      the link to a database broke or could not be made
│   ├── DatabaseBusy        deadlock victim, statement timeout, out of slots
│   │   └── LockTimeout     a table was not to be had in time
│   ├── LockHeld            another run works on the same thing
│   ├── SourceChanged       source and copy differ, the window has to be read again
│   ├── FeedUnavailable     a report was not to be had: timeouts, 429, 5xx, broken off
│   │   └── Unanswered      a request may be answered when it is made again
│   │       └── TimedOut    the answer did not come in time
│   ├── ReportChanged       the pages of a report do not fit together, it has to be read again
│   └── StreamBroken        a stream of changes broke off, it goes on where it was committed
└── PermanentError          a retry cannot help, somebody has to act
    ├── BadRequest          a parameter that makes no sense
    ├── CatalogError        tables.yaml or columns.json is wrong
    ├── NotConfigured       a connection or setting is missing
    ├── AccessDenied        login refused or a right is missing
    ├── SchemaMismatch      a table or column is missing or of another type
    │   └── UnknownColumns  changes of a followed table have columns that its copy does not
    ├── ValueDoesNotFit     the target's type cannot hold a value
    ├── BreaksConstraint    rows break a key or another rule of the target's table
    ├── ReportUnusable      a report lacks a column, answers another window, is not there
    ├── EmptySource         a table is empty at the source, its copy is not
    ├── NotReady            a followed database lacks what it needs; every problem is named
    ├── NeedsResync         the log that a stream has to read is gone
    └── CountMismatch       source and copy still differ after a repeat

Messages name table, window and step, and say what to do. They never hold a
password or the content of a row; a row that has to be mended is named by its key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


class RetailSyncError(Exception):
    """Base of all errors of this project."""


class TransientError(RetailSyncError):
    """Worth a retry: whatever was begun has been rolled back."""


class ConnectionLost(TransientError):
    """The link to a database broke or could not be made."""


class DatabaseBusy(TransientError):
    """The database gave up on us: deadlock victim, statement timeout, out of slots."""


class LockTimeout(DatabaseBusy):
    """Somebody else kept a table for longer than we were ready to wait."""


class LockHeld(TransientError):
    """Another run holds the lock of this window; the message says which."""


class SourceChanged(TransientError):
    """The copy does not equal what was read; the window has to be read again."""


class FeedUnavailable(TransientError):
    """A CRM did not give a report: timeouts, 429, 5xx, a connection that broke."""


class Unanswered(FeedUnavailable):
    """
    A request may be answered when it is made again.

    :param after: seconds that the server asks to wait.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class TimedOut(Unanswered):
    """The answer did not come in time: it may if less is asked for."""


class ReportChanged(TransientError):
    """The pages of a report do not fit together; it has to be read again."""


class StreamBroken(TransientError):
    """A stream of changes broke off; the next one goes on where the last transaction was committed."""


class PermanentError(RetailSyncError):
    """A retry cannot help."""


class BadRequest(PermanentError):
    """A parameter that makes no sense; nothing was started."""


class CatalogError(PermanentError):
    """The catalog is wrong; the message names file, table and field."""


class NotConfigured(PermanentError):
    """A connection or a setting is missing; the message says where to set it."""


class AccessDenied(PermanentError):
    """The login was refused, or it lacks a right."""


class SchemaMismatch(PermanentError):
    """A table or column is missing or has another type than the catalog says."""


class UnknownColumns(SchemaMismatch):
    """
    Changes of a followed database have columns that the target does not.

    :param columns: the new ones, by table.
    """

    def __init__(self, columns: Mapping[str, Collection[str]]) -> None:
        self.columns = columns
        names = "; ".join(f"{table}: {', '.join(sorted(new))}" for table, new in columns.items())
        super().__init__(f"columns that the target does not have: {names}")


class ValueDoesNotFit(PermanentError):
    """The target's type cannot hold a value of the source."""


class BreaksConstraint(PermanentError):
    """Rows break a key or another rule of the target's table."""


class ReportUnusable(PermanentError):
    """A report is not there, lacks a column, or is not of the window that was asked for."""


class EmptySource(PermanentError):
    """A table is empty at the source and its copy is not; somebody has to say that this is right."""


class NotReady(PermanentError):
    """A followed database lacks what it needs; the message has a line a problem, each with its remedy."""


class NeedsResync(PermanentError):
    """The log that a stream has to read is gone: only a new copy closes the gap."""


class CountMismatch(PermanentError):
    """Source and copy differ, also after the window was read a second time."""
