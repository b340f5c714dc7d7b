"""
The changes of a batch, collapsed to what becomes of each row.

Pure: what applying the changes one by one would leave is what applying the result leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.cdc.changes import UNAVAILABLE, Change, Op, TargetTable
from include.cdc.values import doubt, reader
from include.errors import SchemaMismatch, UnknownColumns

#: The key of a row: its values as texts, in the order of the table's key.
Key = tuple[str, ...]


@dataclass(slots=True)
class Row:
    """
    A row as the batch leaves it.

    :param values: by column, as JSON has them; columns that are in neither this nor ``missing`` are
        younger than the change, or gone: left alone in a row that is there, else the default.
    :param missing: columns whose value the batch does not tell.
    :param kept: whether the row was there under this key before the batch: the target has the missing
        values then. Else they are read again at the source; under the key that a moved row had before
        the target may have another one, of a copy that is newer than the batch.
    """

    values: dict[str, Any]
    missing: set[str] = field(default_factory=set)
    kept: bool = False
    at_ms: int = 0


@dataclass(slots=True)
class Delta:
    """
    What a batch does to a table: truncate, then delete, then upsert.

    :param truncated_ms: when it was truncated, in milliseconds of Unix time, if it was.
    :param deleted: the keys to delete, with the time.
    :param rows: the rows to upsert. A key may be in both: its old row goes before the new one comes.
    """

    truncated_ms: int | None = None
    deleted: dict[Key, int] = field(default_factory=dict)
    rows: dict[Key, Row] = field(default_factory=dict)

    @property
    def truncated(self) -> bool:
        """Whether the table was emptied."""
        return self.truncated_ms is not None


def is_visible(txid: int | None, snapshot: str | None) -> bool:
    """
    Whether a snapshot, ``xmin:xmax:xip,…``, has seen a transaction.

    :param txid: its low 32 bits: it is the one closest to the snapshot.
    """
    if txid is None or not snapshot:
        return False
    xmin, xmax, running = snapshot.split(":")
    end = int(xmax)
    full = end + (txid - end + 2**31) % 2**32 - 2**31
    return full < int(xmin) or (full < end and str(full) not in running.split(","))


def collapse(
    changes: Sequence[Change], tables: Mapping[str, TargetTable], without: Mapping[str, Collection[str]] | None = None
) -> dict[str, Delta]:
    """
    Return what the changes do, by table of the source.

    What a table's copy has seen is left out, and so are tables that are not given.

    :param without: columns that are left out, by table.
    :raises UnknownColumns: if changes have columns that the target does not, and that are not left out.
    :raises SchemaMismatch: if changes come with another key than that of the target.
    """
    tables_of = {name: _Table(table, (without or {}).get(name, ())) for name, table in tables.items()}
    for change in changes:
        if (table := tables_of.get(change.table)) is not None and not table.has_seen(change.txid):
            table.add(change)
    if unknown := {name: table.unknown for name, table in tables_of.items() if table.unknown}:
        raise UnknownColumns(unknown)
    return {name: table.delta for name, table in tables_of.items() if table.finish()}


class _Table:
    """The collapsing of one table."""

    def __init__(self, target: TargetTable, without: Collection[str]) -> None:
        self.target = target
        self.delta = Delta()
        self.unknown: set[str] = set()
        self._without = frozenset(without)
        self._columns = target.columns.keys()
        self._key_columns = set(target.key)
        self._key = [(column, reader(target.columns[column])) for column in target.key]
        others = target.columns.keys() - set(target.key)
        self._doubts = [
            (column, tells)
            for column in others
            if (tells := target.doubts.get(column) or doubt(target.columns[column]))
        ]
        #: What the DELETE half of a changed key took away, for the half that comes next.
        self._moved: dict[Key, Row | None] = {}
        self._seen: dict[int | None, bool] = {None: False}

    def has_seen(self, txid: int | None) -> bool:
        if txid not in self._seen:
            self._seen[txid] = is_visible(txid, self.target.snapshot)
        return self._seen[txid]

    def add(self, change: Change) -> None:
        if change.op is Op.TRUNCATE:
            self.delta = Delta(truncated_ms=change.at_ms)
            self._moved.clear()
        elif change.op is Op.DELETE:
            self._delete(change)
        else:
            self._put(change)

    def finish(self) -> bool:
        """Drop deletes that the upsert makes needless; return whether there is anything to do."""
        delta = self.delta
        for key in delta.deleted.keys() & delta.rows.keys():
            row = delta.rows[key]
            if len(row.values) + len(row.missing) == len(self._columns):
                del delta.deleted[key]
        return bool(delta.truncated or delta.deleted or delta.rows)

    def _delete(self, change: Change) -> None:
        key = self._key_of(change.key)
        row = self.delta.rows.pop(key, None)
        if change.other_key:
            self._moved[self._key_of(change.other_key)] = row
        self.delta.deleted[key] = change.at_ms

    def _put(self, change: Change) -> None:
        values = self._known(change.values or {})
        key = self._key_of(change.key)
        present = self.delta.rows.get(key)
        before, kept = present, self._is_kept(key)
        if change.other_key:
            before, kept = self._moved.pop(key, None), False
        row = Row({**present.values, **values} if present else dict(values), set(), kept, change.at_ms)
        if present is not None and present.missing:
            row.missing = present.missing - values.keys()
        if UNAVAILABLE in values.values():
            _fill(row, [column for column, value in values.items() if value == UNAVAILABLE], before)
        for column, tells in self._doubts:
            if column in values and column in row.values and tells(row.values[column]):
                del row.values[column]
                row.missing.add(column)
                row.kept = False
        self.delta.rows[key] = row

    def _is_kept(self, key: Key) -> bool:
        """Whether the row that is under a key now was there before the batch."""
        row = self.delta.rows.get(key)
        if row is not None:
            return row.kept
        return not self.delta.truncated and key not in self.delta.deleted

    def _known(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if values.keys() <= self._columns:
            return values
        self.unknown |= values.keys() - self._columns - self._without
        return {column: value for column, value in values.items() if column in self._columns}

    def _key_of(self, key: Mapping[str, Any]) -> Key:
        if key.keys() != self._key_columns:
            raise SchemaMismatch(
                f"{self.target.source}: the key of the changes is ({', '.join(key)}),"
                f" that of the target ({', '.join(self.target.key)}); copy the table again"
            )
        return tuple(read(key[column]) for column, read in self._key)


def _fill(row: Row, untouched: Collection[str], before: Row | None) -> None:
    """Take values that an UPDATE did not touch from the row as the batch has it so far."""
    for column in untouched:
        if before is not None and column in before.values:
            row.values[column] = before.values[column]
        else:
            del row.values[column]
            row.missing.add(column)
