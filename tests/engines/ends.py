"""
The two kinds of database that the suite has at either end, filled and read by means of their own.

Nothing here uses the engine's way of reading or writing: what the suite compares is what each
database itself shows.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import time
from functools import cached_property
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa
from psycopg import sql

from include.catalog import SqlType, Table
from include.connections import Connection
from include.engines.base import Source, Warehouse
from include.engines.mssql import MssqlSource, MssqlWarehouse, ddl, sqlalchemy_engine
from include.engines.mssql.sql import names, quoted
from include.engines.postgres import PostgresSource, PostgresWarehouse
from include.engines.postgres.ddl import create_replica, create_schemas
from include.engines.postgres.types import postgres_type
from include.metadata import metadata

Row = Mapping[str, Any]


class End(Protocol):
    """A database that is source or warehouse of a test."""

    kind: str

    def source(self) -> Source: ...
    def warehouse(self) -> Warehouse: ...
    def make_source(self, table: Table) -> None: ...
    def make_replica(self, table: Table) -> None: ...
    def insert(self, table: Table, rows: Sequence[Row]) -> None: ...
    def update(self, table: Table, key: Any, values: Row) -> None: ...
    def delete(self, table: Table, key: Any) -> None: ...
    def values(self, schema: str, name: str, columns: Mapping[str, SqlType]) -> list[tuple[Any, ...]]: ...
    def staging_names(self) -> list[str]: ...


def plain(value: Any, type_: SqlType) -> Any:
    """Return a value as both databases show it."""
    if value is None:
        return None
    if type_.is_temporal or type_.base == "time":
        text = str(value)
        zone = re.search(r" [+-]\d\d:\d\d$", text)
        text = text.removesuffix(zone[0]) if zone else text
        return (text.rstrip("0").rstrip(".") if "." in text else text) + (zone[0] if zone else "")
    if type_.base == "uniqueidentifier":
        return uuid.UUID(str(value))
    if type_.base in ("real", "float"):
        return float(value)
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


@dataclass(frozen=True)
class PostgresEnd:
    connection: Connection
    kind: str = "postgres"

    def source(self) -> Source:
        return PostgresSource(self.connection)

    def warehouse(self) -> Warehouse:
        return PostgresWarehouse(self.connection)

    def make_source(self, table: Table) -> None:
        columns = ", ".join(f'"{_pg(name)}" {postgres_type(type_)}' for name, type_ in table.columns.items())
        self._execute(f'CREATE SCHEMA IF NOT EXISTS "{_pg(table.source_schema)}"')
        self._execute(f"CREATE TABLE {self._name(table)} ({columns})")

    def make_replica(self, table: Table) -> None:
        with self._connect() as session:
            for statement in [*create_schemas(table.target_schema), *create_replica(table)]:
                session.execute(statement)

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table.source_schema, table.name),
            sql.SQL(", ").join(map(sql.Identifier, table.columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(table.columns)),
        )
        with self._connect() as session:
            session.cursor().executemany(statement, [[row.get(name) for name in table.columns] for row in rows])

    def update(self, table: Table, key: Any, values: Row) -> None:
        sets = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        statement = sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(
            sql.Identifier(table.source_schema, table.name), sets, sql.Identifier(table.key[0])
        )
        with self._connect() as session:
            assert session.execute(statement, [*values.values(), key]).rowcount == 1

    def delete(self, table: Table, key: Any) -> None:
        statement = sql.SQL("DELETE FROM {} WHERE {} = %s").format(
            sql.Identifier(table.source_schema, table.name), sql.Identifier(table.key[0])
        )
        with self._connect() as session:
            assert session.execute(statement, [key]).rowcount == 1

    def values(self, schema: str, name: str, columns: Mapping[str, SqlType]) -> list[tuple[Any, ...]]:
        shown = sql.SQL(", ").join(
            sql.SQL("{}::text" if type_.is_temporal or type_.base == "time" else "{}").format(sql.Identifier(column))
            for column, type_ in columns.items()
        )
        with self._connect() as session:
            rows = session.execute(sql.SQL("SELECT {} FROM {}").format(shown, sql.Identifier(schema, name))).fetchall()
        return [tuple(map(plain, row, columns.values())) for row in rows]

    def staging_names(self) -> list[str]:
        with self._connect() as session:
            return [name for (name,) in session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'staging'")]

    def _connect(self) -> Any:
        from include.engines.postgres.connect import conninfo

        return closing(psycopg.connect(conninfo(self.connection, "test"), autocommit=True))

    def _execute(self, statement: str) -> None:
        with self._connect() as session:
            session.execute(statement)

    @staticmethod
    def _name(table: Table) -> str:
        return f'"{_pg(table.source_schema)}"."{_pg(table.name)}"'


@dataclass(frozen=True)
class _Warehouse(MssqlWarehouse):
    """The warehouse with the project's own tables in the schema of the test."""

    schema: str = ""

    @cached_property
    def _engine(self) -> sa.Engine:
        return sqlalchemy_engine(self.connection, self.application).execution_options(
            schema_translate_map={"dbo": self.schema}
        )


@dataclass(frozen=True)
class MssqlEnd:
    connection: Connection
    schema: str
    kind: str = "mssql"

    def source(self) -> Source:
        return MssqlSource(self.connection)

    def warehouse(self) -> Warehouse:
        return _Warehouse(self.connection, schema=self.schema)

    def make_metadata(self) -> None:
        self._execute(ddl.create_schema(self.schema))
        metadata.create_all(self.warehouse().metadata())

    def make_source(self, table: Table) -> None:
        # a rowversion of the test's own making, so that both kinds of database count alike
        columns = ", ".join(
            f"{quoted(name)} {'binary(8)' if type_.base == 'rowversion' else type_} NULL"
            for name, type_ in table.columns.items()
        )
        self._execute(ddl.create_schema(table.source_schema))
        self._execute(f"CREATE TABLE {self._name(table)} ({columns})")

    def make_replica(self, table: Table) -> None:
        for schema in (table.target_schema, "staging"):
            self._execute(ddl.create_schema(schema))
        for statement in ddl.create_replica(table):
            self._execute(statement)

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        marks = ", ".join(_mark(type_) for type_ in table.columns.values())
        statement = f"INSERT INTO {self._name(table)} ({names(table.columns)}) VALUES ({marks})"
        for row in rows:
            # pyodbc would cut the fraction of a time off
            values = (row.get(name) for name in table.columns)
            self._execute(statement, *(str(value) if isinstance(value, time) else value for value in values))

    def update(self, table: Table, key: Any, values: Row) -> None:
        sets = ", ".join(f"{quoted(name)} = {_mark(table.columns[name])}" for name in values)
        where = f"{quoted(table.key[0])} = ?"
        assert self._execute(f"UPDATE {self._name(table)} SET {sets} WHERE {where}", *values.values(), key) == 1

    def delete(self, table: Table, key: Any) -> None:
        assert self._execute(f"DELETE FROM {self._name(table)} WHERE {quoted(table.key[0])} = ?", key) == 1

    def values(self, schema: str, name: str, columns: Mapping[str, SqlType]) -> list[tuple[Any, ...]]:
        shown = ", ".join(_shown(column, type_) for column, type_ in columns.items())
        with self._engine().connect() as session:
            rows = session.exec_driver_sql(f"SELECT {shown} FROM {quoted(schema)}.{quoted(name)}").all()
        return [tuple(map(plain, row, columns.values())) for row in rows]

    def staging_names(self) -> list[str]:
        query = "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'staging' AND TABLE_NAME LIKE ?"
        with self._engine().connect() as session:
            return list(session.exec_driver_sql(query, (f"{self.schema}%",)).scalars())

    def drop(self) -> None:
        """Drop whatever the tests made: the schema, and their staging tables."""
        query = "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = ?"
        with self._engine().connect() as session:
            tables = list(session.exec_driver_sql(query, (self.schema,)).scalars())
        for name in tables:
            self._execute(f"DROP TABLE {quoted(self.schema)}.{quoted(name)}")
        for name in self.staging_names():
            self._execute(f"DROP TABLE [staging].{quoted(name)}")
        self._execute(f"DROP SCHEMA {quoted(self.schema)}")

    def _execute(self, statement: str, *values: Any) -> int:
        with self._engine().execution_options(isolation_level="AUTOCOMMIT").connect() as session:
            return session.exec_driver_sql(statement, values or None).rowcount

    def _engine(self) -> sa.Engine:
        return sqlalchemy_engine(self.connection, "test")

    @staticmethod
    def _name(table: Table) -> str:
        return f"{quoted(table.source_schema)}.{quoted(table.name)}"


def _mark(type_: SqlType) -> str:
    """Return the placeholder of a value; what is given as text or bytes is converted by the server."""
    if type_.is_exact_only_as_text or type_.base == "time":
        return f"CONVERT({type_}, ?, 121)"
    if type_.base in ("binary", "varbinary", "rowversion", "image"):
        return "CONVERT(varbinary(max), ?)"
    return "?"


def _shown(column: str, type_: SqlType) -> str:
    if type_.is_temporal or type_.base == "time":
        return f"CONVERT(varchar(40), {quoted(column)}, 121)"
    if type_.is_text:
        return f"CONVERT(nvarchar(max), {quoted(column)})"
    if type_.base == "uniqueidentifier":
        return f"CONVERT(varchar(36), {quoted(column)})"
    return quoted(column)


def _pg(name: str) -> str:
    return name.replace('"', '""')
