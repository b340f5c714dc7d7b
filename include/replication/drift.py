"""
What became of a table's columns since the catalog was written.

A new column is copied too, one that is gone is left NULL; a type that would lose values is an
error that shows both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from include.catalog import SqlType, Table
from include.engines.base import Source, Warehouse
from include.errors import SchemaMismatch

log = logging.getLogger(__name__)

#: Columns by name; where a type cannot be replicated, the server's name of it.
Shape = Mapping[str, SqlType | str]

_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_TEXTS = ("char", "varchar", "text")
_UNICODE_TEXTS = ("nchar", "nvarchar", "ntext")
_BYTES = ("binary", "varbinary", "image")
_PADDED = ("char", "nchar", "binary")
_UNBOUNDED = 2**31


@dataclass(frozen=True)
class Drift:
    """How the columns that were found differ from those that were expected."""

    added: dict[str, SqlType] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    """New columns whose type cannot be replicated, with the server's name of it."""
    missing: list[str] = field(default_factory=list)
    wider: list[str] = field(default_factory=list)
    """``column (found, expected)`` of each that holds more than was expected."""
    conflicts: list[str] = field(default_factory=list)
    """The same of each whose type is narrower or another one."""


#: The types by which a column that was made for a type may be found; the first is shown to people.
Forms = Callable[[SqlType], tuple[SqlType, ...]]


def drift_between(expected: Mapping[str, SqlType], found: Shape, forms: Forms = lambda type_: (type_,)) -> Drift:
    """Compare two sets of columns."""
    drift = Drift(missing=[name for name in expected if name not in found])
    for name, type_ in found.items():
        if name not in expected:
            if isinstance(type_, str):
                drift.unknown[name] = type_
            else:
                drift.added[name] = type_
        elif type_ not in (known := forms(expected[name])):
            fits = not isinstance(type_, str) and any(holds(type_, form) for form in known)
            (drift.wider if fits else drift.conflicts).append(f"{name} ({type_}, {known[0]})")
    return drift


def holds(type_: SqlType, other: SqlType) -> bool:
    """Whether ``type_`` is ``other`` or merely wider; a decimal of another scale is another type."""
    if type_.base in _PADDED:
        return type_ == other
    if type_.base in _INTEGERS and other.base in _INTEGERS:
        return _INTEGERS.index(type_.base) >= _INTEGERS.index(other.base)
    for family, others in ((_TEXTS, _TEXTS), (_UNICODE_TEXTS, _UNICODE_TEXTS + _TEXTS), (_BYTES, _BYTES)):
        if type_.base in family and other.base in others:
            return (type_.length or _UNBOUNDED) >= (other.length or _UNBOUNDED)
    if type_.base != other.base:
        return False
    if type_.base == "decimal":
        return type_.scale == other.scale and (type_.precision or 0) >= (other.precision or 0)
    return (type_.fraction or 0) >= (other.fraction or 0)


def follow(source: Source, warehouse: Warehouse, table: Table, shape: Shape) -> None:
    """
    Make the replica ready for the columns that the source has now, and say what changed.

    :param shape: what the source has.
    :raises SchemaMismatch: if a type at the source or in the warehouse would lose values, or a column is
        missing that the replication needs.
    """
    drift = _source_drift(source, table, shape)
    catalog_it = f"`python -m include add-table {table.name}`, then migrate the warehouse's column"
    _refuse(table, drift, "the source", catalog_it)
    needed = {table.date, table.rowversion, *table.key}
    if lost := [name for name in drift.missing if name in needed]:
        raise SchemaMismatch(
            f"{table.name}: the source has no column {', '.join(lost)}, which is date, key or rowversion; "
            "correct tables.yaml"
        )
    kept = _replica_drift(warehouse, table, drift.added)
    if absent := [name for name in kept.missing if name in needed]:
        raise SchemaMismatch(f"{table.name}: the warehouse has no column {', '.join(absent)}; add it")
    _refuse(table, kept, "the warehouse", "alter the column to the type of the catalog")
    _warn(table, drift)
    # an ALTER keeps readers out even where it has nothing to do
    wanted = {**table.columns, **drift.added}
    if lacking := {name: wanted[name] for name in kept.missing if name not in drift.missing}:
        log.info("%s: columns added to the warehouse: %s", table.name, ", ".join(lacking))
        warehouse.add_columns(table, lacking)


def current_table(source: Source, warehouse: Warehouse, table: Table) -> Table:
    """Return the table with the columns that are copied: those of the catalog that are there, then new ones."""
    shape = source.shape(table)
    if shape is None:
        return table
    drift = _source_drift(source, table, shape)
    there = warehouse.shape(table) or {} if drift.added else {}
    added = {name: type_ for name, type_ in drift.added.items() if name in there}
    if not added and not drift.missing:
        return table
    columns = {name: type_ for name, type_ in table.columns.items() if name in shape}
    return table.model_copy(update={"columns": {**columns, **added}})


def _source_drift(source: Source, table: Table, shape: Shape) -> Drift:
    """A source may have the very types of the catalog, or was made from it and has its own forms of them."""
    return drift_between(table.columns, shape, lambda type_: (type_, source.canonical(type_)))


def _replica_drift(warehouse: Warehouse, table: Table, added: Mapping[str, SqlType]) -> Drift:
    """A replica has the warehouse's own forms of the types: another might hold less, if only blanks or an offset."""
    shape = warehouse.shape(table)
    if shape is None:
        raise SchemaMismatch(
            f"{table.name}: the warehouse has no table {table.target_table}; run `python -m include migrate`"
        )
    return drift_between({**table.columns, **added}, shape, lambda type_: (warehouse.canonical(type_),))


def _refuse(table: Table, drift: Drift, where: str, remedy: str) -> None:
    if drift.conflicts:
        raise SchemaMismatch(
            f"{table.name}: types in {where} and in the catalog differ: {', '.join(drift.conflicts)}; {remedy}"
        )


def _warn(table: Table, drift: Drift) -> None:
    catalog_it = f"`python -m include add-table {table.name}` puts it into the catalog"
    if drift.added:
        new = ", ".join(f"{name} {type_}" for name, type_ in drift.added.items())
        log.warning("%s: new columns of the source, added to the warehouse: %s; %s", table.name, new, catalog_it)
    if drift.unknown:
        new = ", ".join(f"{name} {type_}" for name, type_ in drift.unknown.items())
        log.warning("%s: new columns of the source that cannot be replicated are left out: %s", table.name, new)
    if drift.missing:
        gone = ", ".join(drift.missing)
        log.warning("%s: the source has no column %s any more; it is NULL in what is loaded", table.name, gone)
    if drift.wider:
        log.warning(
            "%s: types at the source are wider than in the catalog: %s; a value that does not fit will fail; %s",
            *(table.name, ", ".join(drift.wider), catalog_it),
        )
