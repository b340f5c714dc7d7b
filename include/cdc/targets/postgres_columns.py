"""The columns of a table of a PostgreSQL warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.cdc.changes import TargetTable
from include.cdc.targets.base import Alteration, Shape

if TYPE_CHECKING:
    import psycopg

_COLUMNS = """
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
        coalesce(array_position(i.indkey::int2[], a.attnum), -1)
    FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
    WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
#: Marks a column that followed: what comes later beside it is no new name of it.
_DROPPED = "dropped at the source"
_UNMARKED = """
    SELECT attname::text, attnotnull FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attname = ANY(%s)
      AND col_description(attrelid, attnum) IS DISTINCT FROM %s
"""


def shape(session: psycopg.Connection[Any], schema: str, name: str) -> Shape:
    """Return key and columns of a table."""
    found = session.execute(_COLUMNS, (sql.Identifier(schema, name).as_string(session),)).fetchall()
    key = sorted((place, column) for column, _, place in found if place >= 0)
    return Shape(tuple(column for _, column in key), {column: kind for column, kind, _ in found})


def unmarked(session: psycopg.Connection[Any], table: TargetTable, columns: Sequence[str]) -> dict[str, bool]:
    """Return the columns without our comment, and whether each is NOT NULL."""
    relation = sql.Identifier(table.schema, table.name).as_string(session)
    return dict(session.execute(_UNMARKED, (relation, list(columns), _DROPPED)).fetchall())


def alter(session: psycopg.Connection[Any], table: TargetTable, change: Alteration) -> None:
    """Alter the columns of a table."""
    actions = [_addition(name, type_, change.defaults.get(name)) for name, type_ in change.added.items()]
    for name, type_ in change.widened.items():
        actions.append(sql.SQL("ALTER COLUMN {} TYPE {}").format(sql.Identifier(name), sql.SQL(type_)))
    for name in (name for name, is_required in change.dropped.items() if is_required):
        actions.append(sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(name)))
    if actions:
        relation = sql.Identifier(table.schema, table.name)
        session.execute(sql.SQL("ALTER TABLE {} {}").format(relation, sql.SQL(", ").join(actions)))
    for name in change.dropped:
        column = sql.Identifier(table.schema, table.name, name)
        session.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(column, sql.Literal(_DROPPED)))


def _addition(name: str, type_: str, default: str | None) -> sql.Composed:
    kept: sql.Composable = sql.SQL("")
    if default is not None:
        kept = sql.SQL(" DEFAULT {}::{}").format(sql.Literal(default), sql.SQL(type_))
    return sql.SQL("ADD COLUMN IF NOT EXISTS {} {}{}").format(sql.Identifier(name), sql.SQL(type_), kept)
