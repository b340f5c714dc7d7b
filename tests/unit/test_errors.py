"""The tree of errors, and PostgreSQL's errors in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import adbc_driver_manager
import psycopg
import pytest
from psycopg.pq import DiagnosticField

from include import errors
from include.engines.postgres.errors import translated
from include.errors import (
    AccessDenied,
    BadRequest,
    ConnectionLost,
    DatabaseBusy,
    LockTimeout,
    PermanentError,
    RetailSyncError,
    SchemaMismatch,
    TransientError,
    ValueDoesNotFit,
)

DOING = "APP_4_SALES 2025-10: loading"


def tree(error: type[Exception], depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, error.__name__
    for child in error.__subclasses__():
        yield from tree(child, depth + 1)


def test_the_printed_tree_is_the_tree_of_classes() -> None:
    printed = re.findall(r"^([│ ]*)(?:[├└]── )?(\w+)(?: {2,}.*)?$", errors.__doc__ or "", re.MULTILINE)
    drawn = [(len(indent) // 4 + (name != "RetailSyncError"), name) for indent, name in printed]
    assert drawn == list(tree(RetailSyncError))


def test_each_error_says_whether_a_retry_helps() -> None:
    leaves = [error for error in vars(errors).values() if isinstance(error, type) and not error.__subclasses__()]
    assert len(leaves) > 10
    assert [error for error in leaves if issubclass(error, TransientError) == issubclass(error, PermanentError)] == []


def test_each_error_is_described() -> None:
    assert [name for _, name in tree(RetailSyncError) if not vars(errors)[name].__doc__] == []


def driver_error(sqlstate: str, context: str | None = None) -> psycopg.Error:
    """Return what psycopg raises for an answer of the server, with everything that it may say."""
    said = {
        DiagnosticField.SQLSTATE: sqlstate,
        DiagnosticField.MESSAGE_PRIMARY: "what went wrong",
        DiagnosticField.MESSAGE_DETAIL: "Key (ID)=(4711) already exists.",
        DiagnosticField.MESSAGE_HINT: "a hint",
        DiagnosticField.CONTEXT: context,
    }
    return psycopg.errors.lookup(sqlstate)(
        "what went wrong\nDETAIL:  Key (ID)=(4711) already exists.",
        info={field: text and text.encode() for field, text in said.items()},
    )


def translation(error: Exception) -> RetailSyncError:
    with pytest.raises(RetailSyncError) as raised, translated(DOING):
        raise error
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    return raised.value


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("08000", ConnectionLost),
        ("08006", ConnectionLost),
        ("57P01", ConnectionLost),
        ("57P02", ConnectionLost),
        ("57P03", ConnectionLost),
        ("25P03", ConnectionLost),
        ("25P04", ConnectionLost),
        ("40001", DatabaseBusy),
        ("40P01", DatabaseBusy),
        ("53100", DatabaseBusy),
        ("53300", DatabaseBusy),
        ("55P03", LockTimeout),
        ("57014", DatabaseBusy),
        ("58030", TransientError),
        ("XX000", TransientError),
        ("28000", AccessDenied),
        ("28P01", AccessDenied),
        ("3D000", AccessDenied),
        ("42501", AccessDenied),
        ("3F000", SchemaMismatch),
        ("42703", SchemaMismatch),
        ("42P01", SchemaMismatch),
        ("22001", ValueDoesNotFit),
        ("22003", ValueDoesNotFit),
        ("22007", ValueDoesNotFit),
        ("22021", ValueDoesNotFit),
        ("22P03", ValueDoesNotFit),
        ("0A000", PermanentError),
        ("23502", PermanentError),
        ("23505", PermanentError),
        ("23514", PermanentError),
        ("25006", PermanentError),
        ("42601", PermanentError),
        ("42804", PermanentError),
        ("P0001", PermanentError),
    ],
)
def test_each_sqlstate_has_its_place_in_the_tree(sqlstate: str, expected: type[RetailSyncError]) -> None:
    error = translation(driver_error(sqlstate))
    assert type(error) is expected
    assert str(error).startswith(f"{DOING}: what went wrong [{sqlstate}] (")


def test_a_message_holds_nothing_of_a_row() -> None:
    for sqlstate in ("23505", "22001", "40P01", "P0001"):
        told = str(translation(driver_error(sqlstate, 'COPY copy_SALES, line 2, column CUSTOMER_NAME: "4711"')))
        assert "4711" not in told
        assert "DETAIL" not in told
        assert "\n" not in told


def test_the_column_of_a_value_is_named() -> None:
    told = str(translation(driver_error("22001", "COPY copy_SALES, line 2, column CUSTOMER_NAME")))
    assert told.startswith(f"{DOING}, column CUSTOMER_NAME: what went wrong")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("consuming input failed: server closed the connection unexpectedly\n\tThis probably means", ConnectionLost),
        ("the connection is closed", ConnectionLost),
        ('connection to server at "h", port 5432 failed: Connection refused\n\tIs the server running', ConnectionLost),
        ("connection timeout expired", ConnectionLost),
        ('connection failed: FATAL:  password authentication failed for user "reader"', AccessDenied),
        ("connection failed: fe_sendauth: no password supplied", AccessDenied),
        ('connection failed: FATAL:  no pg_hba.conf entry for host "10.0.0.1"', AccessDenied),
        ('connection failed: FATAL:  role "reader" does not exist', AccessDenied),
        ('connection failed: FATAL:  database "pos" does not exist', AccessDenied),
        ("connection failed: FATAL:  sorry, too many clients already", DatabaseBusy),
        ("connection failed: FATAL:  remaining connection slots are reserved for roles", DatabaseBusy),
    ],
)
def test_a_lost_link_has_only_a_text(text: str, expected: type[RetailSyncError]) -> None:
    error = translation(psycopg.OperationalError(text))
    assert type(error) is expected
    assert str(error).startswith(f"{DOING}: {text.splitlines()[0]} [")


def test_a_mistake_of_ours_is_not_taken_for_a_lost_link() -> None:
    assert type(translation(psycopg.ProgrammingError("the query has 1 placeholder"))) is PermanentError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (adbc_driver_manager.OperationalError, ConnectionLost),
        (adbc_driver_manager.ProgrammingError, PermanentError),
    ],
)
def test_errors_of_adbc_are_ours_too(error: type[adbc_driver_manager.Error], expected: type[RetailSyncError]) -> None:
    status = adbc_driver_manager.AdbcStatusCode.IO
    found = translation(error("what went wrong\nDETAIL: 4711", status_code=status))
    assert type(found) is expected
    assert str(found).startswith(f"{DOING}: what went wrong")
    assert "4711" not in str(found)
    with_state = translation(error("what went wrong", status_code=status, sqlstate="40P01"))
    assert type(with_state) is DatabaseBusy


def test_what_is_no_error_of_a_driver_passes() -> None:
    ours, other = BadRequest("no such table"), ZeroDivisionError()
    for error in (ours, other):
        with pytest.raises(type(error)) as raised, translated(DOING):
            raise error
        assert raised.value is error
