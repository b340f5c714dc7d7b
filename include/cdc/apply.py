"""
Put what a batch does into the tables of the target, within the caller's transaction.

A table at a time: what the batch does not tell is filled in, then truncate, delete, upsert. A row is
written only where it differs. What the target refuses, or would round or cut, is left out and handed
to the caller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from include.cdc import letters
from include.cdc.changes import TargetTable
from include.cdc.collapse import Delta, Key, Row
from include.cdc.letters import Item, Put
from include.cdc.targets.base import Target, Texts, Writer
from include.cdc.values import reader

#: Reads rows of a table, by their keys, at the source as they are now: by column, as texts.
Fetch = Callable[[str, Sequence[Mapping[str, str]]], Iterable[Mapping[str, str | None]]]
#: Takes a change that the target refuses: table, key, the row as texts (empty for a delete), reason.
OnDead = Callable[[str, Mapping[str, str], Mapping[str, str | None], str], None]
#: Columns and their values as texts; whether it may only update a row that is there.
_Group = tuple[tuple[str, ...], bool]
_Prepared = tuple[Key, Texts]


@dataclass
class Applied:
    """How many rows were written and deleted, tables emptied, and changes refused."""

    upserted: int = 0
    deleted: int = 0
    truncated: int = 0
    dead: int = 0


def apply(
    target: Target,
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
        with target.doing(f"applying changes of {name} to {table.schema}.{table.name}"):
            _Apply(target, target.writer(table), fetch, on_dead, (doubted or {}).get(name, ()), applied).run(delta)
    return applied


@dataclass
class _Apply:
    """The applying of one table's part."""

    target: Target
    writer: Writer
    fetch: Fetch
    on_dead: OnDead
    doubted: Collection[Key]
    applied: Applied

    @property
    def table(self) -> TargetTable:
        return self.writer.table

    def run(self, delta: Delta) -> None:
        deleted = dict(delta.deleted)
        groups = self._prepared(delta.rows, deleted)
        if delta.truncated_ms is not None:
            self.writer.truncate(delta.truncated_ms)
            self.applied.truncated += 1
        self.applied.deleted += self._all_or_dead(list(deleted.items()), self.writer.delete, self._bury_delete)
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
        """Find out what the batch does not tell: the row that is there has it, else the source."""
        there = self.writer.alive([key for key, row in unclear.items() if row.kept and key not in self.doubted])
        lost: dict[Key, Row] = {}
        for key, row in unclear.items():
            if key in there:
                _add(groups, key, self._texts(row), update_only=True)
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
            zip(self.writer.canonical([tuple(str(row[name]) for name in names) for row in found]), found, strict=True)
        )
        for key, canonical in zip(lost, self.writer.canonical(list(lost)), strict=True):
            if (row := by_key.get(canonical)) is not None:
                _add(groups, key, {column: row[column] for column in self.table.columns if column in row})
            else:
                deleted[key] = lost[key].at_ms

    def _bury_delete(self, deletion: tuple[Key, int], reason: str) -> None:
        self.on_dead(self.table.source, dict(zip(self.table.key, deletion[0], strict=True)), {}, reason)

    def _upsert(self, columns: tuple[str, ...], rows: Sequence[_Prepared], update_only: bool) -> int:
        write = self.writer.upsert(columns, update_only=update_only)

        def put(some: Sequence[_Prepared]) -> int:
            return write([texts for _, texts in some])

        def bury(row: _Prepared, reason: str) -> None:
            key, texts = row
            content = dict(zip(columns, texts, strict=True))
            self.on_dead(self.table.source, dict(zip(self.table.key, key, strict=True)), content, reason)

        return self._all_or_dead(rows, put, bury)

    def _all_or_dead(self, items: Sequence[Item], put: Put[Item], bury: Callable[[Item, str], None]) -> int:
        written, refused = letters.put(self.target, items, put)
        for item, reason in refused:
            bury(item, reason)
        self.applied.dead += len(refused)
        return written


def _add(
    groups: dict[_Group, list[_Prepared]], key: Key, texts: Mapping[str, str | None], *, update_only: bool = False
) -> None:
    columns = tuple(sorted(texts))
    groups[columns, update_only].append((key, tuple(texts[column] for column in columns)))
