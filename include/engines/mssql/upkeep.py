"""
Indexes, typed views and statistics in SQL Server.

A replica that is partitioned by month gets no further index: a month can be switched in only
where it has all indexes of the table, and is indexed in the publish transaction.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from include.catalog import Table
from include.engines.mssql import views
from include.engines.mssql.features import QUESTION, Features
from include.engines.mssql.sql import Statement, names, quoted, target_name
from include.engines.mssql.warehouse import MssqlWarehouse, named
from include.errors import SchemaMismatch
from include.maintenance.upkeep import IndexChanges, index_digits

log = logging.getLogger(__name__)

_INDEXES = "SELECT name FROM sys.indexes WHERE object_id = OBJECT_ID(?) AND name LIKE 'ix[_]%'"
_IS_PARTITIONED = """
    SELECT COUNT(*) FROM sys.indexes AS i JOIN sys.partition_schemes AS s ON s.data_space_id = i.data_space_id
    WHERE i.object_id = OBJECT_ID(?)
"""


@dataclass(frozen=True)
class MssqlUpkeep:
    """The upkeep of a SQL Server warehouse."""

    warehouse: MssqlWarehouse

    def indexes(self, table: Table) -> IndexChanges:
        """Make the declared indexes, drop ours that are no longer declared."""
        self._columns(table)
        with named(f"{table.name}: making indexes"), self.warehouse.begin() as session:
            session.exec_driver_sql(self._lock_timeout)
            features = Features.of(tuple(session.exec_driver_sql(QUESTION).one()))
            partitioned = features.partitions and session.exec_driver_sql(*is_partitioned(table)).scalar_one()
            if partitioned and table.indexes:
                log.warning("%s: is partitioned, its declared indexes are not made", table.name)
            wanted = {} if partitioned else {index_name(columns): columns for columns in table.indexes}
            present = own_indexes(table, session.exec_driver_sql(*index_names(table)).scalars())
            made = [name for name in wanted if name not in present]
            dropped = sorted(present - wanted.keys())
            for name in dropped:
                session.exec_driver_sql(drop_index(table, name))
            for name in made:
                session.exec_driver_sql(create_index(table, wanted[name]))
        return IndexChanges(tuple(made), tuple(dropped))

    def view(self, table: Table) -> bool:
        """Make the view; the server says not whether it was another."""
        statement = views.create_view(table, self._columns(table))
        with named(f"{table.name}: making the view {table.view}"), self.warehouse.begin() as session:
            session.exec_driver_sql(self._lock_timeout)
            session.exec_driver_sql(statement)
        return True

    def statistics(self, table: Table) -> None:
        """Update the statistics of the table and its indexes, from a sample."""
        with named(f"{table.name}: updating statistics"), self.warehouse.begin() as session:
            session.exec_driver_sql(self._lock_timeout)
            session.exec_driver_sql(update_statistics(table))

    @property
    def _lock_timeout(self) -> str:
        return f"SET LOCK_TIMEOUT {int(self.warehouse.settings.publish_lock_wait * 1000)}"

    def _columns(self, table: Table) -> list[str]:
        shape = self.warehouse.shape(table)
        if shape is None:
            missing = f"the warehouse has no table {target_name(table)}"
            raise SchemaMismatch(f"{table.name}: {missing} (run `python -m include migrate`)")
        return list(shape)


def index_name(columns: tuple[str, ...]) -> str:
    """Return the name of a declared index; an index is named within its table."""
    return f"ix_{index_digits(columns)}"


def index_names(table: Table) -> Statement:
    """Return the query for the names of the indexes of a replica that may be ours."""
    return _INDEXES, (target_name(table),)


def own_indexes(table: Table, found: Iterable[str]) -> set[str]:
    """
    Return which of the names are ours.

    Babelfish shows a name with that of the table behind it, and is given the plain one.
    """
    ours = re.compile(rf"(ix_[0-9a-f]{{6}})({re.escape(table.target_table)}.*)?", re.IGNORECASE)
    return {match[1] for name in found if (match := ours.fullmatch(name))}


def is_partitioned(table: Table) -> Statement:
    """Return the query for how many indexes of a replica lie on a partition scheme."""
    return _IS_PARTITIONED, (target_name(table),)


def create_index(table: Table, columns: tuple[str, ...]) -> str:
    """Return the statement that makes a declared index."""
    return f"CREATE NONCLUSTERED INDEX {quoted(index_name(columns))} ON {target_name(table)} ({names(columns)})"


def drop_index(table: Table, name: str) -> str:
    """Return the statement that removes an index of ours."""
    return f"DROP INDEX {quoted(name)} ON {target_name(table)}"


def update_statistics(table: Table) -> str:
    """Return the statement that updates what the planner knows of a replica."""
    return f"UPDATE STATISTICS {target_name(table)}"
