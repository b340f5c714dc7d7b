"""From a connection to its engine."""

from __future__ import annotations

import sqlalchemy as sa

from include.catalog import Catalog
from include.connections import Connection, Kind
from include.engines.base import Source, Warehouse
from include.engines.postgres import PostgresSource, PostgresWarehouse, ddl
from include.engines.postgres.connect import sqlalchemy_engine
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


def metadata_engine(connection: Connection, application: str = "retail-sync") -> sa.Engine:
    """
    Return an SQLAlchemy engine for the project's own tables in a database.

    :raises NotConfigured: if there is none for its kind.
    """
    if connection.kind == "postgres":
        return sqlalchemy_engine(connection, application)
    raise NotConfigured(f"connection {connection.id!r}: no engine migrates {connection.kind} yet")


def kind_of_dialect(dialect: str) -> Kind:
    """Return the kind of connection that an SQLAlchemy dialect is for."""
    kinds: dict[str, Kind] = {"postgresql": "postgres", "mssql": "mssql"}
    return kinds[dialect]


def replica_ddl(kind: Kind, catalog: Catalog) -> list[str]:
    """
    Return the statements that make every replica table that is missing.

    :raises NotConfigured: if no engine writes that kind.
    """
    if kind != "postgres":
        raise NotConfigured(f"no engine writes {kind} yet")
    tables = [table for table in catalog if table.columns]
    schemas = dict.fromkeys(table.target_schema for table in tables)
    statements = [statement for schema in schemas for statement in ddl.create_schemas(schema)]
    statements += [statement for table in tables for statement in ddl.create_replica(table)]
    return [statement.as_string() for statement in statements]
