"""A SQL Server warehouse: what the server can, what the login may do there, and what is where tables will be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from include.cdc.models import Replication
from include.cdc.prerequisites import Problem
from include.cdc.sources.base import SourceTable
from include.cdc.targets.base import Columns
from include.cdc.targets.mssql_types import MOST_PRECISION
from include.cdc.values import is_rewritten, split
from include.connections import Connection
from include.engines.mssql.sql import quoted

if TYPE_CHECKING:
    import sqlalchemy as sa

LONGEST_NAME = 128
#: SQL Server 2016, with which OPENJSON came.
_LEVEL = 130

DATABASE = """
SELECT CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(20)),
    (SELECT CAST(compatibility_level AS int) FROM sys.databases WHERE name = DB_NAME()),
    HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), 'DATABASE', 'CREATE TABLE'),
    HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), 'DATABASE', 'CREATE SCHEMA')
"""
#: A table in a schema is its owner's; to move it out takes CONTROL of it.
SCHEMA = "SELECT SCHEMA_ID(?), HAS_PERMS_BY_NAME(QUOTENAME(?), 'SCHEMA', 'CONTROL')"
RIGHT = "SELECT HAS_PERMS_BY_NAME(?, 'OBJECT', ?)"
PRESENT = """
SELECT o.name, HAS_PERMS_BY_NAME(QUOTENAME(SCHEMA_NAME(o.schema_id)) + N'.' + QUOTENAME(o.name), 'OBJECT', 'CONTROL')
FROM sys.objects AS o WHERE o.schema_id = SCHEMA_ID(?) ORDER BY o.name
"""


def rights(session: sa.Connection, warehouse: Connection, schemas: Sequence[str]) -> list[Problem]:
    """Look whether the server reads JSON, and whether tables can be made in the schemas, or the schemas themselves."""
    updateability, level, may_table, may_schema = session.exec_driver_sql(DATABASE).one()
    problems = []
    if updateability != "READ_WRITE":
        problems.append(Problem("the warehouse can only be read", "connect to its primary"))
    if level is None or level < _LEVEL:
        remedy = f"ALTER DATABASE {quoted(warehouse.database)} SET COMPATIBILITY_LEVEL = {_LEVEL}, or higher"
        problems.append(Problem(f"the warehouse has compatibility level {level}, without OPENJSON", remedy))
    if not may_table:
        remedy = f"GRANT CREATE TABLE TO {quoted(warehouse.login)}"
        problems.append(Problem(f"{warehouse.login} may not create tables in the warehouse", remedy))
    for schema in schemas:
        known, has_control = session.exec_driver_sql(SCHEMA, (schema, schema)).one()
        if known is None and not may_schema:
            remedy = f"GRANT CREATE SCHEMA TO {quoted(warehouse.login)}, or make it"
            problems.append(Problem(f"{warehouse.login} may not create schema {schema}", remedy))
        elif known is not None and not has_control:
            remedy = f"GRANT CONTROL ON SCHEMA::{quoted(schema)} TO {quoted(warehouse.login)}"
            problems.append(Problem(f"{warehouse.login} has no CONTROL of schema {schema}", remedy))
    return problems


def column_problems(replication: Replication, source: SourceTable, columns: Columns) -> list[Problem]:
    """Look for what SQL Server cannot hold of a table's columns, or cannot tell apart."""
    table, without = source.name, replication.without.get(source.name, ())
    kept = {name: type_ for name, type_ in columns.items() if name not in without}
    problems = []
    for name, type_ in kept.items():
        if _precision(type_) > MOST_PRECISION:
            text = f"{table}: {name} is {type_}, a decimal has {MOST_PRECISION} digits"
            problems.append(Problem(text, "leave it out by `without`"))
        if name in source.key and is_rewritten(replication.kind, type_):
            text = f"{table}: {name} is {type_} and part of the key, which SQL Server has only as a text"
            problems.append(Problem(text, "leave the table out by `exclude`"))
    for several in alike(kept):
        text = f"{table}: columns {', '.join(several)} differ in case only"
        problems.append(Problem(text, "leave one of them out by `without`"))
    return problems


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return names that differ in case only: a database may take them for one."""
    found = defaultdict(list)
    for name in names:
        found[name.casefold()].append(name)
    return [several for several in found.values() if len(several) > 1]


def _precision(type_: str) -> int:
    base, lengths = split(type_)
    return lengths[0] if base == "numeric" and lengths else 0


def may_write(session: sa.Connection, tables: Sequence[str]) -> bool:
    """Whether these tables of schema ``dbo`` can be read and written."""
    return all(
        session.exec_driver_sql(RIGHT, (f"dbo.{table}", right)).scalar()
        for table in tables
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
    )


def present(session: sa.Connection, schema: str, names: Sequence[str]) -> dict[str, bool]:
    """Return which tables are there, in whatever case, and whether they are ours to replace."""
    wanted = {name.casefold(): name for name in names}
    rows = session.exec_driver_sql(PRESENT, (schema,))
    return {wanted[name.casefold()]: bool(owned) for name, owned in rows if name.casefold() in wanted}
