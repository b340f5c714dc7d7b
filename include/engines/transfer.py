"""The fastest way between two points, chosen by the pair of engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from include.engines.base import Loaded, OnRows, Snapshot, Staging
from include.engines.postgres.source import PostgresSnapshot
from include.engines.postgres.warehouse import PostgresStaging
from include.engines.prefetch import prefetch

if TYPE_CHECKING:
    import pyarrow as pa

#: Sees every batch on its way, and hands it on.
Tee = Callable[[Iterator["pa.RecordBatch"]], Iterator["pa.RecordBatch"]]


def transfer(snapshot: Snapshot, staging: Staging, batch_bytes: int, tees: list[Tee], on_rows: OnRows) -> Loaded:
    """Load the snapshot's rows into the staging table; as Arrow where somebody looks at them."""
    if not tees and isinstance(snapshot, PostgresSnapshot) and isinstance(staging, PostgresStaging):
        from include.engines.postgres.pipe import pipe

        return pipe(snapshot, staging, on_rows)
    batches = staging.as_kept(prefetch(snapshot.batches(batch_bytes)))
    for tee in tees:
        batches = tee(batches)
    return staging.load(batches, on_rows)
