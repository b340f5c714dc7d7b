"""SQL Server's errors as errors of this project: by number, by SQLSTATE, by text, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

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

Kind = tuple[type[RetailSyncError], str]

_LINK: Kind = (ConnectionLost, "is the server reachable?")
_LOGIN_TIMEOUT: Kind = (ConnectionLost, "the server did not answer in time; is it reachable?")
_BUSY: Kind = (DatabaseBusy, "the server is short of resources, it is tried again")
_DEADLOCK: Kind = (DatabaseBusy, "the server rolled the transaction back; it is tried again")
_CANCELLED: Kind = (DatabaseBusy, "the statement was cancelled or ran into the timeout query_timeout")
_FIT: Kind = (ValueDoesNotFit, "widen the column in the warehouse, or mend the value at the source")
_DUPLICATE: Kind = (PermanentError, "the source has a key twice; correct `key` in the catalog or the rows")
_CONSTRAINT: Kind = (PermanentError, "the rows break a constraint of the warehouse table")
_MISSING: Kind = (SchemaMismatch, "run `python -m include migrate`")
_COLUMN: Kind = (SchemaMismatch, "run `python -m include migrate`, or fetch the columns with `add-table`")
_LOGIN: Kind = (AccessDenied, "check login, password and database of the connection")
_RIGHT: Kind = (AccessDenied, "grant the right, see `python -m include check`")
_STATEMENT: Kind = (PermanentError, "the server refused the statement")
_UNKNOWN: Kind = (PermanentError, "see the server's log")

#: The server's own numbers. (sys.messages; Azure SQL, transient fault errors)
_BY_NUMBER: dict[int, Kind] = {
    **dict.fromkeys((1205, 3960, 3961), _DEADLOCK),
    1222: (LockTimeout, "a lock was not to be had in time"),
    **dict.fromkeys((64, 233, 10053, 10054, 10060, 10061, 11001, 976, 978, 983, 40613, 42108, 42109), _LINK),
    **dict.fromkeys((40197, 40501, 40540, 49918, 49919, 49920, 10928, 10929, 701, 802, 1105, 9002, 8645, 8651), _BUSY),
    **dict.fromkeys((8152, 2628, 8115, 220, 232, 8114, 241, 242, 244, 245, 248, 295, 517, 8169, 9420), _FIT),
    **dict.fromkeys((2627, 2601), _DUPLICATE),
    **dict.fromkeys((547, 515), _CONSTRAINT),
    208: _MISSING,
    **dict.fromkeys((207, 4902, 4924), _COLUMN),
    **dict.fromkeys((18456, 18452, 18470, 18486, 18487, 18488, 4060, 916, 40615, 47089), _LOGIN),
    **dict.fromkeys((229, 230, 262, 300, 297, 2760, 15247), _RIGHT),
    3906: (PermanentError, "the database is read-only; is it the right server?"),
}
#: The longest matching prefix decides.
_BY_SQLSTATE: dict[str, Kind] = {
    "08": _LINK,
    "22": _FIT,
    "23": _CONSTRAINT,
    "28": _LOGIN,
    "40": _DEADLOCK,
    "42": _STATEMENT,
    "42S02": _MISSING,
    "42S22": _COLUMN,
    "HYT": _LOGIN_TIMEOUT,
    "HY008": _CANCELLED,
    "S1T00": _LOGIN_TIMEOUT,
}
#: For errors that come without a number: mssql-python's, a bulk copy's, those of other engines.
_BY_TEXT: list[tuple[str, Kind]] = [
    (r"deadlock", _DEADLOCK),
    (r"[Ll]ogin failed|[Cc]annot open database|authentication failed", _LOGIN),
    (r"permission (was )?denied", _RIGHT),
    (r"[Ll]ogin timeout|timed? ?out", _LOGIN_TIMEOUT),
    (r"[Cc]onnection (was |is )?(closed|lost|broken|reset|refused|aborted)|[Uu]nexpected (EOF|end of)", _LINK),
    (r"unable to establish|TCP Provider|[Bb]roken pipe|Communication link|server closed", _LINK),
    (r"would be truncated|value too long|right[- ]truncat|[Cc]onversion failed", _FIT),
    (r"[Aa]rithmetic overflow|out[- ]of[- ]range|numeric field overflow", _FIT),
    (r"duplicate key", _DUPLICATE),
    (r"Invalid object name|relation .* does not exist|[Cc]annot find the object|view not found", _MISSING),
    (r"Invalid column name|column .* does not exist", _COLUMN),
    (r"panic", (TransientError, "the driver failed, it is tried again")),
]

_NUMBER = re.compile(r"\((-?\d+)\) \(SQL\w+\)")
_ORIGIN = re.compile(r"^(?:\[[^\]]*\]\s*)+")
#: What may hold a value of a row, and what is left of it.
_VALUES = [
    (re.compile(r"(duplicate key value is )\(.*?\)(?=\.|$)", re.DOTALL), r"\1(…)"),
    (re.compile(r"(Truncated value: )'.*?'(?=\.|$)", re.DOTALL), r"\1'…'"),
    (re.compile(r"(\bvalues? )'.*?'", re.DOTALL), r"\1'…'"),
    (re.compile(r"(Key )\(.*?\)=\(.*?\)", re.DOTALL), r"\1(…)"),
    (re.compile(r'"[^"]*"'), '"…"'),
]


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """
    Raise the drivers' errors as ours; what is ours already passes.

    The driver's own error is not chained: its text can hold values of a row, and whatever
    is chained ends up in a task's log.

    :param doing: what was tried, with table and window: the beginning of the message.
    """
    try:
        yield
    except Exception as error:
        if not is_driver_error(error):
            raise
        raise translation(doing, error) from None


def is_driver_error(error: BaseException) -> bool:
    """Whether an error comes from pyodbc, mssql-python or the Rust below it."""
    return type(error).__module__.partition(".")[0] in ("pyodbc", "mssql_python", "mssql_py_core", "pyo3_runtime")


def translation(doing: str, error: BaseException) -> RetailSyncError:
    """Return a driver's error as ours."""
    sqlstate, number, text = _parts(error)
    kind, remedy = _kind(sqlstate, number, text)
    for pattern, left in _VALUES:
        text = pattern.sub(left, text)
    code = number if number else sqlstate
    shown = f" [{code}]" if code else ""
    return kind(f"{doing}: {text.strip()}{shown} ({remedy})")


def _kind(sqlstate: str, number: int, text: str) -> Kind:
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    # a SQLSTATE of the class of statements says little: other engines put all their errors there
    vague = sqlstate in ("", "HY000", "42000", "01000", "00000")
    found = next((kind for pattern, kind in _BY_TEXT if re.search(pattern, text)), None)
    if vague and found:
        return found
    prefixes = [known for known in _BY_SQLSTATE if sqlstate.startswith(known)]
    return _BY_SQLSTATE[max(prefixes, key=len)] if prefixes else found or _UNKNOWN


def _parts(error: BaseException) -> tuple[str, int, str]:
    """Return SQLSTATE, the server's number and the first message, "" or 0 where the driver does not tell."""
    if (server := getattr(error, "ddbc_error", None)) is not None:  # mssql-python keeps neither code
        said = getattr(error, "driver_error", "")
        return "", 0, f"{_ORIGIN.sub('', server)} ({said})" if server else said
    if len(error.args) == 2 and all(isinstance(part, str) for part in error.args):
        sqlstate, text = error.args
        found = _NUMBER.search(text)
        first = text[: found.start()] if found else text
        return sqlstate, int(found[1]) if found else 0, _ORIGIN.sub("", first)
    return "", 0, str(error).partition("\n")[0] or type(error).__name__
