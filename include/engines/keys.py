"""Keys of rows, in pieces that a statement can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def chunks(keys: pa.Table, size: int) -> Iterator[list[tuple[Any, ...]]]:
    """Return the rows of a table of keys, ``size`` of them at once."""
    for batch in keys.combine_chunks().to_batches(max_chunksize=size):
        if batch.num_rows:
            yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
