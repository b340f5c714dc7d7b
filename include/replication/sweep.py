"""
The watermark sweep: rows that changed since the last one, whatever their date.

A sweep reads the keys of the rows whose rowversion is above a mark, asks the copy which of
them it has in that version, and fetches the others. A transaction that commits late may carry
a lower rowversion than the highest seen, so a sweep begins at the mark before the last: what
commits within the time between two sweeps is not missed. Deletions are left to the fix check.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from include.catalog import Table
from include.engines.base import VERSION, Changed, Snapshot
from include.metadata import now, replica_watermarks, upsert
from include.replication.differences import no_keys, unlike_copy
from include.replication.observe import Observer, Step
from include.replication.progress import Phase, Status
from include.replication.reconcile import Repair
from include.replication.run import Report, Run, Work, timed, work_on
from include.windows import CHANGES

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

#: Rows that are put in place in one transaction; the mark moves with the last.
_ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Marks:
    """The highest rowversion of the last sweep, and of the one before: eight bytes each, in order of age."""

    high: bytes
    low: bytes


def sweep(run: Run, table: Table, observer: Observer, attempt: int = 1) -> Report:
    """
    Fetch what changed at the source since the last sweep, and put it in place.

    The first sweep of a table begins at the highest rowversion of its copy; a table without key or
    rowversion is left alone.

    :raises TransientError: if another try may succeed; the mark did not move.
    """
    if not table.key or not table.rowversion:
        log.info("%s has no key or no rowversion, it is not swept", table.name)
        return Report(table.name, CHANGES.name, Status.VERIFIED, unchanged=True)
    with work_on(run, table, CHANGES, Phase.SWEEP, observer, attempt) as work:
        _sweep(work)
        work.report.status = Status.PUBLISHED
    return work.report


def read_marks(engine: sa.Engine, table: Table) -> Marks | None:
    """Return how far a table was swept, None before the first time."""
    query = sa.select(replica_watermarks.c.high_mark, replica_watermarks.c.low_mark)
    with engine.connect() as connection:
        row = connection.execute(query.where(replica_watermarks.c.table_name == table.name)).first()
    return None if row is None else Marks(bytes(row[0]), bytes(row[1]))


def _sweep(work: Work) -> None:
    run, table, report = work.run, work.table, work.report
    marks = read_marks(run.warehouse.metadata(), table) or _first_marks(work)
    if marks is None:
        log.info("%s: the copy is empty, there is nothing to sweep", table.name)
        return
    report.count(Changed(0, 0, 0))
    with run.source.snapshot(table, CHANGES) as snapshot:
        work.observer.step(Step.COMPARING)
        with timed(report, "seconds_verifying"):
            keys, highest = _changed_keys(work, snapshot, marks)
        moved = Marks(max(marks.high, highest), marks.high)
        rounds = [keys.slice(start, _ROWS_AT_ONCE) for start in range(0, keys.num_rows, _ROWS_AT_ONCE)]
        for part in rounds:
            Repair(work, snapshot).run(part, no_keys(table), _move(work, moved) if part is rounds[-1] else ())
    if not rounds:
        _write_marks(work, moved)
    report.rows_published, report.unchanged = report.rows_read, not rounds


def _first_marks(work: Work) -> Marks | None:
    """Begin at the copy's highest rowversion, and keep that: a sweep that breaks off may have raised it."""
    highest = work.run.warehouse.highest_version(work.table)
    if not highest:
        return None
    _write_marks(work, marks := Marks(highest, highest))
    return marks


def _write_marks(work: Work, marks: Marks) -> None:
    with work.run.warehouse.metadata().connect() as connection:
        upsert(connection, replica_watermarks, {"table_name": work.table.name}, _values(work, marks))


def _changed_keys(work: Work, snapshot: Snapshot, marks: Marks) -> tuple[pa.Table, bytes]:
    """Return the keys of the rows that the copy lacks or has in another version, and the highest rowversion seen."""
    import pyarrow as pa

    found, highest, rows = [no_keys(work.table)], marks.high, 0
    for batch in snapshot.pairs_above(marks.low):
        if not batch.num_rows:
            continue
        rows += batch.num_rows
        work.report.bytes_read += batch.nbytes
        highest = max(highest, *batch.column(VERSION).to_pylist())
        found.append(unlike_copy(work.run.warehouse, work.table, batch))
    work.report.rows_source = rows
    keys = pa.concat_tables(found)
    work.report.rows_unchanged = rows - keys.num_rows
    log.info("%s: %s rows changed since the mark, %s are not in the copy", work.table.name, rows, keys.num_rows)
    return keys, highest


def _values(work: Work, marks: Marks) -> dict[str, Any]:
    return {"high_mark": marks.high, "low_mark": marks.low, "run_id": work.run.id, "updated_at": now()}


def _move(work: Work, marks: Marks) -> Sequence[sa.Executable]:
    return [
        replica_watermarks.delete().where(replica_watermarks.c.table_name == work.table.name),
        replica_watermarks.insert().values({"table_name": work.table.name, **_values(work, marks)}),
    ]
