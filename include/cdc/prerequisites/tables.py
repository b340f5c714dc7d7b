"""The tables of a PostgreSQL source: whether each can be published, read, and held by the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import psycopg

from include.cdc.models import Replication
from include.cdc.prerequisites import Problem
from include.cdc.prerequisites.columns import column_problems
from include.cdc.sources.base import SourceTable
from include.cdc.sources.postgres_rows import PostgresRows

#: A table can be published if it, or each of its partitions, can tell which row an UPDATE is of.
_RELATIONS = """
    SELECT n.nspname || '.' || c.relname, c.relkind::text, c.relpersistence::text, c.relispartition,
        coalesce((
            SELECT bool_and(l.relreplident = 'f' OR l.relreplident <> 'n' AND EXISTS (
                SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indisvalid AND i.indimmediate
                AND CASE l.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
            ))
            FROM (
                SELECT c.oid WHERE c.relkind <> 'p'
                UNION ALL SELECT t.relid FROM pg_partition_tree(c.oid) t WHERE c.relkind = 'p' AND t.isleaf
            ) leaf JOIN pg_class l ON l.oid = leaf.oid
        ), true),
        has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'),
        pg_has_role(c.relowner, 'USAGE'), row_security_active(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
    ORDER BY 1
"""
_GENERATED = """
    SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''
"""
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_PERSISTENCES = {"u": "an unlogged table", "t": "a temporary table"}


@dataclass(frozen=True)
class Relation:
    """
    A table of the source, or what may be taken for one.

    :param identified: whether an UPDATE still works when it is published.
    :param hidden: whether row security keeps rows from us.
    """

    name: str
    kind: str
    persistence: str
    is_partition: bool
    identified: bool
    may_enter: bool
    may_read: bool
    owned: bool
    hidden: bool

    @property
    def other(self) -> str | None:
        """What it is that cannot be followed, None for a table that can."""
        partition = "a partition, its root is followed" if self.is_partition else None
        return _KINDS.get(self.kind) or _PERSISTENCES.get(self.persistence) or partition


def relations(session: psycopg.Connection[Any]) -> dict[str, Relation]:
    """Return what the source has, by ``schema.table``."""
    return {row[0]: Relation(*row) for row in session.execute(_RELATIONS).fetchall()}


def problems(
    session: psycopg.Connection[Any],
    replication: Replication,
    found: Mapping[str, Relation],
    tables: Sequence[SourceTable],
) -> list[Problem]:
    """Look at what is declared, and at each table that is followed."""
    problems = _declared(replication, found)
    for table in tables:
        problems += _published(table, found[table.name])
        problems += _readable(found[table.name])
        problems += _columns(session, replication, table)
    return problems


def _declared(replication: Replication, found: Mapping[str, Relation]) -> list[Problem]:
    problems = []
    for pattern in replication.tables:
        exact = not set("*?[") & set(pattern)
        relation = found.get(pattern) if exact else None
        if relation is not None and relation.other:
            remedy = "take it off `tables`; ordinary and partitioned tables can be followed"
            problems.append(Problem(f"{pattern} is {relation.other}", remedy))
        elif not any(
            fnmatchcase(name, pattern) and replication.holds(name) and not found[name].other for name in found
        ):
            text = f"tables: {pattern} " + ("is not at the source" if exact else "matches no table of the source")
            problems.append(Problem(text, "correct the name, mind upper and lower case and `exclude`"))
    for field in ("without", "rename"):
        for name in getattr(replication, field):
            if name not in found:
                problems.append(Problem(f"{field}: {name} is not at the source", "correct the name, or take it off"))
    return problems


def _published(table: SourceTable, relation: Relation) -> list[Problem]:
    if not table.key:
        text = f"{table.name} has no primary key: published, an UPDATE of it may fail at the source"
        return [Problem(text, "add a primary key, or a unique index over NOT NULL columns as replica identity")]
    if not relation.identified:
        text = f"{table.name}: its replica identity, or that of a partition, is not a key that is valid at once"
        return [Problem(text, "ALTER TABLE … REPLICA IDENTITY DEFAULT, with a primary key that is not deferrable")]
    return []


def _readable(relation: Relation) -> list[Problem]:
    schema = relation.name.split(".", 1)[0]
    if not relation.may_enter:
        return [Problem(f"{relation.name}: USAGE on schema {schema} is missing", "grant it to the login of the source")]
    if not relation.may_read:
        return [Problem(f"{relation.name}: SELECT is missing", "grant it to the login of the source")]
    if relation.hidden:
        remedy = "give the login BYPASSRLS, or a policy that shows all"
        return [Problem(f"{relation.name}: row security may hide rows from the login", remedy)]
    return []


def _columns(session: psycopg.Connection[Any], replication: Replication, table: SourceTable) -> list[Problem]:
    schema, name = table.name.split(".", 1)
    columns = PostgresRows(session).columns(table.name)
    generated = {column for (column,) in session.execute(_GENERATED, (schema, name)).fetchall()}
    return column_problems(replication, table, columns, generated)
