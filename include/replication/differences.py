"""
Which rows of a span differ between source and copy, by pairs of key and version.

Pairs are read a day at a time, so that what is held in memory is the pairs of one day and
the keys that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.catalog import Table
from include.engines.base import VERSION, Level, Snapshot, Warehouse, needs_portable_sums

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


@dataclass(frozen=True)
class Differences:
    """Keys of the rows that differ, as tables of the key's columns, and the bytes read from the source for it."""

    missing: pa.Table
    """At the source only."""
    different: pa.Table
    """On both sides, with another version."""
    extra: pa.Table
    """In the copy only: deleted at the source, or moved to another day."""
    bytes_read: int

    @property
    def wanted(self) -> pa.Table:
        """The keys of the rows to fetch."""
        import pyarrow as pa

        return pa.concat_tables([self.missing, self.different])


def differences(snapshot: Snapshot, warehouse: Warehouse, level: Level) -> Differences:
    """
    Compare the snapshot's span with the copy, row by row.

    :param level: VERSIONS to compare rowversions, CHECKSUM to compare all values.
    """
    table, portable = snapshot.table, needs_portable_sums(snapshot, warehouse)
    with ThreadPoolExecutor(max_workers=1) as pool:
        reading = pool.submit(lambda: gathered(table, snapshot.pairs(level, portable=portable), level))
        copy = gathered(table, warehouse.pairs(table, snapshot.span, level, portable=portable), level)
        source = reading.result()
    ours, theirs, key = _frame(source), _frame(copy), list(table.key)
    changed = ours.join(theirs, on=[*key, VERSION], how="anti", nulls_equal=True).select(key).unique()
    return Differences(
        missing=_table(table, changed.join(theirs, on=key, how="anti", nulls_equal=True)),
        different=_table(table, changed.join(theirs, on=key, how="semi", nulls_equal=True)),
        extra=_table(table, theirs.join(ours, on=key, how="anti", nulls_equal=True).select(key).unique()),
        bytes_read=source.nbytes,
    )


def unlike_copy(warehouse: Warehouse, table: Table, pairs: pa.RecordBatch) -> pa.Table:
    """Return the keys of the pairs that the copy has not, or not in this version, whatever the date."""
    import pyarrow as pa

    ours, key = _frame(pa.Table.from_batches([pairs])), list(table.key)
    keys = pa.Table.from_batches([pairs]).select(key)
    theirs = _frame(gathered(table, warehouse.pairs_of(table, keys), Level.VERSIONS))
    return _table(table, ours.join(theirs, on=[*key, VERSION], how="anti", nulls_equal=True).select(key).unique())


def gathered(table: Table, batches: Iterable[pa.RecordBatch], level: Level) -> pa.Table:
    """Return pairs as one table, be there any or not."""
    import pyarrow as pa

    from include.engines.arrow import pairs_schema

    return pa.Table.from_batches(batches, schema=pairs_schema(table, level))


def no_keys(table: Table) -> pa.Table:
    """Return a table of keys without a row."""
    from include.engines.arrow import pairs_schema

    return pairs_schema(table, Level.VERSIONS).empty_table().select(list(table.key))


def without(table: Table, keys: pa.Table, others: Iterator[pa.Table]) -> pa.Table:
    """Return the keys that are in none of the others, each once."""
    import pyarrow as pa

    found = _frame(pa.concat_tables([no_keys(table), *others]))
    return _table(table, _frame(keys).unique().join(found, on=list(table.key), how="anti", nulls_equal=True))


def _frame(rows: pa.Table) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(pl.from_arrow(rows))


def _table(table: Table, frame: pl.DataFrame) -> pa.Table:
    return frame.select(list(table.key)).to_arrow().cast(no_keys(table).schema)
