"""
How the tables of a control database differ from those that the orders sync expects.

A deployment of an older version, or of another tool, may have such tables. What it has beyond
ours is its own affair, unless it can refuse our rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import AddConstraint, BaseDDLElement, CreateColumn, CreateIndex
from sqlalchemy.types import TypeEngine

from include.connections import Connection
from include.engines.factory import metadata_engine
from include.orders_sync.live_tables import LiveTable, read
from include.orders_sync.pipelines import PIPELINES, PROFILER
from include.orders_sync.tables import metadata, pipelines, store_master

#: Tables that the sync does not write: what others demand of their rows is no trouble of ours.
_ONLY_READ = {pipelines.name, store_master.name}
_ALTER_COLUMN = "alter the column; mind what its values mean"
_TRIGGER = (
    "CREATE TRIGGER retail_sync_updated_at BEFORE UPDATE ON {} FOR EACH ROW"
    " EXECUTE FUNCTION retail_sync.touch_updated_at()"
)
_QUOTED = re.compile(r"'([^']*)'")
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Difference:
    """
    Something that is not as expected.

    :param remedy: what mends it, a statement where there is a simple one.
    :param breaks: runs fail, or keep wrong rows, as long as it is so.
    """

    text: str
    remedy: str
    breaks: bool = False

    def __str__(self) -> str:
        return self.text


def differences(connection: Connection) -> list[Difference]:
    """Return how the tables differ from ``tables.metadata``, in the order in which they depend on each other."""
    found: list[Difference] = []
    with metadata_engine(connection, "retail-sync check").connect() as session:
        live = read(session)
        for table in metadata.sorted_tables:
            if table.name in live:
                found += _compare(table, live[table.name])
            else:
                found.append(Difference(f"{table} is missing", "restore it from a backup", breaks=True))
        if pipelines.name in live and pipelines.c.code.name in live[pipelines.name].columns:
            known = set(session.scalars(sa.select(pipelines.c.code)))
            for code in sorted({*PIPELINES, PROFILER} - known):
                remedy = f"INSERT INTO {pipelines} (code) VALUES ('{code}')"  # noqa: S608 (a constant)
                found.append(Difference(f"{pipelines} has no row {code}", remedy, breaks=True))
    return found


def _compare(table: sa.Table, live: LiveTable) -> Iterator[Difference]:
    for column in table.columns:
        if column.name in live.columns:
            yield from _compare_column(column, live.columns[column.name])
        else:
            remedy = f"ALTER TABLE {table} ADD COLUMN {_sql(CreateColumn(column))}"
            yield Difference(f"{table} lacks the column {column.name}", remedy, breaks=True)
    yield from _compare_keys(table, live)
    yield from _compare_checks(table, live)
    yield from _compare_helpers(table, live)
    if table.name not in _ONLY_READ:
        yield from _refusals(table, live)


def _compare_column(column: sa.Column[Any], live: Any) -> Iterator[Difference]:
    name, alter = f"{column.table}.{column.name}", f"ALTER TABLE {column.table} ALTER COLUMN {column.name}"
    is_written = column.table.description not in _ONLY_READ
    found, expected = _type_name(live["type"]), _type_name(column.type)
    if found != expected:
        breaks = not _holds(live["type"], column.type)
        yield Difference(f"{name} is {found}, expected {expected}", _ALTER_COLUMN, breaks)
    if live["nullable"] and not column.nullable:
        yield Difference(f"{name} may be NULL, expected NOT NULL", f"{alter} SET NOT NULL")
    if column.nullable and not live["nullable"]:
        yield Difference(f"{name} is NOT NULL, expected to be NULL at times", f"{alter} DROP NOT NULL", is_written)
    if (column.server_default is not None or column.autoincrement is True) and not _fills_itself(live):
        breaks = is_written and not live["nullable"]
        yield Difference(f"{name} has no default", f"{alter} SET DEFAULT …", breaks)


def _compare_keys(table: sa.Table, live: LiveTable) -> Iterator[Difference]:
    """Runs rely on every key, except that a number of a row is unique."""
    expected = _keys(table)
    for columns, ddl in expected.items():
        if frozenset(columns) not in live.keys:
            breaks = columns != ("id",)
            yield Difference(f"{table} lacks the unique key ({', '.join(columns)})", _sql(ddl), breaks)


def _compare_checks(table: sa.Table, live: LiveTable) -> Iterator[Difference]:
    """A condition comes back as the server writes it: only the values that it lists are comparable."""
    expected = {str(check.name): check for check in table.constraints if isinstance(check, sa.CheckConstraint)}
    for name, check in sorted(expected.items()):
        wanted = str(check.sqltext)
        if name not in live.checks:
            yield Difference(f"{table} lacks the check {wanted}", _sql(_added(check)))
        elif set(_QUOTED.findall(live.checks[name])) != set(_QUOTED.findall(wanted)):
            text = f"{table} has the check {name}: {live.checks[name]}, expected {wanted}"
            yield Difference(text, f"ALTER TABLE {table} DROP CONSTRAINT {name}, then {_sql(_added(check))}", True)


def _compare_helpers(table: sa.Table, live: LiveTable) -> Iterator[Difference]:
    """What is missing of these makes a run slower or a row less certain, but breaks nothing."""
    for key in table.foreign_key_constraints:
        if (key.column_keys[0], key.referred_table.name) not in live.references:
            text = f"{table}.{key.column_keys[0]} does not refer to {key.referred_table}"
            yield Difference(text, _sql(_added(key)))
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if not index.unique and live.indexes.get(str(index.name)) != _columns(index):
            yield Difference(f"{table} lacks the index {index.name}", _sql(CreateIndex(index)))
    if "updated_at" in table.columns and not live.has_trigger:
        yield Difference(f"{table} lacks the trigger that keeps updated_at", _TRIGGER.format(table))


def _refusals(table: sa.Table, live: LiveTable) -> Iterator[Difference]:
    """Return what a table demands beyond ours, so that it refuses rows of the sync."""
    for name, column in live.columns.items():
        if name not in table.columns and not column["nullable"] and not _fills_itself(column):
            text = f"{table}.{name} is NOT NULL without a default, and the sync does not fill it"
            yield Difference(text, f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL", breaks=True)
    expected = [frozenset(columns) for columns in _keys(table)]
    for key in sorted(map(sorted, live.keys)):
        if not any(ours <= set(key) for ours in expected):
            text = f"{table} has the unique key ({', '.join(key)}), which refuses rows of the sync"
            yield Difference(text, "drop it", breaks=True)
    yield from _own_checks(table, live)


def _own_checks(table: sa.Table, live: LiveTable) -> Iterator[Difference]:
    """A check of another name that lists some of our values, but not all, refuses rows of the sync."""
    ours = {str(check.name): str(check.sqltext) for check in table.constraints if isinstance(check, sa.CheckConstraint)}
    lists = [set(_QUOTED.findall(text)) for text in ours.values()]
    same = {text for name, text in live.checks.items() if name in ours}
    for name, text in sorted(live.checks.items()):
        if name not in ours and text not in same:
            listed = set(_QUOTED.findall(text))
            breaks = any(listed & values and not values <= listed for values in lists)
            remedy = f"ALTER TABLE {table} DROP CONSTRAINT {name}, or see that it lets all rows pass"
            yield Difference(f"{table} has the check {name} of its own: {text}", remedy, breaks)


def _keys(table: sa.Table) -> dict[tuple[str, ...], BaseDDLElement]:
    """Return the columns of each unique key with the statement that makes it."""
    constraints = [
        item for item in table.constraints if isinstance(item, sa.PrimaryKeyConstraint | sa.UniqueConstraint)
    ]
    keys: dict[tuple[str, ...], BaseDDLElement] = {
        tuple(column.name for column in constraint.columns): _added(constraint)
        for constraint in sorted(constraints, key=lambda constraint: str(constraint.name))
    }
    return keys | {tuple(_columns(index)): CreateIndex(index) for index in table.indexes if index.unique}


def _columns(index: sa.Index) -> list[str]:
    """Return the names of an index's columns, also of those with a direction."""
    return [item.name if isinstance(item, sa.Column) else str(item).split(" ")[0] for item in index.expressions]


def _fills_itself(column: Any) -> bool:
    return column.get("default") is not None or "identity" in column or "computed" in column


def _holds(type_: TypeEngine[Any], wanted: TypeEngine[Any]) -> bool:
    """Whether a column of another type takes all values, as it should."""
    if isinstance(wanted, sa.String) and isinstance(type_, sa.String):
        return type_.length is None or (wanted.length is not None and type_.length >= wanted.length)
    if isinstance(wanted, sa.Numeric) and isinstance(type_, sa.Numeric):
        return type_.precision is None
    return isinstance(wanted, sa.Integer) and isinstance(type_, sa.Integer)


def _type_name(type_: TypeEngine[Any]) -> str:
    return "of an unknown type" if isinstance(type_, sa.types.NullType) else type_.compile(_DIALECT).lower()


def _sql(ddl: BaseDDLElement) -> str:
    return " ".join(str(ddl.compile(dialect=_DIALECT)).split())


def _added(constraint: sa.Constraint) -> AddConstraint:
    """Return the statement without what it is for by default: to take the constraint out of CREATE TABLE."""
    return AddConstraint(constraint, isolate_from_table=False)
