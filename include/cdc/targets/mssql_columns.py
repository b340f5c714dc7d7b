"""
The columns of a table of a SQL Server warehouse.

An extended property of each keeps the type that it has at the source, as PostgreSQL writes it; it goes where the
column goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.cdc.changes import TargetTable
from include.cdc.targets.base import Alteration, Columns, Shape
from include.cdc.targets.mssql_types import column_type
from include.engines.mssql.sql import literal, names, quoted

if TYPE_CHECKING:
    import sqlalchemy as sa

_TYPE, _DROPPED = "retail_sync_type", "retail_sync_dropped"

SHAPE = """
SELECT c.name, COALESCE(CONVERT(nvarchar(200), p.value), TYPE_NAME(c.user_type_id)), COALESCE(k.key_ordinal, 0)
FROM sys.columns AS c
LEFT JOIN sys.extended_properties AS p
    ON p.class = 1 AND p.major_id = c.object_id AND p.minor_id = c.column_id AND p.name = ?
LEFT JOIN (
    SELECT ic.object_id, ic.column_id, ic.key_ordinal FROM sys.index_columns AS ic
    JOIN sys.indexes AS i ON i.object_id = ic.object_id AND i.index_id = ic.index_id AND i.is_primary_key = 1
) AS k ON k.object_id = c.object_id AND k.column_id = c.column_id
WHERE c.object_id = OBJECT_ID(?) ORDER BY c.column_id
"""
UNMARKED = """
SELECT c.name, CASE WHEN c.is_nullable = 0 THEN 1 ELSE 0 END FROM sys.columns AS c
WHERE c.object_id = OBJECT_ID(?) AND NOT EXISTS (
    SELECT 1 FROM sys.extended_properties AS p
    WHERE p.class = 1 AND p.major_id = c.object_id AND p.minor_id = c.column_id AND p.name = ?
)
"""
ADD_PROPERTY = """
EXEC sys.sp_addextendedproperty @name = ?, @value = ?, @level0type = N'SCHEMA', @level0name = ?,
    @level1type = N'TABLE', @level1name = ?, @level2type = N'COLUMN', @level2name = ?
"""
UPDATE_PROPERTY = """
EXEC sys.sp_updateextendedproperty @name = ?, @value = ?, @level0type = N'SCHEMA', @level0name = ?,
    @level1type = N'TABLE', @level1name = ?, @level2type = N'COLUMN', @level2name = ?
"""
KEY_NAME = "SELECT name FROM sys.key_constraints WHERE type = 'PK' AND parent_object_id = OBJECT_ID(?)"
#: Bytes that the key of a clustered index takes, and of a text's unit.
_MOST_KEY = 900


def shape(session: sa.Connection, schema: str, name: str) -> Shape:
    """Return key and columns of a table, with their types as they are at the source."""
    found = session.exec_driver_sql(SHAPE, (_TYPE, relation(schema, name))).all()
    key = sorted((place, column) for column, _, place in found if place > 0)
    return Shape(tuple(column for _, column in key), {column: kind for column, kind, _ in found})


def unmarked(session: sa.Connection, table: TargetTable, columns: Sequence[str]) -> dict[str, bool]:
    """Return the columns without the property of those that were dropped, and whether each is NOT NULL."""
    rows = session.exec_driver_sql(UNMARKED, (relation(table.schema, table.name), _DROPPED))
    return {name: bool(is_required) for name, is_required in rows if name in columns}


def alter(session: sa.Connection, table: TargetTable, change: Alteration) -> None:
    """Alter the columns of a table, and their properties."""
    for name, type_ in change.added.items():
        session.exec_driver_sql(add(table, name, type_, change.defaults.get(name)))
        note(session, table.schema, table.name, {name: type_})
    in_key = [name for name in change.widened if name in table.key]
    target = relation(table.schema, table.name)
    if in_key:
        constraint = session.exec_driver_sql(KEY_NAME, (target,)).scalar_one()
        session.exec_driver_sql(f"ALTER TABLE {target} DROP CONSTRAINT {quoted(constraint)}")
    for name, type_ in change.widened.items():
        session.exec_driver_sql(retype(table, name, type_))
        session.exec_driver_sql(UPDATE_PROPERTY, (_TYPE, type_, table.schema, table.name, name))
    if in_key:
        session.exec_driver_sql(primary_key(target, {**table.columns, **change.widened}, table.key))
    for name, is_required in change.dropped.items():
        if is_required:
            session.exec_driver_sql(retype(table, name, table.columns[name]))
        session.exec_driver_sql(ADD_PROPERTY, (_DROPPED, "", table.schema, table.name, name))


def relation(schema: str, name: str) -> str:
    """Return the quoted name of a table."""
    return f"{quoted(schema)}.{quoted(name)}"


def note(session: sa.Connection, schema: str, name: str, columns: Columns) -> None:
    """Keep the types of columns in their properties."""
    for column, type_ in columns.items():
        session.exec_driver_sql(ADD_PROPERTY, (_TYPE, type_, schema, name, column))


def add(table: TargetTable, name: str, type_: str, default: str | None) -> str:
    """Return the statement that adds a column; rows that are there have its default too."""
    of = column_type(type_)
    kept = f" DEFAULT ({of.converted.format(literal(default))}) WITH VALUES" if default is not None else ""
    return f"ALTER TABLE {relation(table.schema, table.name)} ADD {quoted(name)} {of.declared} NULL{kept}"


def retype(table: TargetTable, name: str, type_: str) -> str:
    """Return the statement that gives a column another type; but for a key it may be NULL then."""
    is_key = name in table.key
    declared = column_type(type_, is_key=is_key).declared
    null = "NOT NULL" if is_key else "NULL"
    return f"ALTER TABLE {relation(table.schema, table.name)} ALTER COLUMN {quoted(name)} {declared} {null}"


def primary_key(target: str, columns: Columns, key: Sequence[str]) -> str:
    """Return the statement that gives a table its key, clustered where its bytes allow it."""
    width = sum(_width(columns[name]) for name in key)
    kind = "CLUSTERED" if width <= _MOST_KEY else "NONCLUSTERED"
    return f"ALTER TABLE {target} ADD PRIMARY KEY {kind} ({names(key)})"


def _width(type_: str) -> int:
    declared = column_type(type_, is_key=True).declared
    size, is_long = declared.partition("(")[2].partition(")")[0], declared.startswith(("nvarchar", "varbinary"))
    return (2 if declared.startswith("nvarchar") else 1) * int(size) if is_long else 17
