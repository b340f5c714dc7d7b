"""What the drivers were recorded to say, as errors of this project: class, remedy, and nothing of a row."""

from __future__ import annotations

from typing import Any

import mssql_python.exceptions
import pytest

from include.engines.mssql import errors
from include.engines.mssql.errors import translated, translation
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

_ODBC = "[ODBC Driver 18 for SQL Server]"
_DRIVER = f"[Microsoft]{_ODBC}"


def odbc(sqlstate: str, text: str, number: int | None, function: str = "SQLExecDirectW", server: bool = True) -> Any:
    """Return an error as pyodbc raises it: the SQLSTATE, and the messages with number and function behind."""
    origin = f"[{sqlstate}] {_DRIVER}{'[SQL Server]' if server else ''}"
    kind = type("Error", (Exception,), {"__module__": "pyodbc"})
    return kind(sqlstate, f"{origin}{text} ({number}) ({function}); [01000] {_DRIVER}[SQL Server]More. (3621)")


NUMBERED: list[tuple[str, int, str, type[RetailSyncError]]] = [
    ("40001", 1205, "Transaction (Process ID 71) was deadlocked on lock resources with another process", DatabaseBusy),
    ("42000", 1222, "Lock request time out period exceeded.", LockTimeout),
    ("42000", 3960, "Snapshot isolation transaction aborted due to update conflict.", DatabaseBusy),
    ("08S01", 10054, "TCP Provider: Error code 0x2746", ConnectionLost),
    ("08S01", 10060, "TCP Provider: Error code 0x274C", ConnectionLost),
    ("08001", 10061, "TCP Provider: Error code 0x274D", ConnectionLost),
    ("08S01", 0, "Communication link failure", ConnectionLost),
    ("HYT00", 0, "Login timeout expired", ConnectionLost),
    ("HYT01", 0, "Connection timeout expired", ConnectionLost),
    ("HYT00", 0, "Query timeout expired", DatabaseBusy),
    ("08001", -1, "SSL Provider: [error:0A000086:SSL routines::certificate verify failed:self-signed]", NotConfigured),
    ("IM002", 0, "Data source name not found and no default driver specified", NotConfigured),
    ("01000", 0, "Can't open lib '/nowhere.so' : file not found", NotConfigured),
    ("HY000", 40197, "The service has encountered an error processing your request. Please try again.", DatabaseBusy),
    ("HY000", 40501, "The service is currently busy. Retry the request after 10 seconds.", DatabaseBusy),
    ("HY000", 40613, "Database 'x' on server 'y' is not currently available.", ConnectionLost),
    ("HY000", 49918, "Cannot process request. Not enough resources to process request.", DatabaseBusy),
    ("HY000", 10928, "Resource ID: 1. The request limit for the database is 100 and has been reached.", DatabaseBusy),
    ("42000", 9002, "The transaction log for database 'x' is full", DatabaseBusy),
    ("23000", 547, "The INSERT statement conflicted with the CHECK constraint", BreaksConstraint),
    ("22001", 8152, "String or binary data would be truncated.", ValueDoesNotFit),
    ("22001", 2628, "String or binary data would be truncated in table 'd.t', column 'C'.", ValueDoesNotFit),
    ("22003", 8115, "Arithmetic overflow error converting numeric to data type numeric.", ValueDoesNotFit),
    ("22007", 241, "Conversion failed when converting date and/or time from character string.", ValueDoesNotFit),
    ("23000", 2627, "Violation of UNIQUE KEY constraint 'k'.", BreaksConstraint),
    ("23000", 2601, "Cannot insert duplicate key row in object 'd.t' with unique index 'k'.", BreaksConstraint),
    ("42S02", 208, "Invalid object name 'dbo.t'.", SchemaMismatch),
    ("42S22", 207, "Invalid column name 'c'.", SchemaMismatch),
    ("28000", 18456, "Login failed for user 'reader'.", AccessDenied),
    ("42000", 4060, 'Cannot open database "x" requested by the login. The login failed.', AccessDenied),
    ("42000", 229, "The SELECT permission was denied on the object 't'", AccessDenied),
    ("42000", 262, "CREATE TABLE permission denied in database 'x'.", AccessDenied),
    ("25000", 3906, "Failed to update database 'x' because the database is read-only.", PermanentError),
    # what another engine behind the protocol says, with a number of its own or none
    ("42000", 33557097, 'duplicate key value violates unique constraint "k"', BreaksConstraint),
    ("42000", 33557097, "value too long for type character varying(5)", ValueDoesNotFit),
    ("42000", 33557097, "permission denied for table t", AccessDenied),
    ("HY000", 0, "deadlock detected", DatabaseBusy),
    ("42000", 102, "Incorrect syntax near 'FROM'.", PermanentError),
]


@pytest.mark.parametrize(("sqlstate", "number", "text", "kind"), NUMBERED, ids=lambda value: str(value)[:30])
def test_an_error_of_pyodbc_is_told_by_its_number(
    sqlstate: str, number: int, text: str, kind: type[RetailSyncError]
) -> None:
    found = translation("SALES 2025-10: publishing", odbc(sqlstate, text, number))
    assert type(found) is kind
    message = str(found)
    assert message.startswith("SALES 2025-10: publishing: ")
    assert "(" in message
    assert "More." not in message
    assert "Microsoft" not in message
    assert str(number or sqlstate) in message


SPOKEN = [
    ("Client unable to establish connection", f"[Microsoft]{_ODBC}TCP Provider: Error code 0x2749", ConnectionLost),
    ("Timeout expired", f"[Microsoft]{_ODBC}Login timeout expired", ConnectionLost),
    (
        "Invalid authorization specification",
        f"[Microsoft]{_ODBC}[SQL Server]Login failed for user 'reader'.",
        AccessDenied,
    ),
    (
        "Serialization failure",
        f"[Microsoft]{_ODBC}[SQL Server]Transaction was deadlocked on lock resources",
        DatabaseBusy,
    ),
    ("Base table or view not found", f"[Microsoft]{_ODBC}[SQL Server]Invalid object name 'dbo.t'.", SchemaMismatch),
    ("Column not found", f"[Microsoft]{_ODBC}[SQL Server]Invalid column name 'c'.", SchemaMismatch),
    ("Communication link failure", f"[Microsoft]{_ODBC}Communication link failure", ConnectionLost),
    (
        "Syntax error or access violation",
        f"[Microsoft]{_ODBC}[SQL Server]The SELECT permission was denied",
        AccessDenied,
    ),
    ("Syntax error or access violation", f"[Microsoft]{_ODBC}[SQL Server]Incorrect syntax near 'x'.", PermanentError),
    (
        "Syntax error or access violation",
        f"[Microsoft]{_ODBC}[SQL Server]Lock request time out period exceeded.",
        LockTimeout,
    ),
    ("Timeout expired", f"[Microsoft]{_ODBC}Query timeout expired", DatabaseBusy),
    ("Integrity constraint violation", f"[Microsoft]{_ODBC}[SQL Server]Violation of KEY 'k'.", BreaksConstraint),
    ("Numeric value out of range", f"[Microsoft]{_ODBC}[SQL Server]Too much.", ValueDoesNotFit),
    ("Serialization failure", f"[Microsoft]{_ODBC}[SQL Server]could not serialize access", DatabaseBusy),
    ("Connection operation failed", "Failed to load the driver. Please read the documentation", NotConfigured),
]


@pytest.mark.parametrize(("said", "text", "kind"), SPOKEN, ids=lambda value: str(value)[:40])
def test_an_error_of_mssql_python_is_told_by_its_text(said: str, text: str, kind: type[RetailSyncError]) -> None:
    found = translation("reading", mssql_python.exceptions.OperationalError(said, text))
    assert type(found) is kind
    assert "[Microsoft]" not in str(found)


def test_the_words_of_mssql_python_are_known() -> None:
    for words, sqlstate in errors._SPOKEN.items():
        error = mssql_python.exceptions.sqlstate_to_exception(sqlstate, "")
        assert error is not None
        assert error.driver_error == words


def test_what_the_cpp_below_mssql_python_raises_is_told_by_its_sqlstate() -> None:
    with (
        pytest.raises(ConnectionLost, match=r"reading: Link gone \[08S01\] \(is the server reachable"),
        translated("reading"),
    ):
        raise RuntimeError("SQLSTATE:08S01:[Microsoft][ODBC Driver 18 for SQL Server]Link gone")


def said(number: int, text: str) -> str:
    """Return how the core of a bulk copy shows an error of the server."""
    return f"Sql Error: {number}: Class 16: State 1: {text} on sql01\\POS in  at line 1"


@pytest.mark.parametrize(
    ("error", "kind", "shown"),
    [
        (
            RuntimeError("Failed to connect to SQL Server: IO error: Connection refused (os error 111)"),
            ConnectionLost,
            "",
        ),
        (
            RuntimeError("Failed to connect to SQL Server: IO error: failed to lookup address information"),
            ConnectionLost,
            "",
        ),
        (RuntimeError("Failed to connect to SQL Server: Timeout Error: Timeout while connecting"), ConnectionLost, ""),
        (
            RuntimeError("Failed to connect to SQL Server: " + said(18456, "Login failed for user 'u'.")),
            AccessDenied,
            "18456",
        ),
        (
            RuntimeError("Failed to retrieve destination metadata: " + said(208, "Invalid object name 't'.")),
            SchemaMismatch,
            "208",
        ),
        (
            RuntimeError(said(2628, "Too long.") + "\n" + said(3621, "The statement has been terminated.")),
            ValueDoesNotFit,
            "2628",
        ),
        (RuntimeError(said(1205, "Transaction was deadlocked on lock resources in a table.")), DatabaseBusy, "1205"),
        (RuntimeError("Connection is broken: attention"), ConnectionLost, ""),
        (RuntimeError("Protocol Error: unexpected token"), TransientError, ""),
        (TimeoutError("Bulk copy operation timed out after 30 seconds (5 rows copied)"), DatabaseBusy, ""),
        (ValueError("Cannot map Arrow column 'A' (Utf8) to SQL column 'A' (Int): not supported"), SchemaMismatch, ""),
        (ValueError("Cannot insert NULL value into non-nullable column 'C'"), BreaksConstraint, ""),
        (ValueError("Scale exceeds what the column takes"), ValueDoesNotFit, ""),
        (RuntimeError("called `Option::unwrap()` on a `None` value: the core panicked"), TransientError, ""),
        (RuntimeError("something else"), PermanentError, ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_of_a_bulk_copy_is_told_by_number_or_text(
    error: Exception, kind: type[RetailSyncError], shown: str
) -> None:
    found = translation("copying", error)
    assert type(found) is kind
    assert (f" [{shown}] (" in str(found)) is bool(shown)
    assert "sql01" not in str(found)
    assert "Class" not in str(found)


def test_a_panic_is_worth_a_retry_whatever_it_says() -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    assert type(translation("copying", panic("index out of bounds: the len is 3"))) is TransientError


@pytest.mark.parametrize(
    "text",
    [
        "Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (4711, secret).",
        "String or binary data would be truncated in table 'd.t', column 'C'. Truncated value: 'secret'.",
        "Conversion failed when converting the varchar value 'secret' to data type int.",
        'invalid input syntax for type integer: "secret"',
        "duplicate key value violates unique constraint. Key (id)=(secret) already exists.",
        "Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (a). b, secret).",
        "String or binary data would be truncated in table 'd.t', column 'C'. Truncated value: 'it's'. secret'.",
        "Conversion failed when converting the varchar value 'O'secret' to data type int.",
        "Conversion failed when converting the varchar value 'two\nlines: secret' to data type int.",
        'invalid input syntax for type integer: "a"secret"',
        "duplicate key value violates unique constraint. Key (id)=(a) secret) already exists.",
        "Invalid GUID string 'a' secret' for column 'C': too short",
    ],
)
def test_no_value_of_a_row_is_in_a_message(text: str) -> None:
    for error in (odbc("23000", text, 2627), mssql_python.exceptions.DataError("Data", text), RuntimeError(text)):
        assert "secret" not in str(translation("loading", error))


@pytest.mark.parametrize(
    "text",
    [
        "Arithmetic overflow error for data type tinyint, value = 4711.",
        "Value 4711 out of range for TINYINT column 'C'",
        "Non-finite float value (4711) is not allowed in column 'C'",
        "The conversion of the varchar value '4711' overflowed an INT1 column.",
    ],
)
def test_no_number_of_a_row_is_in_a_message(text: str) -> None:
    found = translation("loading", ValueError(text))
    assert type(found) is ValueDoesNotFit
    assert "4711" not in str(found)


def test_only_the_drivers_errors_are_translated_and_their_text_is_not_chained() -> None:
    with pytest.raises(ConnectionLost) as told, translated("reading"):
        raise odbc("08S01", "Communication link failure", 0)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__
    with pytest.raises(ValueError, match="ours"), translated("reading"):
        raise ValueError("ours")
