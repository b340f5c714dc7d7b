"""SQL Server's errors as errors of this project: by number, by SQLSTATE, by text, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from include.errors import (
    AccessDenied,
    BreaksConstraint,
    ConnectionLost,
    DatabaseBusy,
    LockTimeout,
    NotConfigured,
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
_LOCKED: Kind = (LockTimeout, "a lock was not to be had in time")
_FIT: Kind = (ValueDoesNotFit, "widen the column in the warehouse, or mend the value at the source")
_DUPLICATE: Kind = (BreaksConstraint, "the source has a key twice; correct `key` in the catalog or the rows")
_CONSTRAINT: Kind = (BreaksConstraint, "the rows break a constraint of the warehouse table")
_MISSING: Kind = (SchemaMismatch, "run `python -m include migrate`")
_COLUMN: Kind = (SchemaMismatch, "run `python -m include migrate`, or fetch the columns with `add-table`")
_LOGIN: Kind = (AccessDenied, "check login, password and database of the connection")
_RIGHT: Kind = (AccessDenied, "grant the right, see `python -m include check`")
_LIBRARY: Kind = (NotConfigured, "pip install mssql-python-odbc, or name a driver in the extra `driver`")
_CERTIFICATE: Kind = (NotConfigured, "trust the server's certificate here, or set the extra trust_server_certificate")
_STATEMENT: Kind = (PermanentError, "the server refused the statement")
_FAILED: Kind = (TransientError, "the driver failed, it is tried again")
_UNKNOWN: Kind = (PermanentError, "see the server's log")

#: The server's own numbers. (sys.messages; Azure SQL, transient fault errors)
_BY_NUMBER: dict[int, Kind] = {
    **dict.fromkeys((1205, 3960, 3961), _DEADLOCK),
    1222: _LOCKED,
    **dict.fromkeys((64, 233, 10053, 10054, 10060, 10061, 11001, 976, 978, 983, 4221, 40613, 42108, 42109), _LINK),
    **dict.fromkeys((40197, 40501, 40540, 49918, 49919, 49920, 10928, 10929, 701, 802, 1105, 9002, 8645, 8651), _BUSY),
    **dict.fromkeys((8152, 2628, 8115, 220, 232, 8114, 241, 242, 244, 245, 248, 295, 517, 4815, 8169, 9420), _FIT),
    **dict.fromkeys((2627, 2601, 1505), _DUPLICATE),
    # 1946: a key is longer than an index takes
    **dict.fromkeys((547, 515, 1946), _CONSTRAINT),
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
    "HYT00": _CANCELLED,
    "HYT01": _LOGIN_TIMEOUT,
    "HY008": _CANCELLED,
    "IM": _LIBRARY,
}
#: For errors without a known number: mssql-python's, a bulk copy's, those of other engines; the first match decides.
_BY_TEXT: list[tuple[str, Kind]] = [
    (r"deadlock", _DEADLOCK),
    (r"lock request time ?out|lock timeout", _LOCKED),
    (r"certificate (verify failed|has expired|validation|mismatch)|TLS handshake failed", _CERTIFICATE),
    (r"can't open lib|failed to load the driver|cannot open shared object|no default driver", _LIBRARY),
    (r"login failed|cannot open database|authentication failed", _LOGIN),
    (r"permission (was )?denied", _RIGHT),
    (r"(query|statement) timeout|bulk copy operation timed out", _CANCELLED),
    (r"timed? ?out", _LOGIN_TIMEOUT),
    (r"would be truncated|value too long|right[- ]truncat|conversion failed|invalid input syntax", _FIT),
    (r"out[- ]of[- ]range|overflow|non-finite float", _FIT),
    (r"duplicate key", _DUPLICATE),
    (r"insert (the value )?null|null value in column|violates .* constraint", _CONSTRAINT),
    (r"invalid object name|relation .* does not exist|cannot find the object|view not found", _MISSING),
    (r"invalid column name|column .* does not exist|cannot map arrow column|column mapping", _COLUMN),
    (r"connection (was |is |has been )?(closed|lost|broken|reset|refused|aborted)|unexpected (eof|end of)", _LINK),
    (r"unable to establish|failed to connect|tcp provider|broken pipe|communication link|server closed", _LINK),
    (r"\bIO error|connection error|connection operation failed|lookup address|unreachable", _LINK),
    (r"panic|protocol error", _FAILED),
]
#: What mssql-python says instead of a SQLSTATE. (its exceptions.py, sqlstate_to_exception)
_SPOKEN: dict[str, str] = {
    "Client unable to establish connection": "08001",
    "Connection not open": "08003",
    "Server rejected the connection": "08004",
    "Connection failure during transaction": "08007",
    "Communication link failure": "08S01",
    "String data, right-truncated": "22001",
    "Numeric value out of range": "22003",
    "Invalid datetime format": "22007",
    "Datetime field overflow": "22008",
    "Invalid character value for cast specification": "22018",
    "Integrity constraint violation": "23000",
    "Invalid authorization specification": "28000",
    "Serialization failure": "40001",
    "Syntax error or access violation": "42000",
    "Base table or view not found": "42S02",
    "Column not found": "42S22",
    "General error": "HY000",
    "Operation canceled": "HY008",
    "Timeout expired": "HYT00",
    "Connection timeout expired": "HYT01",
}

#: pyodbc: the server's number and the ODBC function, behind the text of the first message.
_NUMBER = re.compile(r" \((-?\d+)\) \(SQL\w+\)")
_ORIGIN = re.compile(r"^(?:\[[^\]]*\]\s*)+")
#: mssql-python, where its cursor passes on what the C++ below it raises.
_STATE = re.compile(r"SQLSTATE:(\w{5}):")
#: A bulk copy, whose core is in Rust: ``Sql Error: 208: Class 16: State 1: text on server in procedure at line 1``.
_CORE = re.compile(r"Sql Error: (\d+): Class \d+: State \d+: ")
_PLACE = re.compile(r" on \S* in \S* at line \d+$")

#: What may hold a value of a row, and what is left of it; greedy, for a value may hold quotes and brackets itself.
_VALUES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern, re.DOTALL), left)
    for pattern, left in (
        (r"(duplicate key value is |Truncated value: |, value = ).*", r"\1…"),
        (r"(\bvalues? )'.*'", r"\1'…'"),
        (r"(\b(?:string|parsing) )'.*'(?= for | to |$)", r"\1'…'"),
        (r"(\bKey )\(.*\)", r"\1(…)"),
        (r'((?:: |\bvalue ))".*"', r'\1"…"'),
        (r"(\b(?:Value|value|Date) )\(?-?\d[\d.e+-]*\)?", r"\1…"),
    )
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
        cause = getattr(error, "orig", None) or error  # what SQLAlchemy wraps
        if not is_driver_error(cause):
            raise
        raise translation(doing, cause) from None


def is_driver_error(error: BaseException) -> bool:
    """Whether an error comes from pyodbc, mssql-python or the Rust below it."""
    if isinstance(error, RuntimeError) and _STATE.match(str(error)):
        return True
    return type(error).__module__.partition(".")[0] in ("pyodbc", "mssql_python", "mssql_py_core", "pyo3_runtime")


def translation(doing: str, error: BaseException) -> RetailSyncError:
    """Return a driver's error as ours."""
    sqlstate, number, text = _parts(error)
    kind, remedy = _kind(sqlstate, number, text) or _otherwise(error)
    for pattern, left in _VALUES:
        text = pattern.sub(left, text)
    if kind is ValueDoesNotFit:
        text = re.sub(r'".*"', '"…"', text, flags=re.DOTALL)
    code = number or sqlstate
    shown = f" [{code}]" if code else ""
    return kind(f"{doing}: {' '.join(text.split())}{shown} ({remedy})")


def _kind(sqlstate: str, number: int, text: str) -> Kind | None:
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    # before the SQLSTATE, which says little: other engines have one for nearly all their errors
    for pattern, kind in _BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            return kind
    prefixes = [known for known in _BY_SQLSTATE if sqlstate.startswith(known)]
    return _BY_SQLSTATE[max(prefixes, key=len)] if prefixes else None


def _otherwise(error: BaseException) -> Kind:
    """Return the kind of an error that says nothing known: a bulk copy's ValueErrors are about values."""
    if type(error).__module__ == "pyo3_runtime":
        return _FAILED
    return _FIT if isinstance(error, ValueError) else _UNKNOWN


def _parts(error: BaseException) -> tuple[str, int, str]:
    """Return SQLSTATE, the server's number and the first message, "" or 0 where the driver does not tell."""
    if (server := getattr(error, "ddbc_error", None)) is not None:  # mssql-python keeps neither code
        said = str(getattr(error, "driver_error", ""))
        return _SPOKEN.get(said, ""), 0, _ORIGIN.sub("", server) or said
    if len(error.args) == 2 and all(isinstance(part, str) for part in error.args):
        sqlstate, text = error.args
        found = _NUMBER.search(text)
        first = text[: found.start()] if found else text
        return sqlstate, int(found[1]) if found else 0, _ORIGIN.sub("", first)
    text = str(error).strip() or type(error).__name__
    if found := _STATE.match(text):
        return found[1], 0, _ORIGIN.sub("", text[found.end() :])
    if found := _CORE.search(text):
        return "", int(found[1]), _PLACE.sub("", text[found.end() :].partition("\n")[0])
    return "", 0, text.partition("\n")[0]
