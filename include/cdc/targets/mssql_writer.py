"""The rows of one table of a SQL Server warehouse: which are there, and writing and deleting them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from include.cdc.changes import TargetTable
from include.cdc.collapse import Key
from include.cdc.names import DELETED_AT
from include.cdc.targets.base import Texts, Writer
from include.cdc.targets.mssql_texts import REFUSES, TextTable, Types
from include.cdc.targets.mssql_types import ColumnType, column_type
from include.engines.mssql.sql import names, quoted, relation

if TYPE_CHECKING:
    import sqlalchemy as sa

_AT, _NUMBER = "_retail_sync_at", "_retail_sync_number"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = "timestamp(3) with time zone"


@dataclass(frozen=True)
class MssqlWriter(Writer):
    """
    Writes a row by UPDATE where it is there and differs, else by INSERT; never by MERGE.

    What is refused raises ``Refused``, or ``BreaksConstraint`` where a rule of the table is broken.
    """

    session: sa.Connection
    table: TargetTable

    def canonical(self, keys: Sequence[Key]) -> list[Key]:
        """Return keys as the target writes them; what is none to it, as it is."""
        if not keys:
            return []
        staged = self._keys(keys, strict=False)
        texts = ", ".join(type_.written.format(f"k.{quoted(column)}") for column, type_ in self._key().items())
        query = f"SELECT k.{quoted(REFUSES)}, {texts} FROM {staged.name} AS k ORDER BY k.{quoted(_NUMBER)}"
        found = self.session.exec_driver_sql(query)
        return [key if refuses is not None else tuple(row) for key, (refuses, *row) in zip(keys, found, strict=True)]

    def alive(self, keys: Sequence[Key]) -> set[Key]:
        """Return those keys of which the target has a row that is not deleted."""
        if not keys:
            return set()
        staged = self._keys(keys, strict=False)
        kept = f" AND t.{quoted(DELETED_AT)} IS NULL" if self.table.soft else ""
        there = f"{staged.name} AS k JOIN {self._target} AS t ON {self._same('k')}{kept}"
        query = f"SELECT k.{quoted(_NUMBER)} FROM {there} WHERE k.{quoted(REFUSES)} IS NULL"
        return {keys[number] for (number,) in self.session.exec_driver_sql(query)}

    def truncate(self, at_ms: int) -> None:
        """Empty the table; TRUNCATE would need a right of its own."""
        if self.table.soft:
            deleted = quoted(DELETED_AT)
            update = f"UPDATE {self._target} SET {deleted} = TRY_CONVERT(datetimeoffset(3), ?) WHERE {deleted} IS NULL"
            self.session.exec_driver_sql(update, (moment(at_ms),))
        else:
            self.session.exec_driver_sql(f"DELETE FROM {self._target}")

    def delete(self, deletes: Sequence[tuple[Key, int]]) -> int:
        """Delete rows by their keys, each with the time at which it went; return how many were there."""
        staged = self._keys([key for key, _ in deletes], [at_ms for _, at_ms in deletes])
        source = f"FROM {self._target} AS t JOIN {staged.name} AS k ON {self._same('k')}"
        if not self.table.soft:
            return self.session.exec_driver_sql(f"DELETE t {source}").rowcount
        deleted = quoted(DELETED_AT)
        update = f"UPDATE t SET t.{deleted} = k.{quoted(_AT)} {source} WHERE t.{deleted} IS NULL"
        return self.session.exec_driver_sql(update).rowcount

    def upsert(self, columns: tuple[str, ...], *, update_only: bool) -> Callable[[Sequence[Texts]], int]:
        """Return what writes rows of these columns, and returns how many that changed."""
        staged = TextTable(self.session, self._types(columns))
        update, insert = self._update(columns, staged.name), self._insert(columns, staged.name)
        statements = [statement for statement in (update, None if update_only else insert) if statement]

        def put(rows: Sequence[Texts]) -> int:
            staged.put(rows)
            return sum(self.session.exec_driver_sql(statement).rowcount for statement in statements)

        return put

    @property
    def _target(self) -> str:
        return relation(self.table.schema, self.table.name)

    def _types(self, columns: Sequence[str]) -> dict[str, ColumnType]:
        return {column: column_type(self.table.columns[column], is_key=column in self.table.key) for column in columns}

    def _key(self) -> Types:
        return self._types(self.table.key)

    def _keys(self, keys: Sequence[Key], at_ms: Sequence[int] = (), *, strict: bool = True) -> TextTable:
        """Stage keys with their places, and the times that go with them."""
        types = {**self._key(), _NUMBER: column_type("integer"), _AT: column_type(MOMENT)}
        times: Sequence[str | None] = [moment(at) for at in at_ms] or [None] * len(keys)
        staged = TextTable(self.session, types)
        rows = [(*key, str(number), at) for number, (key, at) in enumerate(zip(keys, times, strict=True))]
        staged.put(rows, strict=strict)
        return staged

    def _same(self, other: str) -> str:
        return " AND ".join(
            type_.same(f"t.{quoted(column)}", f"{other}.{quoted(column)}") for column, type_ in self._key().items()
        )

    def _update(self, columns: tuple[str, ...], staged: str) -> str | None:
        others = {name: type_ for name, type_ in self._types(columns).items() if name not in self.table.key}
        sets = [f"t.{quoted(name)} = s.{quoted(name)}" for name in others]
        sides = (", ".join(type_.exactly(f"{side}.{quoted(name)}") for name, type_ in others.items()) for side in "ts")
        differs = "EXISTS (SELECT {} EXCEPT SELECT {})".format(*sides) if others else ""
        if self.table.soft:
            sets.append(f"t.{quoted(DELETED_AT)} = NULL")
            differs = " OR ".join(filter(None, [differs, f"t.{quoted(DELETED_AT)} IS NOT NULL"]))
        if not sets:
            return None
        source = f"FROM {self._target} AS t JOIN {staged} AS s ON {self._same('s')}"
        return f"UPDATE t SET {', '.join(sets)} {source} WHERE {differs}"

    def _insert(self, columns: tuple[str, ...], staged: str) -> str:
        listed = names(columns)
        there = f"SELECT 1 FROM {self._target} AS t WHERE {self._same('s')}"
        return f"INSERT INTO {self._target} ({listed}) SELECT {listed} FROM {staged} AS s WHERE NOT EXISTS ({there})"


def moment(at_ms: int) -> str:
    """Return milliseconds of Unix time as a text with its offset."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")
