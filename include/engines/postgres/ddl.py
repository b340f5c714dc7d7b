"""
The replica tables in PostgreSQL.

A table with a real date column is range-partitioned by month on it; rows without a
date live in the default partition. The key is unique in each partition, by an index of
the partition itself, so that a loaded table can be attached without building one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from psycopg import sql

from include.catalog import Catalog, SqlType, Table
from include.engines.postgres.sql import Query, names, target_name
from include.engines.postgres.types import postgres_type
from include.engines.staging import STAGING_SCHEMA, digits, staging_name
from include.windows import Span, Window

_SPAN_CHECK = "span"


def is_partitioned(table: Table) -> bool:
    """Whether the replica is partitioned by month: it needs a date column that is no text."""
    return table.strategy == "window" and not table.date_is_text


def whole_partition(table: Table) -> sql.Identifier:
    """Return the only partition of a table that is refreshed whole."""
    return sql.Identifier(table.target_schema, f"{table.target_table}_rows")


def default_partition(table: Table) -> sql.Identifier:
    """Return the partition of the rows without a date."""
    return sql.Identifier(table.target_schema, f"{table.target_table}_undated")


def month_partition_name(table: Table, month: date) -> str:
    """Return the unqualified name of a month's partition."""
    return f"{table.target_table}_{digits(month)[:6]}"


def replica_ddl(catalog: Catalog) -> list[str]:
    """Return the statements that make every replica table that is missing; those with a date are partitioned."""
    tables = [table for table in catalog if table.columns]
    schemas = dict.fromkeys(table.target_schema for table in tables)
    statements = [statement for schema in schemas for statement in create_schemas(schema)]
    statements += [statement for table in tables for statement in create_replica(table)]
    return [statement.as_string() for statement in statements]


def create_schemas(target_schema: str) -> list[Query]:
    """Return the statements that make the schemas of the replica tables and of staging."""
    return [
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
        for schema in (target_schema, STAGING_SCHEMA)
    ]


def create_replica(table: Table) -> list[Query]:
    """Return the statements that make a replica table; none of them harms one that is there."""
    columns = sql.SQL(",\n    ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(postgres_type(type_)))
        for name, type_ in table.columns.items()
    )
    create = sql.SQL("CREATE TABLE IF NOT EXISTS {} (\n    {}\n)").format(target_name(table), columns)
    if table.strategy == "refresh":
        # by what does not matter: its single partition is what another takes the place of
        by, only = (*table.key, *table.columns)[0], whole_partition(table)
    elif is_partitioned(table):
        assert table.date is not None
        by, only = table.date, default_partition(table)
    else:
        return [create, *_unique_key(table, target_name(table), f"{table.target_table}_key")]
    partitioned = sql.SQL(" PARTITION BY RANGE ({})").format(sql.Identifier(by))
    suffix = "rows" if table.strategy == "refresh" else "undated"
    return [
        *([_wrap_plain(table, partitioned)] if table.strategy == "refresh" else []),
        create + partitioned,
        sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} DEFAULT").format(only, target_name(table)),
        *_unique_key(table, only, f"{table.target_table}_{suffix}_key"),
    ]


def _wrap_plain(table: Table, partitioned: Query) -> Query:
    """Return the statement that makes a plain table, as version 0.1 made them, the partition of a new one."""
    target, rows = target_name(table), whole_partition(table)
    return sql.SQL(
        "DO $$ BEGIN IF (SELECT relkind FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass({name})) = 'r' THEN"
        " ALTER TABLE {target} RENAME TO {short};"
        " ALTER INDEX IF EXISTS {old_key} RENAME TO {new_key};"
        " CREATE TABLE {target} (LIKE {rows}){partitioned};"
        " ALTER TABLE {target} ATTACH PARTITION {rows} DEFAULT;"
        " END IF; END $$"
    ).format(
        name=sql.Literal(target.as_string()),
        target=target,
        rows=rows,
        short=sql.Identifier(f"{table.target_table}_rows"),
        old_key=sql.Identifier(table.target_schema, f"{table.target_table}_key"),
        new_key=sql.Identifier(f"{table.target_table}_rows_key"),
        partitioned=partitioned,
    )


def add_columns(table: Table, columns: Mapping[str, SqlType]) -> list[Query]:
    """Return the statements that add columns to a replica, and so to its partitions, where they are missing."""
    return [
        sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}").format(
            target_name(table), sql.Identifier(name), sql.SQL(postgres_type(type_))
        )
        for name, type_ in columns.items()
    ]


def create_staging(table: Table, span: Span) -> list[Query]:
    """Return the statements that make a span's staging table, in the place of an older one."""
    staging = sql.Identifier(STAGING_SCHEMA, staging_name(table, span))
    statements = [
        sql.SQL("DROP TABLE IF EXISTS {}").format(staging),
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING CONSTRAINTS)").format(staging, target_name(table)),
    ]
    if isinstance(span, Window) and is_partitioned(table):
        statements.append(_span_check(table, span, staging))
    return statements


def staging_key(table: Table, span: Span) -> list[Query]:
    """Return the statement that makes the staging table's key unique, after it was loaded."""
    name = staging_name(table, span)
    if not table.key:
        return []
    return [sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(sql.Identifier(STAGING_SCHEMA, name), names(table.key))]


def create_month(table: Table, month: Window) -> list[Query]:
    """
    Return the statements that make a month's partition.

    It is made apart and attached: CREATE … PARTITION OF would keep every reader out.
    """
    name = sql.Identifier(table.target_schema, month_partition_name(table, month.start))
    return [
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING CONSTRAINTS)").format(name, target_name(table)),
        _span_check(table, month, name),
        *([sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(name, names(table.key))] if table.key else []),
        *attach(table, month, name),
    ]


def attach(table: Table, month: Window, partition: sql.Identifier) -> list[Query]:
    """Return the statements that make a loaded table a partition; its check spares the scan."""
    return [
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            target_name(table), partition, sql.Literal(month.start.isoformat()), sql.Literal(month.end.isoformat())
        ),
        sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(partition, sql.Identifier(_SPAN_CHECK)),
    ]


def _span_check(table: Table, span: Window, relation: sql.Identifier) -> Query:
    assert table.date is not None
    return sql.SQL(
        "ALTER TABLE {relation} ADD CONSTRAINT {name}"
        " CHECK ({date} IS NOT NULL AND {date} >= {start} AND {date} < {end})"
    ).format(
        relation=relation,
        name=sql.Identifier(_SPAN_CHECK),
        date=sql.Identifier(table.date),
        start=sql.Literal(span.start.isoformat()),
        end=sql.Literal(span.end.isoformat()),
    )


def _unique_key(table: Table, relation: sql.Identifier, name: str) -> list[Query]:
    if not table.key:
        return []
    return [
        sql.SQL("CREATE UNIQUE INDEX IF NOT EXISTS {} ON {} ({})").format(
            sql.Identifier(name), relation, names(table.key)
        )
    ]
