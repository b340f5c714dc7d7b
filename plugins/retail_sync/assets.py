"""What DAGs tell each other they have updated."""

from __future__ import annotations

from airflow.sdk import Asset

from include.catalog import Table

#: Updated once by each nightly run, when all its tables are done, some of them perhaps failed.
NIGHTLY = Asset(name="nightly_replica", uri="retail-sync://warehouse/nightly_replica")


def replica_asset(table: Table) -> Asset:
    """Return the asset of a replica table; DAGs can be scheduled on it."""
    return Asset(
        name=f"{table.target_schema}.{table.target_table}",
        uri=f"retail-sync://warehouse/{table.target_schema}/{table.target_table}",
    )
