"""A PostgreSQL warehouse: what the login may do there, and what is where tables will be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.cdc.prerequisites import Problem
from include.connections import Connection

if TYPE_CHECKING:
    import psycopg

LONGEST_NAME = 63

_SERVER = "SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE')"
_SCHEMAS = """
    SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(%s)
      AND NOT (has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE'))
"""
_WRITABLE = """
    SELECT bool_and(has_table_privilege('dbo.' || name, privilege))
    FROM unnest(%s::text[]) AS name, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege
"""
_PRESENT = """
    SELECT c.relname::text, pg_has_role(c.relowner, 'USAGE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = ANY(%s) ORDER BY 1
"""


def rights(session: psycopg.Connection[Any], warehouse: Connection, schemas: Sequence[str]) -> list[Problem]:
    """Look whether tables can be made in the schemas, or the schemas themselves."""
    row = session.execute(_SERVER).fetchone()
    assert row is not None
    standby, may_create = row
    problems = []
    if standby:
        problems.append(Problem("the warehouse is a standby", "connect to its primary"))
    if not may_create:
        remedy = f"GRANT CREATE ON DATABASE {warehouse.database} TO {warehouse.login}"
        problems.append(Problem(f"{warehouse.login} may not create schemas in the warehouse", remedy))
    for (schema,) in session.execute(_SCHEMAS, (list(schemas),)).fetchall():
        remedy = f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {warehouse.login}"
        problems.append(Problem(f"{warehouse.login} may not create tables in schema {schema}", remedy))
    return problems


def may_write(session: psycopg.Connection[Any], tables: Sequence[str]) -> bool:
    """Whether these tables of schema ``dbo`` can be read and written."""
    row = session.execute(_WRITABLE, (list(tables),)).fetchone()
    return bool(row and row[0])


def present(session: psycopg.Connection[Any], schema: str, names: Sequence[str]) -> dict[str, bool]:
    """Return which tables are there, and whether they are ours to replace."""
    return dict(session.execute(_PRESENT, (schema, list(names))).fetchall())
