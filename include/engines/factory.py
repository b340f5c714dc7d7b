"""From a connection to its engine."""

from __future__ import annotations

from include.connections import Connection
from include.engines.base import Source, Warehouse
from include.engines.postgres import PostgresSource, PostgresWarehouse
from include.errors import NotConfigured
from include.settings import Settings


def source_of(connection: Connection, application: str = "retail-sync") -> Source:
    """
    Return the engine that reads a connection's database.

    :raises NotConfigured: if there is none for its kind.
    """
    if connection.kind == "postgres":
        return PostgresSource(connection, application)
    raise NotConfigured(f"connection {connection.id!r}: no engine reads {connection.kind} yet")


def warehouse_of(connection: Connection, settings: Settings, application: str = "retail-sync") -> Warehouse:
    """
    Return the engine that writes a connection's database.

    :raises NotConfigured: if there is none for its kind.
    """
    if connection.kind == "postgres":
        return PostgresWarehouse(connection, application, settings)
    raise NotConfigured(f"connection {connection.id!r}: no engine writes {connection.kind} yet")
