"""Sessions with a PostgreSQL server."""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from include.connections import Connection
from include.engines.postgres.errors import translated, translation

#: A dead link is noticed in about two minutes instead of two hours.
_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 6}
_CONNECT_TIMEOUT = 15

#: Extras of an Airflow connection that libpq understands; others are left alone.
_EXTRAS = {"sslmode", "sslcert", "sslkey", "sslrootcert", "connect_timeout", "target_session_attrs"}

#: Sessions agree on how values are written, whatever the server's defaults are; the one that
#: holds a snapshot is idle while others read in it.
_SESSION = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "TimeZone": "UTC",
        "DateStyle": "ISO,YMD",
        "extra_float_digits": "1",
        "search_path": "pg_catalog",
        "idle_in_transaction_session_timeout": "0",
    }.items()
)


def conninfo(connection: Connection, application: str) -> str:
    """Return libpq's connection string; ``application`` is what the server shows of the session."""
    extras = {name: value for name, value in connection.extra.items() if name in _EXTRAS}
    parts: dict[str, Any] = {
        "host": connection.host,
        "port": connection.port or 5432,
        "dbname": connection.database,
        "user": connection.login,
        "password": connection.password or None,
        "application_name": application[:63],
        "options": _SESSION,
        "connect_timeout": _CONNECT_TIMEOUT,
        **_KEEPALIVE,
        **extras,
    }
    return make_conninfo("", **{name: value for name, value in parts.items() if value is not None})


def connect(
    connection: Connection, application: str = "retail-sync", *, autocommit: bool = False
) -> psycopg.Connection[Any]:
    """
    Open a session.

    :raises ConnectionLost: if the server is not reachable.
    :raises AccessDenied: if it refuses the login.
    """
    with translated(f"connecting to {connection}"):
        return psycopg.connect(conninfo(connection, application), autocommit=autocommit)


def sqlalchemy_engine(connection: Connection, application: str = "retail-sync") -> sa.Engine:
    """
    Return an SQLAlchemy engine that opens and closes a session for each use.

    What the driver raises arrives as an error of ours, not wrapped in one of SQLAlchemy's.
    """
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(connection, application),
        poolclass=sa.pool.NullPool,
    )
    return _translating(engine, str(connection))


def sqlalchemy_over(session: psycopg.Connection[Any], whose: str) -> sa.Connection:
    """
    Return SQLAlchemy's view of a session that commits each statement; transactions are the session's own.

    :param session: with no transaction open; whoever opened it closes it.
    :param whose: the beginning of what an error says.
    """
    pool = {"poolclass": sa.pool.StaticPool, "pool_reset_on_return": None}
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: session, **pool)
    return _translating(engine, whose).connect().execution_options(isolation_level="AUTOCOMMIT")


def _translating(engine: sa.Engine, whose: str) -> sa.Engine:
    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: sa.engine.ExceptionContext) -> Exception | None:
        error = context.original_exception
        return translation(whose, error) if isinstance(error, psycopg.Error) else None

    return engine
