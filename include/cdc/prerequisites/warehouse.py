"""The warehouse and the control database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import psycopg

from include import migrations
from include.cdc.models import Replication
from include.cdc.prerequisites import Problem, looked
from include.connections import Connection
from include.engines.postgres.connect import connect
from include.locks import LockSpace, Name, hold

_LOCK_SECONDS = 10
_STAGING = "staging"
_LONGEST_NAME = 63
_OURS = ("replications", "tables", "incidents", "dead_letters", "applies", "offsets", "definitions")

_SERVER = "SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE')"
_SCHEMAS = """
    SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(%s)
      AND NOT (has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE'))
"""
_WRITABLE = """
    SELECT bool_and(has_table_privilege(format('dbo.cdc_%%s', name), privilege))
    FROM unnest(%s::text[]) AS name, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege
"""
#: Ours is what was published, also while a table of the same copy is copied again.
_THERE = """
    SELECT c.relname::text, pg_has_role(c.relowner, 'USAGE'), EXISTS (
        SELECT FROM dbo.cdc_tables t
        LEFT JOIN dbo.cdc_replications r ON r.name = t.replication AND r.epoch = t.epoch
        WHERE t.replication = %s AND t.target_table = c.relname
          AND (t.status = 'live' OR r.name IS NOT NULL AND t.copied_at IS NOT NULL)
    )
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = ANY(%s) ORDER BY 1
"""


def warehouse_problems(replication: Replication, warehouse: Connection, tables: Sequence[str]) -> list[Problem]:
    """Look at the warehouse, and at what is where the tables of the source will be."""
    if warehouse.kind != "postgres":
        text = f"{warehouse} is no PostgreSQL, into which alone a database can be followed"
        return [Problem(text, "set the connection to a PostgreSQL warehouse")]
    with connect(warehouse, "retail-sync cdc validate", autocommit=True) as session:
        problems = _rights(session, replication, warehouse)
        if missing := looked("the migrations of the warehouse", lambda: _migrated(warehouse)):
            return [*problems, *missing]
        return [
            *problems,
            *_names(replication, tables),
            *looked("the tables cdc_*", lambda: _writable(session, warehouse)),
            *looked("the target's tables", lambda: _there(session, replication, tables)),
        ]


def _names(replication: Replication, tables: Sequence[str]) -> list[Problem]:
    sources = defaultdict(list)
    for name in tables:
        sources[replication.target_of(name)].append(name)
    problems = []
    for target, several in sources.items():
        if len(several) > 1:
            text = f"{', '.join(several)} would all be {replication.target_schema}.{target}"
            problems.append(Problem(text, "set `target_name` to {schema}_{table}, or `rename` one"))
        if len(target.encode()) > _LONGEST_NAME or '"' in target:
            text = f"{several[0]}: {target!r} is no name for a table in the warehouse"
            problems.append(Problem(text, f"give it one of at most {_LONGEST_NAME} bytes by `rename`"))
    return problems


def control_problems(replication: Replication, control: Connection) -> list[Problem]:
    """Look whether the control database gives locks."""
    if control.kind != "postgres":
        return [Problem(f"{control} is no PostgreSQL, which gives the locks", "set the connection to one")]
    names = [Name(LockSpace.REPLICATION, f"{replication.name} check", shared=True)]
    with hold(control, names, holder="retail-sync cdc validate", wait=_LOCK_SECONDS):
        return []


def _rights(session: psycopg.Connection[Any], replication: Replication, warehouse: Connection) -> list[Problem]:
    row = session.execute(_SERVER).fetchone()
    assert row is not None
    standby, may_create = row
    problems = []
    if standby:
        problems.append(Problem("the warehouse is a standby", "connect to its primary"))
    if not may_create:
        remedy = f"GRANT CREATE ON DATABASE {warehouse.database} TO {warehouse.login}"
        problems.append(Problem(f"{warehouse.login} may not create schemas in the warehouse", remedy))
    schemas = session.execute(_SCHEMAS, ([_STAGING, replication.target_schema],)).fetchall()
    for (schema,) in schemas:
        remedy = f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {warehouse.login}"
        problems.append(Problem(f"{warehouse.login} may not create tables in schema {schema}", remedy))
    return problems


def _migrated(warehouse: Connection) -> list[Problem]:
    state = migrations.state("warehouse", warehouse)
    if state.up_to_date:
        return []
    text = f"the warehouse is migrated to {state.current or 'nothing'}, the newest is {state.head}"
    return [Problem(text, "python -m include migrate")]


def _writable(session: psycopg.Connection[Any], warehouse: Connection) -> list[Problem]:
    row = session.execute(_WRITABLE, (list(_OURS),)).fetchone()
    if row and row[0]:
        return []
    text = f"{warehouse.login} may not read and write all of dbo.cdc_*"
    return [Problem(text, "grant SELECT, INSERT, UPDATE, DELETE on them")]


def _there(session: psycopg.Connection[Any], replication: Replication, tables: Sequence[str]) -> list[Problem]:
    targets = [replication.target_of(table) for table in tables]
    rows = session.execute(_THERE, (replication.name, replication.target_schema, targets)).fetchall()
    problems = []
    for name, owned, ours in rows:
        table = f"{replication.target_schema}.{name}"
        if not ours:
            text = f"{table} is there and was not copied by this replication; its rows do not count as copied"
            problems.append(Problem(text, "drop it, move it away, or `rename` the copy"))
        elif not owned:
            problems.append(Problem(f"{table} belongs to somebody else", "give it to the login of the warehouse"))
    return problems
