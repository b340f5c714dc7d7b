"""
Sum rows here, from Arrow batches: the checksum of a pair of databases that have none in common.

Each row is hashed to 64 bits by Polars and the hashes of a day are added up, so the order of
rows and the size of batches play no part. Both sides of a comparison are summed by the same
process; Polars does not promise the same hash in another version, so the method names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from include.catalog import Table
from include.engines.base import DaySum, Digest, Level

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_TEXT_DATE = {"dd/mm/yyyy": (r"^\d{2}/\d{2}/\d{4}(?:\D|$)", "%d/%m/%Y", 10)}


def method() -> str:
    """Return the name of the way in which rows are summed here."""
    import polars as pl

    return f"polars-{pl.__version__}-rows"


@dataclass
class RowSums:
    """Adds up the rows of a table that pass by."""

    table: Table
    _days: dict[date | None, DaySum] = field(default_factory=dict, init=False)

    def tee(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Add up each batch and hand it on."""
        for batch in batches:
            self.add(batch)
            yield batch

    def add(self, batch: pa.RecordBatch) -> None:
        """Add up the rows of a batch."""
        import polars as pl

        rows = pl.DataFrame(pl.from_arrow(batch))
        hashes = rows.hash_rows(seed=0)
        # by halves, which 32-bit counts of rows cannot overflow
        sums = (
            pl.DataFrame({"day": rows.select(_day(self.table)).to_series(), "hash": hashes})
            .group_by("day")
            .agg(
                rows=pl.len(),
                high=(pl.col("hash") // 2**32).sum(),
                low=(pl.col("hash") % 2**32).sum(),
            )
        )
        for day, count, high, low in sums.iter_rows():
            before = self._days.get(day, DaySum(0))
            self._days[day] = DaySum(before.rows + count, (before.sum + (high << 32) + low) % 2**64)

    def digest(self) -> Digest:
        """Return the sums of what passed by so far."""
        return Digest(method(), dict(self._days))


def sum_rows(table: Table, batches: Iterator[pa.RecordBatch]) -> Digest:
    """Return the digest of all rows of the batches."""
    sums = RowSums(table)
    for batch in batches:
        sums.add(batch)
    return sums.digest()


def hashed_pairs(table: Table, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return the key of each row with the hash of its values, as the pairs of ``Level.CHECKSUM``."""
    import polars as pl
    import pyarrow as pa

    from include.engines.arrow import pairs_schema

    schema = pairs_schema(table, Level.CHECKSUM)
    for batch in batches:
        hashes = pl.DataFrame(pl.from_arrow(batch)).hash_rows(seed=0).reinterpret(signed=True).to_arrow()
        keys = [batch.column(name) for name in table.key]
        yield pa.RecordBatch.from_arrays([*keys, hashes], schema=schema)


def _day(table: Table) -> pl.Expr:
    """Return the expression of a row's business date, NULL where there is none."""
    import polars as pl

    if table.date is None:
        return pl.lit(None, dtype=pl.Date)
    column = pl.col(table.date)
    if table.date_format:
        pattern, form, length = _TEXT_DATE[table.date_format]
        readable = pl.when(column.str.contains(pattern)).then(column.str.slice(0, length))
        return readable.str.to_date(form, strict=False)
    if table.columns[table.date].is_exact_only_as_text:
        return column.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    return column.cast(pl.Date)
