"""The stand-in of the POS source in PostgreSQL: its tables, and a rowversion that behaves as SQL Server's."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier, Literal

from include.catalog import Catalog, Table
from include.engines.postgres.types import postgres_type

#: SQL Server calls the last rowversion of a database ``@@DBTS``; one counter for all tables.
ROWVERSION_SEQUENCE = Identifier("public", "dbts")

#: Generated rows have lower rowversions, so whatever changes afterwards is newer than all of them.
FIRST_CHANGE = 1 << 40


def create_source(connection: Connection[Any], catalog: Catalog, drop: bool = False) -> None:
    """
    Create the source's schema, tables, indexes and rowversion triggers where they are missing.

    Tables whose columns are unknown are not created, as at the source.
    One transaction; ``drop`` removes the schema with all its rows first.
    """
    tables = [table for table in catalog if table.columns]
    with connection.transaction():
        if drop:
            for schema in sorted({table.source_schema for table in tables}):
                connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))
            connection.execute(SQL("DROP SEQUENCE IF EXISTS {} CASCADE").format(ROWVERSION_SEQUENCE))
        connection.execute(
            SQL("CREATE SEQUENCE IF NOT EXISTS {} START {}").format(ROWVERSION_SEQUENCE, Literal(FIRST_CHANGE))
        )
        for schema in sorted({table.source_schema for table in tables}):
            connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        for schema, column in sorted({(t.source_schema, t.rowversion) for t in tables if t.rowversion}):
            connection.execute(_rowversion_function(schema, column))
        for table in tables:
            _create_table(connection, table)


def source_name(table: Table) -> Identifier:
    """Return the quoted name of a table at the source."""
    return Identifier(table.source_schema, table.name)


def _create_table(connection: Connection[Any], table: Table) -> None:
    name = source_name(table)
    lines = [_column(table, column) for column in table.columns]
    if table.key:
        lines.append(SQL("PRIMARY KEY ({})").format(SQL(", ").join(map(Identifier, table.key))))
    connection.execute(SQL("CREATE TABLE IF NOT EXISTS {} (\n{}\n)").format(name, SQL(",\n").join(lines)))
    if table.strategy == "window" and table.date:
        connection.execute(
            SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
                Identifier(f"{table.name}_by_date"), name, Identifier(table.date)
            )
        )
    if table.rowversion:
        connection.execute(
            SQL("CREATE OR REPLACE TRIGGER rowversion BEFORE UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
                name, _function_name(table.source_schema, table.rowversion)
            )
        )


def _column(table: Table, column: str) -> Composed:
    type_ = SQL(postgres_type(table.columns[column]))
    line = SQL("  {} {}").format(Identifier(column), type_)
    if column != table.rowversion:
        return line
    # int8send is big-endian, so bytes compare as the numbers do
    return line + SQL(" NOT NULL DEFAULT int8send(nextval({}))").format(_sequence())


def _rowversion_function(schema: str, column: str) -> Composed:
    return SQL(
        "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.{column} := int8send(nextval({sequence})); RETURN NEW; END $$"
    ).format(function=_function_name(schema, column), column=Identifier(column), sequence=_sequence())


def _function_name(schema: str, column: str) -> Identifier:
    return Identifier(schema, f"set_{column}")


def _sequence() -> Literal:
    return Literal(ROWVERSION_SEQUENCE.as_string())
