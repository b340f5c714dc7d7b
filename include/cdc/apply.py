"""
Put what a batch does into the tables of the target, within the caller's transaction.

A table at a time: what the batch does not tell is filled in, then truncate, delete, upsert. A row is
written only where it differs, also in how its values are written: 1.5 is not 1.50. What the target
refuses, or would round or cut, is left out and handed to the caller.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.cdc import letters
from include.cdc.changes import TargetTable
from include.cdc.collapse import Delta, Key, Row
from include.cdc.letters import Item, Put
from include.cdc.names import DELETED_AT
from include.cdc.values import reader, split
from include.engines.postgres.errors import translated

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

#: Reads rows of a table, by their keys, at the source as they are now: by column, as texts.
Fetch = Callable[[str, Sequence[Mapping[str, str]]], Iterable[Mapping[str, str | None]]]
#: Takes a change that the target refuses: table, key, the row as texts (empty for a delete), reason.
OnDead = Callable[[str, Mapping[str, str], Mapping[str, str | None], str], None]
#: Columns and their values as texts; whether it may only update a row that is there.
_Group = tuple[tuple[str, ...], bool]
_Prepared = tuple[Key, tuple[str | None, ...]]

#: Types of which equal values are written alike; others are compared as texts.
_WRITTEN_ALIKE = frozenset(
    {
        *("smallint", "integer", "bigint", "oid", "boolean", "text", "character varying", "name", "bytea", "uuid"),
        *("date", "time without time zone", "timestamp without time zone", "timestamp with time zone"),
    }
)


@dataclass
class Applied:
    """How many rows were written and deleted, tables emptied, and changes refused."""

    upserted: int = 0
    deleted: int = 0
    truncated: int = 0
    dead: int = 0


def apply(
    session: Session,
    deltas: Mapping[str, Delta],
    tables: Mapping[str, TargetTable],
    *,
    fetch: Fetch,
    on_dead: OnDead,
    doubted: Mapping[str, Collection[Key]] | None = None,
) -> Applied:
    """
    Apply what a batch does.

    :param fetch: is asked for rows of which the batch does not tell all and the target does not have
        the rest; a row that it does not find is deleted.
    :param on_dead: may raise, to give the batch up.
    :param doubted: keys, by table, whose rows in the target lack a change that was refused before.
    """
    applied = Applied()
    for name, delta in deltas.items():
        table = tables[name]
        with translated(f"applying changes of {name} to {table.schema}.{table.name}"):
            _Apply(session, table, fetch, on_dead, (doubted or {}).get(name, ()), applied).run(delta)
    return applied


@dataclass
class _Apply:
    """The applying of one table's part."""

    session: Session
    table: TargetTable
    fetch: Fetch
    on_dead: OnDead
    doubted: Collection[Key]
    applied: Applied

    def run(self, delta: Delta) -> None:
        deleted = dict(delta.deleted)
        groups = self._prepared(delta.rows, deleted)
        if delta.truncated_ms is not None:
            self._truncate(delta.truncated_ms)
        self.applied.deleted += self._all_or_dead(list(deleted.items()), self._delete, self._bury_delete)
        for (columns, update_only), rows in groups.items():
            self.applied.upserted += self._upsert(columns, rows, update_only)

    def _prepared(self, rows: Mapping[Key, Row], deleted: dict[Key, int]) -> dict[_Group, list[_Prepared]]:
        """Return the rows as texts, by their columns; what is gone at the source joins what is deleted."""
        groups: dict[_Group, list[_Prepared]] = defaultdict(list)
        readers = [(column, reader(type_)) for column, type_ in self.table.columns.items()]
        whole = tuple(self.table.columns)
        unclear: dict[Key, Row] = {}
        for key, row in rows.items():
            values = row.values
            if row.missing:
                unclear[key] = row
            elif len(values) == len(whole):
                texts = tuple([None if (value := values[column]) is None else read(value) for column, read in readers])
                groups[whole, False].append((key, texts))
            else:
                _add(groups, key, self._texts(row))
        if unclear:
            self._clear(unclear, groups, deleted)
        return groups

    def _texts(self, row: Row) -> dict[str, str | None]:
        types = self.table.columns
        return {column: None if value is None else reader(types[column])(value) for column, value in row.values.items()}

    def _clear(
        self, unclear: Mapping[Key, Row], groups: dict[_Group, list[_Prepared]], deleted: dict[Key, int]
    ) -> None:
        """Find out what the batch does not tell: from the row itself, from its old key, else from the source."""
        lost: dict[Key, Row] = {}
        stayed: dict[Key, Row] = {}
        moved: dict[Key, Row] = {}
        for key, row in unclear.items():
            if row.origin is None or key in self.doubted or row.origin in self.doubted:
                lost[key] = row
            else:
                (stayed if row.origin == key else moved)[key] = row
        there = self._stored(list(stayed), set())
        for key, row in stayed.items():
            if key in there:
                _add(groups, key, self._texts(row), update_only=True)
            else:
                lost[key] = row
        missing = {column for row in moved.values() for column in row.missing}
        stored = self._stored([row.origin for row in moved.values() if row.origin], missing)
        for key, row in moved.items():
            if row.origin in stored:
                old = stored[row.origin]
                _add(groups, key, {**self._texts(row), **{column: old[column] for column in row.missing}})
            else:
                lost[key] = row
        if lost:
            self._read_again(lost, groups, deleted)

    def _read_again(
        self, lost: Mapping[Key, Row], groups: dict[_Group, list[_Prepared]], deleted: dict[Key, int]
    ) -> None:
        names = self.table.key
        found = list(self.fetch(self.table.source, [dict(zip(names, key, strict=True)) for key in lost]))
        by_key = dict(
            zip(self._canonical([tuple(str(row[name]) for name in names) for row in found]), found, strict=True)
        )
        for key, canonical in zip(lost, self._canonical(list(lost)), strict=True):
            if (row := by_key.get(canonical)) is not None:
                _add(groups, key, {column: row[column] for column in self.table.columns if column in row})
            else:
                deleted[key] = lost[key].at_ms

    def _canonical(self, keys: Sequence[Key]) -> list[Key]:
        """Return keys as the target writes them."""
        parts = _listed(sql.SQL("{}::text").format(part) for part in self._key_parts())
        statement = sql.SQL("SELECT {} FROM {} ORDER BY n").format(parts, self._keys())
        return self.session.execute(statement, _columnar(keys, self.table.key)).fetchall() if keys else []

    def _stored(self, keys: Sequence[Key], columns: Collection[str]) -> dict[Key, dict[str, str | None]]:
        """Return columns of the target's rows, those that are not deleted, by key."""
        if not keys:
            return {}
        names = sorted(columns)
        chosen = [sql.SQL("k.n"), *(sql.SQL("{}::text").format(sql.Identifier("t", name)) for name in names)]
        alive = sql.SQL(" AND t.{} IS NULL").format(sql.Identifier(DELETED_AT)) if self.table.soft else sql.SQL("")
        statement = sql.SQL("SELECT {} FROM {} JOIN {} t ON {}{}").format(
            _listed(chosen), self._keys(), self._target(), self._matches(), alive
        )
        rows = self.session.execute(statement, _columnar(keys, self.table.key)).fetchall()
        return {keys[place - 1]: dict(zip(names, values, strict=True)) for place, *values in rows}

    def _truncate(self, at_ms: int) -> None:
        if self.table.soft:
            self.session.execute(
                sql.SQL("UPDATE {} SET {deleted} = {} WHERE {deleted} IS NULL").format(
                    self._target(), _moment(sql.Placeholder()), deleted=sql.Identifier(DELETED_AT)
                ),
                (at_ms,),
            )
        else:
            self.session.execute(sql.SQL("TRUNCATE {}").format(self._target()))
        self.applied.truncated += 1

    def _delete(self, deletes: Sequence[tuple[Key, int]]) -> int:
        keys = self._keys(", %s::bigint[]", ", at_ms")
        if self.table.soft:
            statement = sql.SQL("UPDATE {} t SET {deleted} = {} FROM {} WHERE {} AND t.{deleted} IS NULL").format(
                self._target(), _moment(sql.SQL("k.at_ms")), keys, self._matches(), deleted=sql.Identifier(DELETED_AT)
            )
        else:
            statement = sql.SQL("DELETE FROM {} t USING {} WHERE {}").format(self._target(), keys, self._matches())
        parameters = _columnar([key for key, _ in deletes], self.table.key)
        return self.session.execute(statement, [*parameters, [at_ms for _, at_ms in deletes]]).rowcount

    def _bury_delete(self, deletion: tuple[Key, int], reason: str) -> None:
        self.on_dead(self.table.source, dict(zip(self.table.key, deletion[0], strict=True)), {}, reason)

    def _upsert(self, columns: tuple[str, ...], rows: Sequence[_Prepared], update_only: bool) -> int:
        staging = self._staging(columns)
        clean = sql.SQL("DELETE FROM {}").format(staging)
        copy_in = sql.SQL("COPY {} FROM STDIN").format(staging)
        check = self._check(columns, staging)
        write = self._update(columns, staging) if update_only else self._insert(columns, staging)

        def put(some: Sequence[_Prepared]) -> int:
            with self.session.cursor() as cursor:
                cursor.execute(clean)
                with cursor.copy(copy_in) as copy:
                    for _, texts in some:
                        copy.write_row(texts)
                if check is not None and (lossy := cursor.execute(check[1]).fetchone()) is not None and any(lossy):
                    raise letters.Refused(check[0][lossy.index(True)])
                return cursor.execute(write).rowcount if write is not None else 0

        def bury(row: _Prepared, reason: str) -> None:
            key, texts = row
            content = dict(zip(columns, texts, strict=True))
            self.on_dead(self.table.source, dict(zip(self.table.key, key, strict=True)), content, reason)

        return self._all_or_dead(rows, put, bury)

    def _all_or_dead(self, items: Sequence[Item], put: Put[Item], bury: Callable[[Item, str], None]) -> int:
        written, refused = letters.put(self.session, items, put)
        for item, reason in refused:
            bury(item, reason)
        self.applied.dead += len(refused)
        return written

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


def _add(
    groups: dict[_Group, list[_Prepared]], key: Key, texts: Mapping[str, str | None], *, update_only: bool = False
) -> None:
    columns = tuple(sorted(texts))
    groups[columns, update_only].append((key, tuple(texts[column] for column in columns)))


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
