"""
What a task reads and writes, as OpenLineage wants it.

Only the OpenLineage provider calls this, so its packages are there when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.settings import Settings
from retail_sync.hooks.engine import EngineHook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage

    from include.catalog import Table
    from include.connections import Connection
    from include.replication.run import Report

_PORTS = {"postgres": 5432, "mssql": 1433, "mysql": 3306, "oracle": 1521}


def namespace_of(connection: Connection) -> str:
    """Return the namespace of a server's datasets: ``postgres://host:port``."""
    return f"{connection.kind}://{connection.host}:{connection.port or _PORTS[connection.kind]}"


def lineage_of(table: Table, reports: Sequence[Report], settings: Settings) -> OperatorLineage[Any, Any]:
    """
    Return the table at the source as input, its replica as output, with their columns and what was moved.

    :param reports: of the windows that are done, whose rows and bytes were read and written; none at the beginning.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet
    from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet

    source, warehouse = (
        EngineHook(name).get_conn() for name in (settings.source_connection, settings.warehouse_connection)
    )
    columns = {name: str(type_) for name, type_ in table.columns.items()}
    left_out = {name for name, policy in table.policies.items() if policy == "null"}
    rows, size = sum(report.rows_read for report in reports), sum(report.bytes_read for report in reports)
    read, written = InputStatisticsInputDatasetFacet(rows, size), OutputStatisticsOutputDatasetFacet(rows, size)
    return OperatorLineage(
        inputs=[
            InputDataset(
                namespace_of(source),
                _name(source, table.source_schema, table.name),
                facets=_schema({name: type_ for name, type_ in columns.items() if name not in left_out}),
                inputFacets={"inputStatistics": read} if reports else {},
            )
        ],
        outputs=[
            OutputDataset(
                namespace_of(warehouse),
                _name(warehouse, table.target_schema, table.target_table),
                facets=_schema(columns),
                outputFacets={"outputStatistics": written} if reports else {},
            )
        ],
    )


def _schema(columns: Mapping[str, str]) -> dict[str, Any]:
    from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields

    return {"schema": SchemaDatasetFacet([SchemaDatasetFacetFields(name, type_) for name, type_ in columns.items()])}


def _name(connection: Connection, schema: str, table: str) -> str:
    return f"{connection.database}.{schema}.{table}"
