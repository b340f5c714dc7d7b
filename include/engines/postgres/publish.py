"""
The one transaction in which a span becomes visible in a PostgreSQL warehouse.

A whole month of a partitioned table is written once: the loaded table takes the place of
the old partition, and so does a table that is refreshed whole. Anything else is deleted and
inserted inside the table. Either way rows whose date moved, so that their key is still
elsewhere, go in the same transaction; where both sides have a rowversion the newer row wins,
since two windows may have been read at different moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql as pgsql

from include.catalog import Table
from include.engines.base import Changed, Published
from include.engines.postgres import ddl, sql
from include.engines.staging import STAGING_SCHEMA, staging_name
from include.windows import Span, Undated, Whole, Window

_PARTITIONS = """
    SELECT nspname, relname
    FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid
    JOIN pg_namespace space ON space.oid = child.relnamespace
    WHERE inhparent = to_regclass(%s)
"""

#: The lowest and the highest value of a key's first column.
Bounds = tuple[Any, Any]


@dataclass(frozen=True)
class Publication:
    """A span that is about to be published on ``session``, inside its transaction."""

    session: psycopg.Connection[Any]
    table: Table
    span: Span
    staged: int
    """How many rows the staging table holds."""

    @property
    def staging(self) -> pgsql.Identifier:
        """The staging table."""
        return pgsql.Identifier(STAGING_SCHEMA, staging_name(self.table, self.span))

    @property
    def target(self) -> pgsql.Identifier:
        """The table, or the partition, that holds the span."""
        if isinstance(self.span, Whole):
            return ddl.whole_partition(self.table)
        if not ddl.is_partitioned(self.table):
            return sql.target_name(self.table)
        if not isinstance(self.span, Window):
            return ddl.default_partition(self.table)
        return pgsql.Identifier(self.table.target_schema, ddl.month_partition_name(self.table, self.span.start))

    def run(self, publish_lock_wait: float) -> Published:
        """
        Replace the span; the caller commits.

        :param publish_lock_wait: seconds to queue behind readers before giving up.
        """
        self._take_turn(publish_lock_wait)
        if isinstance(self.span, Whole):
            changed = self._changed()
            return Published(self.staged, self._swap_whole(), 0, changed)
        moved, stale = self._settle_moved_rows()
        if ddl.is_partitioned(self.table) and isinstance(self.span, Window) and self.span.is_month:
            replaced = self._swap_month(self.span)
            rows = self.staged - stale
        else:
            rows, replaced = self._replace_rows()
        return Published(rows, replaced, moved)

    def _take_turn(self, publish_lock_wait: float) -> None:
        """Wait for other publishes of the table, and from then on for nobody longer than ``publish_lock_wait``."""
        self._execute(
            pgsql.SQL("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))").format(
                pgsql.Literal(f"retail-sync publish {self.table.target_schema}.{self.table.target_table}")
            )
        )
        self._execute(
            pgsql.SQL("SELECT set_config('lock_timeout', {}, true)").format(
                pgsql.Literal(f"{publish_lock_wait * 1000:.0f}ms")
            )
        )

    def _changed(self) -> Changed | None:
        """Compare a whole table with what takes its place, by key and rowversion; readers are not in the way."""
        if not self.table.key or not self.table.rowversion:
            return None
        row = self.session.execute(
            pgsql.SQL(
                "SELECT count(*) FILTER (WHERE old.{first} IS NULL),"
                " count(*) FILTER (WHERE old.{first} IS NOT NULL AND new.{version} <> old.{version}),"
                " count(*) FILTER (WHERE new.{first} IS NULL)"
                " FROM {staging} new FULL JOIN {target} old ON {same_key}"
            ).format(
                first=pgsql.Identifier(self.table.key[0]),
                version=pgsql.Identifier(self.table.rowversion),
                staging=self.staging,
                target=self.target,
                same_key=self._same_key("new", "old"),
            )
        ).fetchone()
        assert row is not None
        return Changed(*row)

    def _swap_whole(self) -> int:
        replaced = self._count(self.target)
        parent = sql.target_name(self.table)
        self._execute(pgsql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(parent, self.target))
        self._execute(pgsql.SQL("DROP TABLE {}").format(self.target))
        self._move_staging(f"{self.table.target_table}_rows")
        self._execute(pgsql.SQL("ALTER TABLE {} ATTACH PARTITION {} DEFAULT").format(parent, self.target))
        return replaced

    def _move_staging(self, name: str) -> None:
        """Give the staging table its place among the replicas."""
        schema = pgsql.Identifier(self.table.target_schema)
        self._execute(pgsql.SQL("ALTER TABLE {} SET SCHEMA {}").format(self.staging, schema))
        staged = pgsql.Identifier(self.table.target_schema, staging_name(self.table, self.span))
        self._execute(pgsql.SQL("ALTER TABLE {} RENAME TO {}").format(staged, pgsql.Identifier(name)))

    def _swap_month(self, month: Window) -> int:
        replaced = 0
        if self._partition_exists():
            replaced = self._count(self.target)
            self._execute(
                pgsql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(sql.target_name(self.table), self.target)
            )
            self._execute(pgsql.SQL("DROP TABLE {}").format(self.target))
        # a row of the month that somebody wrote while it had no partition would forbid the attach
        self._execute(
            pgsql.SQL("DELETE FROM {} WHERE {}").format(
                ddl.default_partition(self.table), sql.in_span(self.table, month)
            )
        )
        self._move_staging(ddl.month_partition_name(self.table, month.start))
        for statement in ddl.attach(self.table, month, self.target):
            self._execute(statement)
        return replaced

    def _replace_rows(self) -> tuple[int, int]:
        month_missing = ddl.is_partitioned(self.table) and not self._partition_exists()
        if month_missing and isinstance(self.span, Window):
            for statement in ddl.create_month(self.table, Window.of_month(self.span.start)):
                self._execute(statement)
        replaced = self._execute(
            pgsql.SQL("DELETE FROM {} WHERE {}").format(self.target, sql.in_span(self.table, self.span))
        )
        columns = sql.names(list(self.table.columns))
        rows = self._execute(
            pgsql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(self.target, columns, columns, self.staging)
        )
        self._execute(pgsql.SQL("DROP TABLE {}").format(self.staging))
        return rows, replaced

    def _settle_moved_rows(self) -> tuple[int, int]:
        """
        Delete keys of the span that are still elsewhere, drop staged rows that are newer there.

        Returns how many of each.
        """
        moved = stale = 0
        if not self.table.key:
            return moved, stale
        for relation, shared, inside in self._elsewhere():
            self._execute(self._collect_moved(relation, shared, inside))
            if self.table.rowversion:
                stale += self._execute(self._drop_stale(relation))
            moved += self._execute(
                pgsql.SQL("DELETE FROM {} old USING moved WHERE {}").format(relation, self._same_key("old", "moved"))
            )
            self._execute(pgsql.SQL("DROP TABLE moved"))
        return moved, stale

    def _elsewhere(self) -> list[tuple[pgsql.Composable, Bounds, bool]]:
        """
        Return where a key of the span may be found: relation, shared range of keys, span inside.

        Keys grow with time, so the range that a month shares with another is small or empty:
        what is not shared is never read.
        """
        staged = self._key_bounds(self.staging)
        if staged is None:
            return []
        found: list[tuple[pgsql.Composable, Bounds, bool]] = []
        for relation, holds_span in self._relations():
            bounds = self._key_bounds(relation)
            if bounds and (low := max(staged[0], bounds[0])) <= (high := min(staged[1], bounds[1])):
                found.append((relation, (low, high), holds_span))
        return found

    def _relations(self) -> list[tuple[pgsql.Composable, bool]]:
        """Return every relation with rows outside of the span, and whether the span is in it too."""
        if not ddl.is_partitioned(self.table):
            return [(self.target, True)]
        whole = isinstance(self.span, Undated) or (isinstance(self.span, Window) and self.span.is_month)
        return [
            (relation, relation == self.target)
            for relation in self._partitions()
            if relation != self.target or not whole
        ]

    def _partitions(self) -> list[pgsql.Identifier]:
        parent = sql.target_name(self.table).as_string(self.session)
        partitions = self.session.execute(_PARTITIONS, (parent,)).fetchall()
        return [pgsql.Identifier(schema, name) for schema, name in partitions]

    def _collect_moved(self, relation: pgsql.Composable, shared: Bounds, inside: bool) -> pgsql.Composed:
        outside: pgsql.Composable = pgsql.SQL("")
        if inside:
            outside = pgsql.SQL(" AND ({}) IS NOT TRUE").format(sql.in_span(self.table, self.span))
        return pgsql.SQL(
            "CREATE TEMPORARY TABLE moved ON COMMIT DROP AS SELECT {key} FROM {relation}"
            " WHERE {first} BETWEEN {low} AND {high}"
            " AND ({key}) IN (SELECT {key} FROM {staging} WHERE {first} BETWEEN {low} AND {high}){outside}"
        ).format(
            key=sql.names(self.table.key),
            first=pgsql.Identifier(self.table.key[0]),
            low=pgsql.Literal(shared[0]),
            high=pgsql.Literal(shared[1]),
            relation=relation,
            staging=self.staging,
            outside=outside,
        )

    def _drop_stale(self, relation: pgsql.Composable) -> pgsql.Composed:
        return pgsql.SQL(
            "WITH stale AS (DELETE FROM {staging} new USING {relation} old, moved"
            " WHERE {new_key} AND {old_key} AND old.{version} > new.{version} RETURNING {keys})"
            " DELETE FROM moved USING stale WHERE {stale_key}"
        ).format(
            staging=self.staging,
            relation=relation,
            new_key=self._same_key("new", "moved"),
            old_key=self._same_key("old", "moved"),
            version=pgsql.Identifier(self.table.rowversion or ""),
            keys=sql.names(self.table.key, "new"),
            stale_key=self._same_key("moved", "stale"),
        )

    def _same_key(self, left: str, right: str) -> pgsql.Composed:
        return pgsql.SQL(" AND ").join(
            pgsql.SQL("{}.{} = {}.{}").format(
                pgsql.Identifier(left), pgsql.Identifier(column), pgsql.Identifier(right), pgsql.Identifier(column)
            )
            for column in self.table.key
        )

    def _key_bounds(self, relation: pgsql.Composable) -> Bounds | None:
        key = pgsql.Identifier(self.table.key[0])
        row = self.session.execute(pgsql.SQL("SELECT min({}), max({}) FROM {}").format(key, key, relation)).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    def _partition_exists(self) -> bool:
        row = self.session.execute("SELECT to_regclass(%s)", (self.target.as_string(self.session),)).fetchone()
        return row is not None and row[0] is not None

    def _count(self, relation: pgsql.Composable) -> int:
        """Count rows by the index of the key, which is a fiftieth of the table; rows were written frozen."""
        self._execute(pgsql.SQL("SET LOCAL enable_seqscan = off"))
        row = self.session.execute(pgsql.SQL("SELECT count(*) FROM {}").format(relation)).fetchone()
        self._execute(pgsql.SQL("SET LOCAL enable_seqscan = on"))
        assert row is not None
        return int(row[0])

    def _execute(self, statement: pgsql.Composable) -> int:
        return self.session.execute(pgsql.Composed([statement])).rowcount
