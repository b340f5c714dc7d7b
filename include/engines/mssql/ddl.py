"""
The replica tables in SQL Server, and the staging tables beside them.

A replica is clustered by its date, so that a window is one stretch of it, and its key is
unique by an index of its own. A staging table is a heap without an index.
"""

from __future__ import annotations

from include.catalog import Catalog, SqlType, Table
from include.engines.mssql import partitions
from include.engines.mssql.sql import Statement, declarations, literal, names, quoted, relation, target_name
from include.engines.mssql.types import declared, staged
from include.engines.staging import STAGING_SCHEMA, staging_name
from include.windows import Span, Window


def staging_table(table: Table, span: Span) -> str:
    """Return the quoted name of a span's staging table."""
    return relation(STAGING_SCHEMA, staging_name(table, span))


def replica_ddl(catalog: Catalog, partitioned: Window | None = None) -> list[str]:
    """
    Return the statements that make every replica table that is missing.

    :param partitioned: the months for which tables with a date are partitioned.
    """
    tables = [table for table in catalog if table.columns]
    schemas = dict.fromkeys([*(table.target_schema for table in tables), STAGING_SCHEMA])
    statements = [create_schema(schema) for schema in schemas]
    if partitioned:
        types = dict.fromkeys(declared(table.columns[table.date or ""]) for table in tables if _has_date(table))
        statements += [statement for type_ in types for statement in partitions.create_scheme(type_, partitioned)]
    return statements + [
        statement for table in tables for statement in create_replica(table, partitioned=partitioned is not None)
    ]


def create_schema(schema: str) -> str:
    """Return the statement that makes a schema where it is missing; it must be alone in its batch."""
    return f"IF SCHEMA_ID({literal(schema)}) IS NULL EXEC({literal('CREATE SCHEMA ' + quoted(schema))})"


def create_replica(table: Table, *, partitioned: bool = False) -> list[str]:
    """
    Return the statements that make a replica table with its indexes; one that is there is left alone.

    Its indexes are made with it, not looked for: engines differ in what they call an index.
    """
    target = target_name(table)
    partitioned = partitioned and _has_date(table)
    create = f"CREATE TABLE {target} ({declarations(table.columns, declared)})"
    made = [create + (partitions.on_scheme(table) if partitioned else "")]
    if _has_date(table) and table.date:
        name = quoted(f"{table.target_table}_by_date")
        made.append(f"CREATE CLUSTERED INDEX {name} ON {target} ({names((table.date,))})")
    if table.key:
        key = partitions.unique_columns(table) if partitioned else table.key
        name = quoted(f"{table.target_table}_key")
        made.append(f"CREATE UNIQUE NONCLUSTERED INDEX {name} ON {target} ({names(key)})")
    return [f"IF OBJECT_ID({literal(target)}) IS NULL BEGIN {' '.join(f'{statement};' for statement in made)} END"]


def _has_date(table: Table) -> bool:
    return table.strategy == "window" and not table.date_is_text


def add_column(table: Table, name: str, type_: SqlType) -> str:
    """Return the statement that adds a column to the replica where it is missing."""
    target = target_name(table)
    return (
        f"IF COL_LENGTH({literal(target)}, {literal(name)}) IS NULL"
        f" ALTER TABLE {target} ADD {quoted(name)} {declared(type_)} NULL"
    )


def create_staging(table: Table, span: Span) -> list[str]:
    """Return the statements that make a span's staging table, in the place of an older one."""
    return [
        drop_staging(table, span),
        f"CREATE TABLE {staging_table(table, span)} ({declarations(table.columns, staged)})",
    ]


def drop_staging(table: Table, span: Span) -> str:
    """Return the statement that removes a span's staging table if it is there."""
    return f"DROP TABLE IF EXISTS {staging_table(table, span)}"


def empty_staging(table: Table, span: Span) -> str:
    """Return the statement that empties a span's staging table."""
    return f"TRUNCATE TABLE {staging_table(table, span)}"


def count_staging(table: Table, span: Span) -> str:
    """Return the query for the number of rows in a span's staging table."""
    return f"SELECT COUNT_BIG(*) FROM {staging_table(table, span)}"


def staging_tables(table: Table) -> Statement:
    """Return the query for the names of the staging tables that may be the table's."""
    pattern = table.target_table.replace("[", "[[]").replace("_", "[_]").replace("%", "[%]") + "[_][_]%"
    return (
        "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME LIKE ?",
        (STAGING_SCHEMA, pattern),
    )
