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
from include.cdc.values import has_digits_of
from include.engines.mssql.sql import literal, names, quoted, relation
from include.errors import SchemaMismatch

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
#: An empty answer where a column has no such property.
PROPERTY = "SELECT value FROM sys.fn_listextendedproperty(?, N'SCHEMA', ?, N'TABLE', ?, N'COLUMN', ?)"
ADD_PROPERTY = """
EXEC sys.sp_addextendedproperty @name = ?, @value = ?, @level0type = N'SCHEMA', @level0name = ?,
    @level1type = N'TABLE', @level1name = ?, @level2type = N'COLUMN', @level2name = ?
"""
UPDATE_PROPERTY = """
EXEC sys.sp_updateextendedproperty @name = ?, @value = ?, @level0type = N'SCHEMA', @level0name = ?,
    @level1type = N'TABLE', @level1name = ?, @level2type = N'COLUMN', @level2name = ?
"""
DEFAULT = """
SELECT d.name, d.[definition] FROM sys.default_constraints AS d
JOIN sys.columns AS c ON c.object_id = d.parent_object_id AND c.column_id = d.parent_column_id
WHERE d.parent_object_id = OBJECT_ID(?) AND c.name = ?
"""
KEY_NAME = "SELECT name FROM sys.key_constraints WHERE type = 'PK' AND parent_object_id = OBJECT_ID(?)"
#: Bytes that the key of a clustered index takes.
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
    """
    Alter the columns of a table, and their properties; what another run has added meanwhile is left alone.

    :raises SchemaMismatch: for a default, or a wider type, that SQL Server does not hold.
    """
    for name, type_ in change.added.items():
        default = change.defaults.get(name)
        _assert_held(session, table, name, type_, default)
        session.exec_driver_sql(add(table, name, type_, default))
        note(session, table.schema, table.name, {name: type_})
    in_key = [name for name in change.widened if name in table.key]
    target = relation(table.schema, table.name)
    if in_key:
        constraint = session.exec_driver_sql(KEY_NAME, (target,)).scalar_one()
        session.exec_driver_sql(f"ALTER TABLE {target} DROP CONSTRAINT {quoted(constraint)}")
    for name, type_ in change.widened.items():
        _assert_wider(table, name, type_)
        change_type(session, table, name, type_)
    if in_key:
        session.exec_driver_sql(primary_key(target, {**table.columns, **change.widened}, table.key))
    for name, is_required in change.dropped.items():
        if is_required:
            session.exec_driver_sql(retype(table, name, table.columns[name]))
        _set(session, _DROPPED, "", table.schema, table.name, name)


def _assert_wider(table: TargetTable, name: str, type_: str) -> None:
    before, after = column_type(table.columns[name]), column_type(type_)
    if before.digits and after.digits and not has_digits_of(after.digits, before.digits):
        text = f"column {name} is {type_} at the source, and {after.declared} does not hold all of {before.declared}"
        raise SchemaMismatch(f"{table.source}: {text}; leave it out by `without`")


def change_type(session: sa.Connection, table: TargetTable, name: str, type_: str) -> None:
    """Give a column another type, and keep its default: while it has one its type cannot be changed."""
    target = relation(table.schema, table.name)
    default = session.exec_driver_sql(DEFAULT, (target, name)).first()
    if default is not None:
        session.exec_driver_sql(f"ALTER TABLE {target} DROP CONSTRAINT {quoted(default[0])}")
    session.exec_driver_sql(retype(table, name, type_))
    if default is not None:
        session.exec_driver_sql(f"ALTER TABLE {target} ADD DEFAULT {default[1]} FOR {quoted(name)}")
    _set(session, _TYPE, type_, table.schema, table.name, name)


def _assert_held(session: sa.Connection, table: TargetTable, name: str, type_: str, default: str | None) -> None:
    of = column_type(type_)
    if default is None:
        return
    query = f"SELECT CASE WHEN {of.refuses(literal(default))} THEN 1 ELSE 0 END"
    if session.exec_driver_sql(query).scalar():
        text = f"the default of its new column {name} is none of {of.declared}"
        raise SchemaMismatch(f"{table.source}: {text}; leave it out by `without`")


def note(session: sa.Connection, schema: str, name: str, columns: Columns) -> None:
    """Keep the types of columns in their properties."""
    for column, type_ in columns.items():
        _set(session, _TYPE, type_, schema, name, column)


def _set(session: sa.Connection, key: str, value: str, schema: str, name: str, column: str) -> None:
    known = session.exec_driver_sql(PROPERTY, (key, schema, name, column)).first() is not None
    session.exec_driver_sql(UPDATE_PROPERTY if known else ADD_PROPERTY, (key, value, schema, name, column))


def add(table: TargetTable, name: str, type_: str, default: str | None) -> str:
    """Return the statement that adds a column where it is missing; rows that are there have its default too."""
    of, target = column_type(type_), relation(table.schema, table.name)
    kept = f" DEFAULT ({of.converted.format(literal(default))}) WITH VALUES" if default is not None else ""
    missing = f"IF COL_LENGTH({literal(target)}, {literal(name)}) IS NULL"
    return f"{missing} ALTER TABLE {target} ADD {quoted(name)} {of.declared} NULL{kept}"


def retype(table: TargetTable, name: str, type_: str) -> str:
    """Return the statement that gives a column another type; but for a key it may be NULL then."""
    is_key = name in table.key
    declared = column_type(type_, is_key=is_key).declared
    null = "NOT NULL" if is_key else "NULL"
    return f"ALTER TABLE {relation(table.schema, table.name)} ALTER COLUMN {quoted(name)} {declared} {null}"


def primary_key(target: str, columns: Columns, key: Sequence[str]) -> str:
    """Return the statement that gives a table its key, clustered where its bytes allow it."""
    width = sum(column_type(columns[name], is_key=True).size for name in key)
    kind = "CLUSTERED" if width <= _MOST_KEY else "NONCLUSTERED"
    return f"ALTER TABLE {target} ADD PRIMARY KEY {kind} ({names(key)})"
