"""Sessions with SQL Server: the ODBC driver, the connection string, SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from include.connections import Connection
from include.engines.mssql.errors import is_driver_error, translated, translation
from include.engines.mssql.odbc import find_driver, load_pyodbc
from include.errors import NotConfigured

if TYPE_CHECKING:
    import pyodbc

_PORT = 1433
_LOGIN_TIMEOUT = 15
_LONGEST_APPLICATION = 128

_TRUE = {"true", "yes", "1", "on"}
_FALSE = {"false", "no", "0", "off"}
_ENCRYPT = {"strict": "strict", "mandatory": "yes", "optional": "no"}
_INTENTS = {"readonly": "ReadOnly", "readwrite": "ReadWrite"}


def connect(
    connection: Connection, application: str, *, read_only: bool = False, autocommit: bool = False
) -> pyodbc.Connection:
    """
    Open a session by pyodbc.

    :raises ConnectionLost: if the server is not reachable.
    :raises AccessDenied: if it refuses the login.
    :raises NotConfigured: if a library or an extra of the connection is missing or wrong.
    """
    driver = load_pyodbc()
    text = odbc_string(connection, application, read_only=read_only, driver=find_driver(connection))
    with translated(f"connecting to {connection}"):
        session = driver.connect(text, autocommit=autocommit, timeout=login_timeout(connection))
    session.timeout = query_timeout(connection)
    return session


def odbc_string(connection: Connection, application: str, *, read_only: bool, driver: str | None = None) -> str:
    """
    Return the ODBC connection string; what people choose is in braces, so that it may hold anything.

    :param application: what the server shows of the session, cut to 128 characters.
    :param read_only: whether read-only intent is the default; the extra ``application_intent`` decides.
    :param driver: name or path of the driver, None for mssql-python, which brings its own.
    """
    given = _extra(connection, "application_intent", "ReadOnly" if read_only else "ReadWrite")
    intent = _INTENTS.get(str(given).lower().replace("_", ""))
    if intent is None:
        raise NotConfigured(f"connection {connection.id!r}: extra application_intent is ReadOnly or ReadWrite")
    parts = {
        **({"Driver": _braced(driver), "APP": _braced(application[:_LONGEST_APPLICATION])} if driver else {}),
        "Server": f"tcp:{connection.host},{connection.port or _PORT}",
        **{
            name: _braced(value)
            for name, value in {
                "Database": connection.database,
                "UID": connection.login,
                "PWD": connection.password,
            }.items()
            if value
        },
        "Encrypt": _encrypt(connection),
        "TrustServerCertificate": "yes" if flag(connection, "trust_server_certificate", default=False) else "no",
        "ApplicationIntent": intent,
        # a session that is quietly replaced would have lost its locks and its transaction
        "ConnectRetryCount": "0",
    }
    return ";".join(f"{name}={value}" for name, value in parts.items()) + ";"


def sqlalchemy_engine(connection: Connection, application: str = "retail-sync") -> sa.Engine:
    """
    Return an SQLAlchemy engine that opens and closes a session for each use.

    What the driver raises arrives as an error of ours, not wrapped in one of SQLAlchemy's.
    """
    load_pyodbc()
    engine = sa.create_engine(
        "mssql+pyodbc://", creator=lambda: connect(connection, application), poolclass=sa.pool.NullPool
    )

    explored: list[sa.Connection] = []

    @sa.event.listens_for(engine, "engine_connect")
    def _note(session: sa.Connection) -> None:
        explored[:] = [session]

    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: sa.engine.ExceptionContext) -> Exception | None:
        error = context.original_exception
        # before that SQLAlchemy asks the server what it can, and takes its own errors for a no
        return translation(str(connection), error) if explored and is_driver_error(error) else None

    return engine


def login_timeout(connection: Connection) -> int:
    """Return how many seconds a login may take."""
    return _seconds(connection, "login_timeout", _LOGIN_TIMEOUT)


def query_timeout(connection: Connection) -> int:
    """Return how many seconds a statement may take, 0 for any time."""
    return _seconds(connection, "query_timeout", 0)


def flag(connection: Connection, name: str, *, default: bool) -> bool:
    """
    Return an extra of the connection that is true or false.

    :raises NotConfigured: if it is neither.
    """
    value = str(_extra(connection, name, default)).lower()
    if value not in _TRUE | _FALSE:
        raise NotConfigured(f"connection {connection.id!r}: extra {name} is true or false")
    return value in _TRUE


def _encrypt(connection: Connection) -> str:
    value = str(_extra(connection, "encrypt", default="yes")).lower()
    if value in _ENCRYPT:
        return _ENCRYPT[value]
    if value not in _TRUE | _FALSE:
        raise NotConfigured(f"connection {connection.id!r}: extra encrypt is yes, no or strict")
    return "yes" if value in _TRUE else "no"


def _seconds(connection: Connection, name: str, default: int) -> int:
    text = str(_extra(connection, name, default))
    if not text.isdecimal():
        raise NotConfigured(f"connection {connection.id!r}: extra {name} is a number of seconds")
    return int(text)


def _extra(connection: Connection, name: str, default: Any) -> Any:
    """Return an extra under any of its spellings: ``trust_server_certificate``, ``TrustServerCertificate``."""
    wanted = name.replace("_", "")
    for key, value in connection.extra.items():
        if key.lower().replace("_", "").replace(" ", "") == wanted:
            return value
    return default


def _braced(value: str) -> str:
    return "{" + value.replace("}", "}}") + "}"
