"""The engine of an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from include.connections import Connection
from include.settings import Settings

if TYPE_CHECKING:
    from include.engines.base import Source, Warehouse


class EngineHook(BaseHook):
    """
    Opens the database of an Airflow connection as source or warehouse.

    :param conn_id: a connection of type ``postgres``, or ``mssql``.
    :param application: what the database server shows of our sessions.
    """

    def __init__(self, conn_id: str, application: str = "retail-sync") -> None:
        super().__init__()
        self.conn_id = conn_id
        self.application = application

    def get_conn(self) -> Connection:
        """Return the connection as the engine reads it."""
        return connection_of(self.conn_id, self.get_connection(self.conn_id))

    def get_source(self, secret: bytes | None = None) -> Source:
        """
        Return the engine that reads the database.

        :param secret: the key of hashed columns.
        """
        from include.engines.factory import source_of

        return source_of(self.get_conn(), self.application, secret)

    def get_warehouse(self, settings: Settings) -> Warehouse:
        """Return the engine that writes the database."""
        from include.engines.factory import warehouse_of

        return warehouse_of(self.get_conn(), settings, self.application)


def connection_of(conn_id: str, found: Any) -> Connection:
    """
    Return a connection of Airflow, of a task's kind or the server's, as the engine reads it.

    :raises NotConfigured: if it is of no type that is known.
    """
    return Connection.of(
        conn_id,
        kind=found.conn_type or "",
        host=found.host,
        port=found.port,
        database=found.schema,
        login=found.login,
        password=found.password,
        extra=found.extra_dejson,
    )
