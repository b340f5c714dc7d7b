"""SQL Server: change data capture of database and tables, and its Agent; after Debezium's documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from include.cdc.models import Replication
from include.cdc.prerequisites import Problem, looked
from include.cdc.prerequisites.columns import column_problems
from include.cdc.prerequisites.rules import Rows, Rule, at_least, broken, says
from include.connections import Connection

_RETENTION_MINUTES = 3 * 24 * 60
_APPLICATION = "retail-sync cdc validate"

RULES = (
    Rule(
        "SELECT CAST(is_cdc_enabled AS int) FROM sys.databases WHERE name = DB_NAME()",
        says(1),
        "change data capture is off for the database",
        "EXEC sys.sp_cdc_enable_db",
    ),
    Rule(
        "SELECT status_desc FROM sys.dm_server_services WHERE servicename LIKE N'SQL Server Agent%'",
        says("RUNNING"),
        "the SQL Server Agent, which captures changes, does not run",
        "start it, and let it start with the server",
    ),
    Rule(
        "SELECT COUNT(*) FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'capture'",
        at_least(1),
        "the job that captures changes is missing",
        "EXEC sys.sp_cdc_add_job @job_type = N'capture'",
    ),
    Rule(
        "SELECT retention FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'cleanup'",
        at_least(_RETENTION_MINUTES),
        "captured changes are removed before three days are over",
        f"EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = {_RETENTION_MINUTES}",
    ),
    Rule(
        "SELECT HAS_PERMS_BY_NAME(N'cdc', N'SCHEMA', N'SELECT')",
        says(1),
        "the login may not read what is captured",
        "GRANT SELECT ON SCHEMA::cdc, and let it be a member of the gating role",
    ),
)
TABLES = """
SELECT s.name + N'.' + t.name, CAST(t.is_tracked_by_cdc AS int),
    CAST(OBJECTPROPERTY(t.object_id, 'TableHasPrimaryKey') AS int),
    HAS_PERMS_BY_NAME(QUOTENAME(s.name) + N'.' + QUOTENAME(t.name), N'OBJECT', N'SELECT')
FROM sys.tables AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id
WHERE t.is_ms_shipped = 0 AND s.name <> N'cdc' ORDER BY 1
"""
#: Of a column that is not captured the stream tells nothing; those that the source computes never are.
UNCAPTURED = """
SELECT c.name, CAST(c.is_computed AS int) FROM sys.columns AS c
WHERE c.object_id = OBJECT_ID(?) AND (c.is_computed = 1 OR NOT EXISTS (
    SELECT 1 FROM cdc.captured_columns AS k JOIN cdc.change_tables AS i ON i.object_id = k.object_id
    WHERE i.source_object_id = c.object_id AND k.column_name = c.name
))
"""


def problems(replication: Replication, source: Connection) -> list[Problem]:
    """Look at a SQL Server."""
    if source.kind != "mssql":
        return [Problem(f"{source} is no SQL Server", "set the connection of the source to one")]
    with _session(source) as session:

        def ask(query: str) -> Rows:
            from include.engines.mssql.errors import translated

            with translated("asking the source"):
                return [tuple(row) for row in session.execute(query).fetchall()]

        return [
            *broken(RULES, ask),
            *looked("the tables of the source", lambda: table_problems(replication, ask(TABLES))),
            *looked("the columns of the source", lambda: _columns(replication, source)),
        ]


def table_problems(replication: Replication, rows: Rows) -> list[Problem]:
    """Return what is wrong with the followed tables, from the answer to ``TABLES``."""
    followed = [row for row in rows if replication.holds(row[0])]
    if not followed:
        return [Problem("tables: nothing matches at the source", "correct the names, mind upper and lower case")]
    found = []
    for name, tracked, keyed, readable in followed:
        schema, table = name.split(".", 1)
        if not tracked:
            remedy = f"EXEC sys.sp_cdc_enable_table @source_schema = N'{schema}', @source_name = N'{table}'"
            found.append(Problem(f"{name}: its changes are not captured", f"{remedy}, @role_name = NULL"))
        if not keyed:
            found.append(Problem(f"{name} has no primary key", "add one, or leave it out"))
        if not readable:
            found.append(Problem(f"{name}: SELECT is missing", "grant it to the login of the source"))
    return found


def _columns(replication: Replication, source: Connection) -> list[Problem]:
    from include.cdc.sources.mssql import MssqlCdcSource

    cdc_source = MssqlCdcSource(source, _APPLICATION)
    found = []
    with cdc_source.reading() as rows:
        for table in cdc_source.tables(replication):
            # a table that is not captured at all is told once
            if columns := rows.columns(table.name):
                missing = list(rows.query((UNCAPTURED, [rows.relation(table.name)])))
                found += uncaptured_problems(
                    replication, table.name, [name for name, computed in missing if not computed]
                )
                found += column_problems(replication, table, columns, [name for name, _ in missing])
    return found


def uncaptured_problems(replication: Replication, table: str, columns: Sequence[str]) -> list[Problem]:
    """Return the columns of a followed table whose changes are not captured, and which are not left out."""
    left = [column for column in columns if column not in replication.without.get(table, ())]
    remedy = "let a new capture instance have it (sys.sp_cdc_enable_table), or name it under `without`"
    return [Problem(f"{table}: changes of column {column} are not captured", remedy) for column in left]


@contextmanager
def _session(source: Connection) -> Iterator[Any]:
    from include.engines.mssql.connect import connect

    session = connect(source, _APPLICATION, autocommit=True)
    try:
        yield session
    finally:
        session.close()
