"""The rows of one table of a PostgreSQL warehouse: which are there, and writing and deleting them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.cdc.changes import TargetTable
from include.cdc.collapse import Key
from include.cdc.names import DELETED_AT
from include.cdc.targets.base import Refused, Texts, Writer
from include.cdc.values import split

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

#: Types of which equal values are written alike; others are compared as texts.
_WRITTEN_ALIKE = frozenset(
    {
        *("smallint", "integer", "bigint", "oid", "boolean", "text", "character varying", "name", "bytea", "uuid"),
        *("date", "time without time zone", "timestamp without time zone", "timestamp with time zone"),
    }
)


@dataclass(frozen=True)
class PostgresWriter(Writer):
    """
    Writes a row where it differs, also in how its values are written: 1.5 is not 1.50.

    What is refused raises the driver's error, or ``Refused`` where it would be rounded or cut.
    """

    session: Session
    table: TargetTable

    def canonical(self, keys: Sequence[Key]) -> list[Key]:
        """Return keys as the target writes them."""
        parts = _listed(sql.SQL("{}::text").format(part) for part in self._key_parts())
        statement = sql.SQL("SELECT {} FROM {} ORDER BY n").format(parts, self._keys())
        return self.session.execute(statement, _columnar(keys, self.table.key)).fetchall() if keys else []

    def alive(self, keys: Sequence[Key]) -> set[Key]:
        """Return those keys of which the target has a row that is not deleted."""
        if not keys:
            return set()
        kept = sql.SQL(" AND t.{} IS NULL").format(sql.Identifier(DELETED_AT)) if self.table.soft else sql.SQL("")
        statement = sql.SQL("SELECT k.n FROM {} JOIN {} t ON {}{}").format(
            self._keys(), self._target(), self._matches(), kept
        )
        rows = self.session.execute(statement, _columnar(keys, self.table.key)).fetchall()
        return {keys[place - 1] for (place,) in rows}

    def truncate(self, at_ms: int) -> None:
        """Empty the table."""
        if self.table.soft:
            self.session.execute(
                sql.SQL("UPDATE {} SET {deleted} = {} WHERE {deleted} IS NULL").format(
                    self._target(), _moment(sql.Placeholder()), deleted=sql.Identifier(DELETED_AT)
                ),
                (at_ms,),
            )
        else:
            self.session.execute(sql.SQL("TRUNCATE {}").format(self._target()))

    def delete(self, deletes: Sequence[tuple[Key, int]]) -> int:
        """Delete rows by their keys, each with the time at which it went; return how many were there."""
        keys = self._keys(", %s::bigint[]", ", at_ms")
        if self.table.soft:
            statement = sql.SQL("UPDATE {} t SET {deleted} = {} FROM {} WHERE {} AND t.{deleted} IS NULL").format(
                self._target(), _moment(sql.SQL("k.at_ms")), keys, self._matches(), deleted=sql.Identifier(DELETED_AT)
            )
        else:
            statement = sql.SQL("DELETE FROM {} t USING {} WHERE {}").format(self._target(), keys, self._matches())
        parameters = _columnar([key for key, _ in deletes], self.table.key)
        return self.session.execute(statement, [*parameters, [at_ms for _, at_ms in deletes]]).rowcount

    def upsert(self, columns: tuple[str, ...], *, update_only: bool) -> Callable[[Sequence[Texts]], int]:
        """
        Return what writes rows of these columns, and returns how many that changed.

        :param update_only: leave rows out that are not there.
        """
        staging = self._staging(columns)
        clean = sql.SQL("DELETE FROM {}").format(staging)
        copy_in = sql.SQL("COPY {} FROM STDIN").format(staging)
        check = self._check(columns, staging)
        write = self._update(columns, staging) if update_only else self._insert(columns, staging)

        def put(rows: Sequence[Texts]) -> int:
            with self.session.cursor() as cursor:
                cursor.execute(clean)
                with cursor.copy(copy_in) as copy:
                    for texts in rows:
                        copy.write_row(texts)
                if check is not None and (lossy := cursor.execute(check[1]).fetchone()) is not None and any(lossy):
                    raise Refused(check[0][lossy.index(True)])
                return cursor.execute(write).rowcount if write is not None else 0

        return put

    def _staging(self, columns: tuple[str, ...]) -> sql.Composable:
        """Return the session's temporary table for rows of these columns: types without lengths, no text is cut."""
        types = [_cast_of(self.table.columns[column]) for column in columns]
        shape = repr((self.table.schema, self.table.name, columns, types)).encode()
        name = sql.Identifier("pg_temp", f"cdc_{hashlib.blake2b(shape, digest_size=12).hexdigest()}")
        listed = _listed(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(type_))
            for column, type_ in zip(columns, types, strict=True)
        )
        self.session.execute(
            sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(name, listed)
        )
        return name

    def _check(self, columns: tuple[str, ...], staging: sql.Composable) -> tuple[list[str], sql.Composed] | None:
        """Return what tells which columns lose something by the lengths of their types."""
        limited = [column for column in columns if split(self.table.columns[column])[1]]
        if not limited:
            return None
        tests = _listed(
            sql.SQL("coalesce(bool_or({0}::{1} IS DISTINCT FROM {0}), false)").format(
                sql.Identifier(column), sql.SQL(self.table.columns[column])
            )
            for column in limited
        )
        return limited, sql.SQL("SELECT {} FROM {}").format(tests, staging)

    def _insert(self, columns: tuple[str, ...], staging: sql.Composable) -> sql.Composed:
        names = _listed(map(sql.Identifier, columns))
        sets, differs = self._changes(columns, "excluded")
        if self.table.soft:
            sets.append(sql.SQL("{} = NULL").format(sql.Identifier(DELETED_AT)))
            differs.append(sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(DELETED_AT)))
        action: sql.Composable = sql.SQL("NOTHING")
        if sets:
            action = sql.SQL("UPDATE SET {} WHERE {}").format(_listed(sets), sql.SQL(" OR ").join(differs))
        return sql.SQL("INSERT INTO {} AS t ({}) SELECT {} FROM {} ON CONFLICT ({}) DO {}").format(
            self._target(), names, names, staging, _listed(map(sql.Identifier, self.table.key)), action
        )

    def _update(self, columns: tuple[str, ...], staging: sql.Composable) -> sql.Composed | None:
        sets, differs = self._changes(columns, "s")
        if not sets:
            return None
        same = [sql.SQL("t.{0} = s.{0}").format(sql.Identifier(column)) for column in self.table.key]
        return sql.SQL("UPDATE {} t SET {} FROM {} s WHERE {}").format(
            self._target(), _listed(sets), staging, sql.SQL(" AND ").join([*same, *differs])
        )

    def _changes(self, columns: tuple[str, ...], new: str) -> tuple[list[sql.Composable], list[sql.Composable]]:
        """Return the assignments to all but the key, and the condition that one of them changes anything."""
        others = [column for column in columns if column not in self.table.key]
        if not others:
            return [], []
        sides = []
        for side in ("t", new):
            values = []
            for column in others:
                alike = split(self.table.columns[column])[0] in _WRITTEN_ALIKE
                values.append(sql.SQL("{}" if alike else "{}::text").format(sql.Identifier(side, column)))
            sides.append(_listed(values))
        sets = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier(new, name)) for name in others]
        return [*sets], [sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(*sides)]

    def _target(self) -> sql.Identifier:
        return sql.Identifier(self.table.schema, self.table.name)

    def _key_parts(self) -> list[sql.Composed]:
        types = [_cast_of(self.table.columns[column]) for column in self.table.key]
        return [sql.SQL("k.{}::{}").format(sql.Identifier(f"k{n}"), sql.SQL(type_)) for n, type_ in enumerate(types)]

    def _keys(self, more: str = "", name: str = "") -> sql.Composed:
        """Return keys that are bound as one array a column, as the relation k with their places n."""
        arrays = sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in self.table.key)
        names = _listed(sql.Identifier(f"k{n}") for n in range(len(self.table.key)))
        return sql.SQL("unnest({}{}) WITH ORDINALITY AS k({}{}, n)").format(arrays, sql.SQL(more), names, sql.SQL(name))

    def _matches(self) -> sql.Composed:
        pairs = zip(self.table.key, self._key_parts(), strict=True)
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("t", column), part) for column, part in pairs
        )


def _columnar(keys: Sequence[Key], columns: Sequence[str]) -> list[list[str]]:
    return [[key[place] for key in keys] for place in range(len(columns))]


def _cast_of(type_text: str) -> str:
    """Return a type without lengths; that of ``character`` would be 1."""
    base = split(type_text)[0]
    return base.replace("character", "bpchar") if base in ("character", "character[]") else base


def _moment(at_ms: sql.Composable) -> sql.Composed:
    return sql.SQL("'epoch'::timestamptz + {}::bigint * interval '1 millisecond'").format(at_ms)


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
