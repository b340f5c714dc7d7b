"""
Copy a table into staging, in pieces by its key, each committed together with how far it is.

A copy that was killed goes on after its last piece. Its later pieces come from a later snapshot;
that is no gap, since the slot is older than all of them and changes are applied by key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.cdc import names, state
from include.cdc.begin import pinned
from include.cdc.drift import source_columns
from include.cdc.models import Deletes
from include.cdc.run import CdcRun
from include.cdc.source import SourceTable
from include.cdc.state import Status, TableRow
from include.errors import NotReady
from include.locks import LockSpace, Name, hold

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

STAGING = "staging"
_PIECE_BYTES = 128 * 1024
#: Columns with the types that the target has for them; the source casts to these, a binary COPY converts nothing.
Columns = Mapping[str, str]


@dataclass(frozen=True)
class Copied:
    """A table that was copied, or had been before."""

    table: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class _Copy:
    """A copy under way."""

    run: CdcRun
    epoch: str
    table: SourceTable
    columns: Columns
    source: psycopg.Connection[Any]
    target: psycopg.Connection[Any]

    @property
    def staging(self) -> sql.Identifier:
        return sql.Identifier(STAGING, names.staging_table(self.run.name, self.table.name))

    @property
    def relation(self) -> sql.Identifier:
        return sql.Identifier(*self.table.name.split(".", 1))

    @property
    def key(self) -> sql.Composed:
        return _listed(map(sql.Identifier, self.table.key))


def copy_table(run: CdcRun, name: str, told: Callable[[TableRow], None] = lambda _: None) -> Copied:
    """
    Copy a table, or what is left of it.

    :param told: called after each piece.
    :raises LockHeld: if another run copies it.
    :raises NotReady: for a table without a key.
    """
    locks = [Name(LockSpace.REPLICATED_TABLE, f"{run.name} {name}")]
    with (
        hold(run.control, locks, holder=run.holder, wait=0) as lock,
        run.in_warehouse() as target,
        pinned(run) as (epoch, exported),
        run.at_source.snapshot(exported) as source,
    ):
        row = state.tables(target, run.name, epoch)[name]
        if row.status in {Status.COPIED, Status.LIVE}:
            log.info("replication %s, step 3/4: %s is copied, %s rows", run.name, name, row.rows_copied)
            return Copied(name, row.rows_copied, row.seconds)
        table = next((table for table in run.at_source.tables(run.replication) if table.name == name), None)
        if table is None or not table.key:
            raise NotReady(f"{name}: is not at the source, or has no key; validate replication {run.name}")
        # a table that is rewritten after the snapshot is empty in it
        source.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.Identifier(*name.split(".", 1))))
        copy = _Copy(run, epoch, table, _columns(run, source, name), source, target)
        row = _resumed(copy, row)
        told_at = time.monotonic()
        while row.status is Status.COPYING:
            lock.assert_held()
            row = _piece(copy, row)
            told(row)
            if row.status is Status.COPIED or time.monotonic() - told_at >= run.settings.progress_every:
                told_at = time.monotonic()
                _tell(copy, row)
        return Copied(name, row.rows_copied, row.seconds)


def _columns(run: CdcRun, source: psycopg.Connection[Any], name: str) -> Columns:
    left_out = run.replication.without.get(name, ())
    found = source_columns(source, *name.split(".", 1))
    return {column: found[column][0] for column in found if column not in left_out}


def _resumed(copy: _Copy, row: TableRow) -> TableRow:
    """Go on where a copy stands, or begin it."""
    run, name = copy.run, copy.table.name
    if row.status is Status.COPYING and row.chunk_key and _has_staging(copy):
        log.info("replication %s, step 3/4: %s goes on after %s rows", run.name, name, row.rows_copied)
        return row
    seen = copy.source.execute("SELECT pg_current_snapshot()::text").fetchone()
    assert seen is not None
    defined = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(text)) for name, text in copy.columns.items()]
    if run.replication.deletes is Deletes.SOFT:
        defined.append(sql.SQL("{} timestamptz").format(sql.Identifier(names.DELETED_AT)))
    with copy.target.transaction():
        copy.target.execute("CREATE SCHEMA IF NOT EXISTS staging")
        copy.target.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(copy.staging))
        copy.target.execute(sql.SQL("CREATE TABLE {} ({})").format(copy.staging, _listed(defined)))
        values = {"target_table": row.target_table, "status": Status.COPYING, "snapshot": seen[0], "chunk_key": None}
        expected = copy.table.rows
        state.write_table(
            copy.target,
            run.name,
            copy.epoch,
            name,
            **values,
            rows_copied=0,
            seconds=0,
            rows_expected=expected,
            run_id=run.id,
        )
    log.info("replication %s, step 3/4: %s begins, about %s rows", run.name, name, expected)
    return replace(row, status=Status.COPYING, snapshot=seen[0], chunk_key=None, rows_copied=0, seconds=0.0)


def _has_staging(copy: _Copy) -> bool:
    """Whether staging is there with the columns that the source has now."""
    rows = copy.target.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (copy.staging.as_string(copy.target),),
    ).fetchall()
    return {column: kind for column, kind in rows if column != names.DELETED_AT} == copy.columns


def _piece(copy: _Copy, row: TableRow) -> TableRow:
    """Copy the next piece, and finish the copy with the last one."""
    began = time.monotonic()
    last = _last_key(copy, row.chunk_key)
    with copy.target.transaction():
        copied = _pipe(copy, _between(copy, row.chunk_key, last))
        row = replace(row, rows_copied=row.rows_copied + copied, chunk_key=last)
        if last is None:
            _finish(copy)
            row = replace(row, status=Status.COPIED)
        row = replace(row, seconds=round(row.seconds + time.monotonic() - began, 3))
        finished = {"copied_at": datetime.now(UTC)} if last is None else {}
        values = {"target_table": row.target_table, "status": row.status, "chunk_key": last, **finished}
        counts = {"rows_copied": row.rows_copied, "seconds": row.seconds}
        state.write_table(copy.target, copy.run.name, copy.epoch, row.source_table, **values, **counts)
    return row


def _last_key(copy: _Copy, after: Sequence[str] | None) -> list[str] | None:
    """Return the last key of the next piece, None where less than a piece is left, or is known to be there."""
    if after is None and 0 < copy.table.rows <= copy.run.replication.chunk_rows:
        return None
    # by its bare name a column would be the text that is selected, which no index has in its order
    query = sql.SQL("SELECT {texts} FROM {relation} t WHERE {after} ORDER BY {key} OFFSET {skip} LIMIT 1").format(
        texts=_listed(sql.SQL("{}::text").format(sql.Identifier(column)) for column in copy.table.key),
        relation=copy.relation,
        after=_compared(copy, ">", after),
        key=_listed(sql.Identifier("t", column) for column in copy.table.key),
        skip=sql.Literal(copy.run.replication.chunk_rows - 1),
    )
    found = copy.source.execute(query).fetchone()
    return list(found) if found else None


def _between(copy: _Copy, after: Sequence[str] | None, last: Sequence[str] | None) -> sql.Composed:
    return sql.SQL(" AND ").join([_compared(copy, ">", after), _compared(copy, "<=", last)])


def _compared(copy: _Copy, operator: str, key: Sequence[str] | None) -> sql.Composable:
    if key is None:
        return sql.SQL("true")
    values = [sql.Literal(value) for value in key]
    if len(values) == 1:
        return sql.SQL("{} {} {}").format(copy.key, sql.SQL(operator), values[0])
    return sql.SQL("({}) {} ({})").format(copy.key, sql.SQL(operator), _listed(values))


def _pipe(copy: _Copy, condition: sql.Composable) -> int:
    """Hand the rows from one server to the other, unread; returns how many there are."""
    chosen = [sql.SQL("{}::{}").format(sql.Identifier(name), sql.SQL(text)) for name, text in copy.columns.items()]
    query = sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT BINARY)")
    copy_out = query.format(_listed(chosen), copy.relation, condition)
    columns = _listed(map(sql.Identifier, copy.columns))
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(copy.staging, columns)
    with copy.source.cursor() as reader, copy.target.cursor() as writer:
        with reader.copy(copy_out) as rows, writer.copy(copy_in) as sink:
            piece = bytearray()
            for data in rows:
                piece += data
                if len(piece) >= _PIECE_BYTES:
                    sink.write(bytes(piece))
                    piece.clear()
            sink.write(bytes(piece))
        return writer.rowcount


def _finish(copy: _Copy) -> None:
    """Give staging its key; whoever reads it later finds it analyzed."""
    copy.target.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(copy.staging, copy.key))
    copy.target.execute(sql.SQL("ANALYZE {}").format(copy.staging))


def _tell(copy: _Copy, row: TableRow) -> None:
    rate = row.rows_copied / row.seconds if row.seconds else 0.0
    if row.status is Status.COPIED:
        text = "replication %s, step 3/4: %s copied, %s rows in %.1f s (%.0f rows/s)"
        log.info(text, copy.run.name, row.source_table, row.rows_copied, row.seconds, rate)
        return
    total = max(copy.table.rows, row.rows_copied)
    left = (total - row.rows_copied) / rate if rate else 0.0
    text = "replication %s, step 3/4: %s, %s of about %s rows (%.0f rows/s, %.0f s left)"
    log.info(text, copy.run.name, row.source_table, row.rows_copied, total, rate, left)


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
