"""Engines for the page: from Airflow's connections, pooled, hasty, and plain about what is wrong."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any, Literal

import psycopg
import sqlalchemy as sa
from airflow.models.connection import Connection as AirflowConnection
from airflow.sdk.exceptions import AirflowNotFoundException

from include.connections import Connection
from include.engines.factory import metadata_engine
from include.engines.mssql.errors import translation as mssql_translation
from include.engines.postgres.errors import translation as postgres_translation
from include.errors import AccessDenied, ConnectionLost, DatabaseBusy, NotConfigured, RetailSyncError, SchemaMismatch
from retail_sync.hooks.engine import connection_of

log = logging.getLogger(__name__)

Name = Literal["warehouse", "control"]

#: Sessions with each database.
SESSIONS = 2
CONNECT_SECONDS, STATEMENT_SECONDS = 3, 10
_RECYCLE_SECONDS = 600
_APPLICATION = "retail-sync page"

#: What the page says; hosts and logins are for the log of the API server only.
_REASONS: dict[type[RetailSyncError], str] = {
    ConnectionLost: "cannot be reached",
    AccessDenied: "refuses the login, or a right is missing",
    DatabaseBusy: "gave up on the query: it is busy",
    SchemaMismatch: "lacks a table or column; run `python -m include migrate`",
    NotConfigured: "has no usable connection in Airflow",
}


class Down(Exception):
    """
    A database cannot answer.

    :param detail: why, without host, login or password.
    """

    def __init__(self, database: Name, detail: str) -> None:
        super().__init__(f"{database}: {detail}")
        self.database, self.detail = database, detail


def down(name: Name, error: RetailSyncError | psycopg.Error) -> Down:
    """Return an error as the page tells it, and leave all of it in the log."""
    if isinstance(error, psycopg.Error):
        error = postgres_translation(f"reading {name}", error)
    log.warning("The page cannot read %s: %s", name, error)
    reason = next((text for kind, text in _REASONS.items() if isinstance(error, kind)), "failed, see the log")
    return Down(name, reason)


def read_connection(conn_id: str) -> Connection:
    """
    Return a connection of Airflow: of the secrets backend, the environment, or its metadata database.

    :raises NotConfigured: if there is none, or it is of no type that is known.
    """
    try:
        found = AirflowConnection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException:
        raise NotConfigured(f"connection {conn_id!r} is not set in Airflow") from None
    return connection_of(conn_id, found)


def pooled_engine(name: Name, connection: Connection) -> sa.Engine:
    """Return an engine that keeps few sessions; its errors are ``Down`` already, so that they name the database."""
    hasty = {
        "connect_timeout": CONNECT_SECONDS,
        "login_timeout": CONNECT_SECONDS,
        "query_timeout": STATEMENT_SECONDS,
    }
    single = metadata_engine(replace(connection, extra={**connection.extra, **hasty}), _APPLICATION)

    def open_session() -> Any:
        try:
            session = single.raw_connection()
        except RetailSyncError as error:
            raise down(name, error) from None
        session.detach()
        return session.dbapi_connection

    engine = sa.create_engine(
        single.url,
        creator=open_session,
        pool_size=SESSIONS,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_recycle=_RECYCLE_SECONDS,
        pool_pre_ping=True,
    )
    explored = threading.Event()

    @sa.event.listens_for(engine, "connect")
    def _limit(session: Any, _record: Any) -> None:
        if engine.dialect.name == "postgresql":
            session.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
            session.commit()

    @sa.event.listens_for(engine, "engine_connect")
    def _note(_session: sa.Connection) -> None:
        explored.set()

    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: sa.engine.ExceptionContext) -> Exception | None:
        error = context.original_exception
        # a failed ping only means another session, and before `explored` SQLAlchemy tries what the server can
        if context.is_pre_ping or not explored.is_set() or not isinstance(error, engine.dialect.loaded_dbapi.Error):
            return None
        return down(name, error if isinstance(error, psycopg.Error) else mssql_translation(f"reading {name}", error))

    return engine
