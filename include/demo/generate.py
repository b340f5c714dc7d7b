"""Fill the stand-in of the source with rows that look and misbehave like those of a chain's tills."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import Connection
from psycopg.copy import QueuedLibpqWriter
from psycopg.sql import SQL, Identifier

from include.catalog import Catalog, Table
from include.demo.columns import Batch, makers
from include.demo.facts import Ints, Rows, random
from include.demo.fillers import BATCH, Pools
from include.demo.scenes import Scene, month_rows, stretch_rows
from include.demo.source_schema import FIRST_CHANGE, ROWVERSION_SEQUENCE, create_source, source_name
from include.demo.volumes import months_until, rows_of
from include.engines.arrow import arrow_schema

#: Rows of a refresh table whose facts are in memory at once.
_STRETCH = 200_000
#: Tables have rowversions of their own range, so that what a table gets does not depend on the others.
_ROWVERSIONS_A_TABLE = 1 << 32
#: Share of rows that were changed once more after they were written.
_RETOUCHED = 0.01


def generate(
    dsn: str,
    catalog: Catalog,
    *,
    scale: float,
    months: int,
    seed: int = 42,
    last_month: date,
    tables: Sequence[str] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, int]:
    """
    Replace the rows of the source's tables, or of the named ones; return how many each has.

    The same arguments give the same bytes, rowversions included. ``scale`` 1.0
    is the volumes of the catalog; window tables cover ``months`` calendar months,
    the last is that of ``last_month``. A table is committed when it is complete,
    and ``progress`` is then told its name and rows. What is missing of the schema
    is created.

    :raises BadRequest: for a table that is not in the catalog.
    """
    chosen = [table for table in (catalog if tables is None else map(catalog.__getitem__, tables)) if table.columns]
    spans = months_until(last_month, months)
    scenes = [Scene(catalog, seed, scale, span, months) for span in spans]
    counts: dict[str, int] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        create_source(connection, catalog)
        if tables is None:
            connection.execute(SQL("ALTER SEQUENCE {} RESTART").format(ROWVERSION_SEQUENCE))
        for table in chosen:
            counts[table.name] = _fill(connection, table, scenes, _first_rowversion(catalog, table))
            if progress:
                progress(table.name, counts[table.name])
        # a tenth of the usual sample: the usual one takes longer than the rows of 190 columns themselves
        connection.execute("SET default_statistics_target = 10")
        for table in chosen:
            connection.execute(SQL("ANALYZE {}").format(source_name(table)))
    return counts


def _fill(connection: Connection[Any], table: Table, scenes: Sequence[Scene], rowversion: int) -> int:
    """Replace the rows of a table in one transaction."""
    schema = arrow_schema(table)
    encoder = ArrowToPostgresBinaryEncoder(schema)
    # rows of a table that is emptied in the same transaction can be written frozen: no vacuum afterwards
    command = SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY, FREEZE)").format(
        source_name(table), SQL(", ").join(map(Identifier, table.columns))
    )
    count = 0
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(SQL("TRUNCATE {}").format(source_name(table)))
        with cursor.copy(command, writer=QueuedLibpqWriter(cursor)) as copy:
            copy.write(encoder.write_header())
            for batch in _batches(table, scenes, schema, rowversion):
                copy.write(encoder.write_batch(batch))
                count += batch.num_rows
            copy.write(encoder.finish())
    return count


def _batches(table: Table, scenes: Sequence[Scene], schema: Any, rowversion: int) -> Iterator[Any]:
    """Yield record batches of at most ``BATCH`` rows."""
    seed, rows = scenes[-1].seed, rows_of(table, scenes[-1].scale)
    total = rows * len(scenes) if table.strategy == "window" else rows
    if not total:
        return
    columns = makers(table, Pools(seed, table.name, total))
    number = 0
    for part in _spans(table, scenes, rows):
        for start in range(0, len(part), BATCH):
            facts = part.part(start, min(start + BATCH, len(part)))
            facts["rowversion"] = _rowversions(random(seed, table.name, "rowversion", number), rowversion, facts["id"])
            batch = Batch(facts, number)
            rowversion, number = rowversion + len(batch), number + 1
            yield pa.RecordBatch.from_arrays([maker(batch) for maker in columns.values()], schema=schema)


def _spans(table: Table, scenes: Sequence[Scene], rows: int) -> Iterator[Rows]:
    if table.strategy == "window":
        for scene in scenes:
            yield month_rows(scene, table)
        return
    for start in range(0, rows, _STRETCH):
        yield stretch_rows(scenes[-1], table, start, min(start + _STRETCH, rows))


def _rowversions(rng: np.random.Generator, first: int, ids: Ints) -> Ints:
    """Return growing numbers, but for a few rows that changed places: they were touched again later."""
    values = np.arange(first, first + len(ids), dtype=np.int64)
    picked = np.sort(rng.choice(len(ids), round(len(ids) * _RETOUCHED), replace=False))
    values[picked] = rng.permutation(values[picked])
    return values


def _first_rowversion(catalog: Catalog, table: Table) -> int:
    first = (list(catalog.tables).index(table.name) + 1) * _ROWVERSIONS_A_TABLE
    assert first + _ROWVERSIONS_A_TABLE <= FIRST_CHANGE
    return first
