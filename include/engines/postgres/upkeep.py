"""
Indexes, typed views and statistics in PostgreSQL.

An index is made on each partition by itself, not on the table: a month that is put in place
would have to be indexed in the publish transaction. So a month that was replaced has none
until the next maintenance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql as pgsql

from include.catalog import Table
from include.engines.postgres import sql, views
from include.engines.postgres.errors import translated
from include.engines.postgres.warehouse import PostgresWarehouse
from include.errors import SchemaMismatch
from include.maintenance.upkeep import IndexChanges, index_digits

#: A plain table has no partition tree.
_LEAVES = """
    SELECT nspname, relname
    FROM pg_class JOIN pg_namespace space ON space.oid = relnamespace
    WHERE pg_class.oid = to_regclass(%(table)s) AND relkind = 'r'
       OR pg_class.oid IN (SELECT relid FROM pg_partition_tree(to_regclass(%(table)s)) WHERE isleaf)
    ORDER BY nspname, relname
"""
_INDEXES = """
    SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = to_regclass(%s) AND indisvalid
"""
_ANALYZED = """
    SELECT extract(epoch FROM now() - greatest(last_analyze, last_autoanalyze)) / 86400, n_mod_since_analyze
    FROM pg_stat_all_tables WHERE relid = to_regclass(%s)
"""

#: The statistics of a partitioned table as one are made of samples of all its partitions.
_WHOLE_TABLE_EVERY_DAYS = 7
_NEVER = float("inf")


@dataclass(frozen=True)
class PostgresUpkeep:
    """The upkeep of a PostgreSQL warehouse."""

    warehouse: PostgresWarehouse

    def indexes(self, table: Table) -> IndexChanges:
        """Make the declared indexes on each partition, drop ours that are no longer declared."""
        made: list[str] = []
        dropped: list[str] = []
        with self._session(table, "making indexes") as session:
            for schema, relation in _leaves(session, table):
                wanted = {f"{relation}_ix_{index_digits(columns)}": columns for columns in table.indexes}
                present = _own_indexes(session, schema, relation)
                for name in sorted(present - wanted.keys()):
                    session.execute(pgsql.SQL("DROP INDEX {}").format(pgsql.Identifier(schema, name)))
                    dropped.append(name)
                for name in [name for name in wanted if name not in present]:
                    session.execute(_create_index(name, pgsql.Identifier(schema, relation), wanted[name]))
                    made.append(name)
                session.commit()
        return IndexChanges(tuple(made), tuple(dropped))

    def view(self, table: Table) -> bool:
        """Make the view, or change it where it is not as it would be made now."""
        with self._session(table, f"making the view {table.view}") as session:
            _leaves(session, table)
            changed = views.refresh(session, table)
            session.commit()
        return changed

    def statistics(self, table: Table) -> None:
        """
        Analyze the partitions that changed since they were analyzed, and once a week the table as one.

        The server does the first by itself, some time later, and never the second.
        """
        with self._session(table, "updating statistics") as session:
            target, leaves = sql.target_name(table), _leaves(session, table)
            relations = [pgsql.Identifier(*leaf) for leaf in leaves]
            if relations != [target] and _days_since_analyzed(session, target) > _WHOLE_TABLE_EVERY_DAYS:
                relations = [target]  # with all its partitions
            else:
                relations = [relation for relation in relations if _has_changed(session, relation)]
            session.commit()
            for relation in relations:
                session.execute(pgsql.SQL("ANALYZE {}").format(relation))
                session.commit()

    @contextmanager
    def _session(self, table: Table, doing: str) -> Iterator[psycopg.Connection[Any]]:
        """Open a session that waits for readers no longer than a publish does."""
        with translated(f"{table.name}: {doing}"), self.warehouse.open_session() as session:
            wait = f"{self.warehouse.settings.publish_lock_wait * 1000:.0f}ms"
            session.execute("SELECT set_config('lock_timeout', %s, false)", (wait,))
            yield session


def _leaves(session: psycopg.Connection[Any], table: Table) -> list[tuple[str, str]]:
    """Return schema and name of the relations that hold the rows."""
    name = sql.target_name(table).as_string(session)
    found = session.execute(_LEAVES, {"table": name}).fetchall()
    if not found:
        raise SchemaMismatch(f"{table.name}: the warehouse has no table {name} (run `python -m include migrate`)")
    return [(schema, relation) for schema, relation in found]


def _own_indexes(session: psycopg.Connection[Any], schema: str, relation: str) -> set[str]:
    name = pgsql.Identifier(schema, relation).as_string(session)
    ours = re.compile(re.escape(relation) + "_ix_[0-9a-f]{6}")
    return {index for (index,) in session.execute(_INDEXES, (name,)) if ours.fullmatch(index)}


def _create_index(name: str, relation: pgsql.Identifier, columns: tuple[str, ...]) -> pgsql.Composed:
    return pgsql.SQL("CREATE INDEX {} ON {} ({})").format(pgsql.Identifier(name), relation, sql.names(columns))


def _days_since_analyzed(session: psycopg.Connection[Any], relation: pgsql.Identifier) -> float:
    return _analyzed(session, relation)[0]


def _has_changed(session: psycopg.Connection[Any], relation: pgsql.Identifier) -> bool:
    days, changes = _analyzed(session, relation)
    return changes > 0 or days == _NEVER


def _analyzed(session: psycopg.Connection[Any], relation: pgsql.Identifier) -> tuple[float, int]:
    """Return how many days ago a relation was analyzed, and how many rows changed since."""
    row = session.execute(_ANALYZED, (relation.as_string(session),)).fetchone()
    return (_NEVER, 0) if row is None or row[0] is None else (float(row[0]), int(row[1]))
