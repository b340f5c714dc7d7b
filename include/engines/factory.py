"""From a connection to its engine."""

from __future__ import annotations

import sqlalchemy as sa

from include.catalog import Catalog
from include.connections import Connection, Kind
from include.engines import mssql, postgres
from include.engines.base import Source, Warehouse
from include.errors import NotConfigured
from include.settings import Settings


def source_of(connection: Connection, application: str = "retail-sync", secret: bytes | None = None) -> Source:
    """
    Return the engine that reads a connection's database.

    :param secret: the key of hashed columns.
    :raises NotConfigured: for a database that has no engine.
    """
    _assert_has_engine(connection)
    if connection.kind == "mssql":
        return mssql.MssqlSource(connection, application, secret=secret)
    return postgres.PostgresSource(connection, application, secret=secret)


def warehouse_of(connection: Connection, settings: Settings, application: str = "retail-sync") -> Warehouse:
    """
    Return the engine that writes a connection's database.

    :raises NotConfigured: for a database that has no engine.
    """
    _assert_has_engine(connection)
    if connection.kind == "mssql":
        return mssql.MssqlWarehouse(connection, application, settings)
    return postgres.PostgresWarehouse(connection, application, settings)


def metadata_engine(connection: Connection, application: str = "retail-sync") -> sa.Engine:
    """
    Return an SQLAlchemy engine for the project's own tables in a database.

    :raises NotConfigured: for a database that has no engine.
    """
    _assert_has_engine(connection)
    engine = mssql.sqlalchemy_engine if connection.kind == "mssql" else postgres.sqlalchemy_engine
    return engine(connection, application)


def kind_of_dialect(dialect: str) -> Kind:
    """Return the kind of connection that an SQLAlchemy dialect is for."""
    kinds: dict[str, Kind] = {"postgresql": "postgres", "mssql": "mssql"}
    return kinds[dialect]


def replica_ddl(kind: Kind, catalog: Catalog, settings: Settings) -> list[str]:
    """Return the statements that make every replica table that is missing."""
    if kind == "mssql":
        return mssql.replica_ddl(catalog, settings.partitioned)
    return postgres.replica_ddl(catalog)


def _assert_has_engine(connection: Connection) -> None:
    if connection.kind not in ("mssql", "postgres"):
        raise NotConfigured(
            f"connection {connection.id!r}: type {connection.kind!r} can only be followed (see replications.yaml);"
            " use postgres or mssql here"
        )
