"""Copies in a PostgreSQL warehouse: how they begin and end, and how they come to where readers see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.cdc import names
from include.cdc.targets.base import STAGING, Columns

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

#: Somebody's views of a table hang on it: it is filled anew then, not replaced.
_DEPENDENTS = """
    SELECT EXISTS (
        SELECT FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %s::regclass AND r.ev_class <> d.refobjid
    )
"""
_COLUMNS = """
    SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_GRANTS = """
    SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
        string_agg(DISTINCT a.privilege_type, ', ')
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.oid = to_regclass(%s) AND a.grantee <> c.relowner GROUP BY 1
"""


def begin(session: Session, staging: str, columns: Columns, *, soft: bool) -> None:
    """Make the table of a copy, in the place of an older one."""
    defined = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(text)) for name, text in columns.items()]
    if soft:
        defined.append(sql.SQL("{} timestamptz").format(sql.Identifier(names.DELETED_AT)))
    relation = sql.Identifier(STAGING, staging)
    session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(relation))
    session.execute(sql.SQL("CREATE TABLE {} ({})").format(relation, _listed(defined)))


def finish(session: Session, staging: str, key: Sequence[str]) -> None:
    """Make the key of a copy, and analyze it."""
    relation = sql.Identifier(STAGING, staging)
    columns = _listed(map(sql.Identifier, key))
    session.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(relation, columns))
    session.execute(sql.SQL("ANALYZE {}").format(relation))


def place(session: Session, staging: str, schema: str, name: str, *, soft: bool) -> None:
    """Put a copy in the place of what readers see."""
    staged, target = sql.Identifier(STAGING, staging), sql.Identifier(schema, name)
    there = _columns(session, target)
    if there:
        if soft and names.DELETED_AT in there:
            _keep_deleted(session, staged, target, list(there))
        held = session.execute(_DEPENDENTS, (target.as_string(session),)).fetchone()
        if held and held[0]:
            _refill(session, staged, target)
            return
        _grant_alike(session, staged, target)
        session.execute(sql.SQL("DROP TABLE {}").format(target))
    session.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(staged, sql.Identifier(schema)))
    moved = sql.Identifier(schema, staging)
    session.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(moved, sql.Identifier(name)))


def _columns(session: Session, relation: sql.Identifier) -> dict[str, str]:
    return dict(session.execute(_COLUMNS, (relation.as_string(session),)).fetchall())


def _grant_alike(session: Session, staged: sql.Identifier, target: sql.Identifier) -> None:
    """Give whoever may read a table the same rights on the one that takes its place."""
    for grantee, right in session.execute(_GRANTS, (target.as_string(session),)).fetchall():
        statement = sql.SQL("GRANT {} ON {} TO {}")
        session.execute(statement.format(sql.SQL(right), staged, sql.SQL(grantee)))


def _refill(session: Session, staged: sql.Identifier, target: sql.Identifier) -> None:
    """Fill a table that views hang on; columns it lacks are added."""
    fresh = _columns(session, staged)
    for name, kind in fresh.items():
        statement = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}")
        session.execute(statement.format(target, sql.Identifier(name), sql.SQL(kind)))
    columns = _listed(map(sql.Identifier, fresh))
    session.execute(sql.SQL("TRUNCATE {}").format(target))
    session.execute(sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(target, columns, columns, staged))
    session.execute(sql.SQL("DROP TABLE {}").format(staged))


def _keep_deleted(session: Session, staged: sql.Identifier, target: sql.Identifier, there: Sequence[str]) -> None:
    """Take over the rows that the new copy lacks: those that were deleted, before or meanwhile."""
    fresh = _columns(session, staged)
    columns = [column for column in there if column in fresh and column != names.DELETED_AT]
    session.execute(
        sql.SQL(
            "INSERT INTO {staged} ({columns}, {deleted}) SELECT {columns}, coalesce({deleted}, now()) FROM {target}"
            " ON CONFLICT DO NOTHING"
        ).format(
            staged=staged,
            target=target,
            columns=_listed(map(sql.Identifier, columns)),
            deleted=sql.Identifier(names.DELETED_AT),
        )
    )


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
