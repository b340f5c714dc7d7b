"""What maintenance asks of a warehouse, whichever database it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from include.catalog import Table
from include.catalog.models import TextForm
from include.engines.base import Warehouse


@dataclass(frozen=True, slots=True)
class IndexChanges:
    """The names of the indexes that were made and dropped."""

    made: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class Upkeep(Protocol):
    """
    What is done to a replica while nobody loads it: the caller holds the whole table.

    Each call may be repeated: what is right already is left alone.
    """

    def indexes(self, table: Table) -> IndexChanges:
        """
        Make the indexes that the catalog declares, drop those of ours that it no longer does.

        :raises SchemaMismatch: if the replica or a column of an index is missing.
        """
        ...

    def view(self, table: Table) -> bool:
        """
        Make the table's view with typed dates and times; returns whether it was changed.

        :raises SchemaMismatch: if the replica is missing.
        """
        ...

    def statistics(self, table: Table) -> None:
        """Tell the planner what the table holds now."""
        ...


def upkeep_of(warehouse: Warehouse) -> Upkeep:
    """Return the upkeep of a warehouse."""
    from include.engines.mssql.warehouse import MssqlWarehouse

    if isinstance(warehouse, MssqlWarehouse):
        from include.engines.mssql.upkeep import MssqlUpkeep

        return MssqlUpkeep(warehouse)
    from include.engines.postgres.upkeep import PostgresUpkeep
    from include.engines.postgres.warehouse import PostgresWarehouse

    assert isinstance(warehouse, PostgresWarehouse)
    return PostgresUpkeep(warehouse)


def index_digits(columns: tuple[str, ...]) -> str:
    """Return the six hex digits by which an index of ours is known."""
    return hashlib.blake2b(",".join(columns).encode(), digest_size=3).hexdigest()


def typed_name(column: str) -> str:
    """Return what the view calls a typed column."""
    return f"{column}_TYPED"


#: What the view calls the mark of deleted rows.
IS_DELETED = "IS_DELETED"


def typed_columns(table: Table, columns: list[str]) -> dict[str, TextForm]:
    """Return the typed columns that a replica with these columns has, where no column of it has their name."""
    return {name: form for name, form in table.typed.items() if name in columns and typed_name(name) not in columns}


def marks_deleted(table: Table, columns: list[str]) -> bool:
    """Whether the view of a replica with these columns has the mark of deleted rows."""
    return table.soft_delete in columns and IS_DELETED not in columns
