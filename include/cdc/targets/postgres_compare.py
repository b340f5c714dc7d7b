"""
Compare source and target by counts and checksums, and by keys where these differ.

Both sides write each row as the same text: the columns of the target in its order, as its types. The
servers add up its hashes, in any order; only of a table that differs do pairs of key and hash come here.
Other servers than PostgreSQL write some values as other texts: their rows are read into the warehouse first.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.cdc import names
from include.cdc.changes import TargetTable
from include.cdc.comparison import SAMPLE, TableComparison
from include.cdc.sources.base import Rows, SourceTable
from include.engines.postgres.errors import translated

if TYPE_CHECKING:
    import psycopg

_FETCH_ROWS = 2000
_READ = "cdc_compare"

#: How values are written, where a server or login may have it otherwise.
_WRITTEN = {"intervalstyle": "postgres", "bytea_output": "hex", "lc_monetary": "C", "extra_float_digits": "1"}
_SETTING = "SELECT set_config(%s, %s, false)"
_COLUMNS = """
    SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
"""
#: 64 bits of a hash that every server has and none may switch off; the encoding is that of neither server.
_HASH = "('x' || encode(substr(sha256(convert_to({row}::text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint"
_KEY = "convert_to(jsonb_build_array({key})::text, 'UTF8')"

Pair = tuple[bytes, int]


_EVERY = sql.SQL("true")


@dataclass(frozen=True)
class _Side:
    """A table in one of the databases."""

    session: psycopg.Connection[Any]
    schema: str
    name: str
    live: sql.Composable
    """Tells the rows that count."""

    def columns(self) -> set[str]:
        return {column for (column,) in self.session.execute(_COLUMNS, (self.schema, self.name)).fetchall()}

    def total(self, hashed: sql.Composable) -> tuple[int, int]:
        query = sql.SQL("SELECT count(*), coalesce(sum({}), 0)::text FROM {} WHERE {}")
        row = self.session.execute(query.format(hashed, self._relation, self.live)).fetchone()
        assert row is not None
        return row[0], int(row[1])

    @contextmanager
    def pairs(self, key: sql.Composable, hashed: sql.Composable) -> Iterator[Iterator[Pair]]:
        """Give keys and hashes in the order of the keys' bytes, which no collation changes."""
        query = sql.SQL("SELECT {} AS key, {} FROM {} WHERE {} ORDER BY 1")
        with self.session.transaction(), closing(self.session.cursor(name=f"compare {self.schema}")) as cursor:
            cursor.itersize = _FETCH_ROWS
            cursor.execute(query.format(key, hashed, self._relation, self.live))
            yield iter(cursor)

    @property
    def _relation(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def compare(
    source_session: psycopg.Connection[Any],
    warehouse_session: psycopg.Connection[Any],
    tables: Sequence[TargetTable],
) -> list[TableComparison]:
    """
    Compare tables with their copies at one moment.

    :param source_session: inside a snapshot.
    :param warehouse_session: where all is applied that the snapshot sees, and nothing else, until this returns.
    """
    _write_alike(source_session, warehouse_session)
    found = []
    for table in tables:
        with _translated(table):
            schema, name = table.source.split(".", 1)
            source = _Side(source_session, schema, name, _EVERY)
            found.append(_compared(source, source.columns(), warehouse_session, table))
    return found


def compare_read(
    rows: Rows, warehouse_session: psycopg.Connection[Any], tables: Sequence[TargetTable]
) -> list[TableComparison]:
    """
    Compare tables with their copies at one moment, after reading them, each in its turn, into the warehouse.

    :param rows: of that moment.
    :param warehouse_session: where all is applied that was committed then, and nothing else, until this returns.
    """
    _write_alike(warehouse_session)
    return [_read_and_compared(rows, warehouse_session, table) for table in tables]


def _write_alike(*sessions: psycopg.Connection[Any]) -> None:
    for session in sessions:
        for setting in _WRITTEN.items():
            session.execute(_SETTING, setting)


def _translated(table: TargetTable) -> AbstractContextManager[None]:
    return translated(f"comparing {table.source} with {table.schema}.{table.name}")


def _read_and_compared(rows: Rows, session: psycopg.Connection[Any], table: TargetTable) -> TableComparison:
    at_source = rows.columns(table.source).keys()
    columns = {name: type_ for name, type_ in table.columns.items() if name in at_source}
    relation = sql.Identifier("pg_temp", _READ)
    defined = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(t)) for n, t in columns.items())
    with _translated(table), session.transaction(force_rollback=True):
        session.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(relation, defined))
        if columns:
            rows.pipe(SourceTable(table.source, table.key, 0), columns, (None, None), session, relation)
        return _compared(_Side(session, "pg_temp", _READ, _EVERY), columns.keys(), session, table)


def _compared(
    source: _Side, at_source: Collection[str], session: psycopg.Connection[Any], table: TargetTable
) -> TableComparison:
    undeleted = sql.SQL("{} IS NULL").format(sql.Identifier(names.DELETED_AT)) if table.soft else _EVERY
    target = _Side(session, table.schema, table.name, undeleted)
    at_target = target.columns()
    hashed = _hash([name for name in table.columns if name in at_source and name in at_target], table)
    ours = source.total(hashed) if at_source else (0, 0)
    theirs = target.total(hashed) if at_target else (0, 0)
    both = bool(at_source and at_target)
    if ours == theirs or not both:
        return TableComparison(table.source, ours[0], theirs[0], equal=both)
    key = sql.SQL(_KEY).format(key=_texts(table.key, table))
    with source.pairs(key, hashed) as one, target.pairs(key, hashed) as other:
        return _differences(table.source, ours[0], theirs[0], one, other)


def _differences(table: str, ours: int, theirs: int, one: Iterator[Pair], other: Iterator[Pair]) -> TableComparison:
    counts = {"missing": 0, "extra": 0, "different": 0}
    sample: list[bytes] = []
    for kind, key in _merged(one, other):
        counts[kind] += 1
        if len(sample) < SAMPLE:
            sample.append(key)
    keys = tuple(tuple(json.loads(key)) for key in sample)
    return TableComparison(table, ours, theirs, equal=not sample, **counts, sample_keys=keys)


def _merged(one: Iterator[Pair], other: Iterator[Pair]) -> Iterator[tuple[str, bytes]]:
    """Yield how a key differs, and the key; a pair of each side is in memory."""
    ours, theirs = next(one, None), next(other, None)
    while ours or theirs:
        if theirs is None or (ours and ours[0] < theirs[0]):
            assert ours is not None
            yield "missing", ours[0]
            ours = next(one, None)
        elif ours is None or theirs[0] < ours[0]:
            yield "extra", theirs[0]
            theirs = next(other, None)
        else:
            if ours[1] != theirs[1]:
                yield "different", ours[0]
            ours, theirs = next(one, None), next(other, None)


def _hash(columns: Sequence[str], table: TargetTable) -> sql.Composed:
    """A row's own text tells NULL from an empty text, and where a value ends."""
    return sql.SQL(_HASH).format(row=sql.SQL("ROW({})").format(_texts(columns, table)))


def _texts(columns: Sequence[str], table: TargetTable) -> sql.Composed:
    """Return the columns as texts of the target's types, which a cast at the source gives."""
    texts = (sql.SQL("{}::{}::text").format(sql.Identifier(name), sql.SQL(table.columns[name])) for name in columns)
    return sql.SQL(", ").join(texts)
