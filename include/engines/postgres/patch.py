"""The one transaction in which rows that changed, of whatever date, are put in place in a PostgreSQL warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql as pgsql

from include.engines.base import Changed
from include.engines.postgres import ddl, sql
from include.engines.postgres.publish import Publication
from include.windows import Window


class Patch(Publication):
    """Rows of the staging table ``changes`` that are about to take the place of those with their keys."""

    def apply(self, gone: Sequence[Sequence[tuple[Any, ...]]], publish_lock_wait: float) -> Changed:
        """
        Replace and delete rows; the caller commits.

        :param gone: keys of rows to delete, in pieces.
        :param publish_lock_wait: seconds to queue behind others before giving up.
        """
        self._take_turn(publish_lock_wait)
        updated = self._delete_staged_keys()
        deleted = sum(self._delete(keys) for keys in gone)
        self._make_months()
        columns = sql.names(list(self.table.columns))
        self._execute(
            pgsql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
                sql.target_name(self.table), columns, columns, self.staging
            )
        )
        self._execute(pgsql.SQL("DROP TABLE {}").format(self.staging))
        return Changed(max(self.staged - updated, 0), updated, deleted)

    def _delete_staged_keys(self) -> int:
        # without it the planner takes the few rows for many, and reads whole partitions
        self._execute(pgsql.SQL("ANALYZE {} ({})").format(self.staging, sql.names(self.table.key)))
        return sum(
            self._execute(
                pgsql.SQL("DELETE FROM {} old USING {} new WHERE {} AND old.{} BETWEEN {} AND {}").format(
                    relation,
                    self.staging,
                    self._same_key("old", "new"),
                    pgsql.Identifier(self.table.key[0]),
                    *map(pgsql.Literal, shared),
                )
            )
            for relation, shared, _ in self._elsewhere()
        )

    def _delete(self, keys: Sequence[tuple[Any, ...]]) -> int:
        return self._execute(
            pgsql.SQL("DELETE FROM {} WHERE {}").format(sql.target_name(self.table), sql.among(self.table, keys))
        )

    def _make_months(self) -> None:
        """Make the partitions that the rows need and that are not there yet."""
        if not ddl.is_partitioned(self.table):
            return
        there = self._partitions()
        days = self.session.execute(
            pgsql.SQL("SELECT DISTINCT date_trunc('month', {0})::date FROM {1} WHERE {0} IS NOT NULL").format(
                pgsql.Identifier(self.table.date or ""), self.staging
            )
        ).fetchall()
        for (day,) in days:
            name = pgsql.Identifier(self.table.target_schema, ddl.month_partition_name(self.table, day))
            if name not in there:
                for statement in ddl.create_month(self.table, Window.of_month(day)):
                    self._execute(statement)

    def _relations(self) -> list[tuple[pgsql.Composable, bool]]:
        partitioned = ddl.is_partitioned(self.table)
        relations = self._partitions() if partitioned else [sql.target_name(self.table)]
        return [(relation, False) for relation in relations]
