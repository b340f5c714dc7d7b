"""Compare a table of a SQL Server warehouse with the rows of its source, which are copied beside it first."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from include.cdc.changes import TargetTable
from include.cdc.comparison import SAMPLE, TableComparison
from include.cdc.names import DELETED_AT
from include.cdc.sources.base import Rows, SourceTable
from include.cdc.targets.base import STAGING
from include.cdc.targets.mssql_copies import types_of
from include.engines.mssql.sql import quoted, relation

if TYPE_CHECKING:
    from include.cdc.targets.mssql import MssqlTarget

_KINDS = ("missing", "extra", "different")


def compared(target: MssqlTarget, rows: Rows, table: TargetTable) -> TableComparison:
    """
    Compare a table with its copy.

    :param rows: of the moment of which exactly all is applied.
    """
    at_source = rows.columns(table.source).keys()
    columns = {name: type_ for name, type_ in table.columns.items() if name in at_source}
    if not columns:
        there = target.records.exec_driver_sql(count(table)).scalar_one() if table.columns else 0
        return TableComparison(table.source, 0, there, equal=False)
    staging = f"cdc_compare_{hashlib.blake2b(f'{table.schema} {table.source}'.encode(), digest_size=6).hexdigest()}"
    table, source = replace(table, columns=columns), SourceTable(table.source, table.key, 0)
    with target.doing(f"comparing {table.source} with {table.schema}.{table.name}"):
        target.begin_copy(staging, columns, table.key, soft=False)
        try:
            ours = target.fill_what_fits(staging, rows, source, columns)
            target.finish_copy(staging, table.key)
            theirs = target.records.exec_driver_sql(count(table)).scalar_one()
            found = {
                kind: target.records.exec_driver_sql(counted(table, staging, kind)).scalar_one() for kind in _KINDS
            }
            sample: list[tuple[str, ...]] = []
            for kind in (kind for kind in _KINDS if found[kind]):
                keys = target.records.exec_driver_sql(named(table, staging, kind))
                sample += [tuple(map(str, key)) for key in keys]
        finally:
            target.drop_copy(staging)
    keys_named = tuple(sample[:SAMPLE])
    return TableComparison(table.source, ours, theirs, equal=not sample, **found, sample_keys=keys_named)


def count(table: TargetTable) -> str:
    """Return the query for the number of rows of a copy that are not deleted."""
    return f"SELECT COUNT_BIG(*) FROM {relation(table.schema, table.name)} AS t WHERE {_alive(table)}"


def counted(table: TargetTable, staging: str, kind: str) -> str:
    """Return the query for the number of rows that are missing, extra or different."""
    return f"SELECT COUNT_BIG(*) {_rows(table, staging, kind)}"


def named(table: TargetTable, staging: str, kind: str) -> str:
    """Return the query for some of their keys, as texts."""
    side = "t" if kind == "extra" else "s"
    texts = ", ".join(
        type_.written.format(f"{side}.{quoted(name)}")
        for name, type_ in types_of(table.columns, table.key).items()
        if name in table.key
    )
    return f"SELECT TOP ({SAMPLE}) {texts} {_rows(table, staging, kind)}"


def _rows(table: TargetTable, staging: str, kind: str) -> str:
    types = types_of(table.columns, table.key)
    source, target = f"{relation(STAGING, staging)} AS s", f"{relation(table.schema, table.name)} AS t"
    same = " AND ".join(types[name].same(f"s.{quoted(name)}", f"t.{quoted(name)}") for name in table.key)
    if kind == "missing":
        return f"FROM {source} WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE {same} AND {_alive(table)})"
    if kind == "extra":
        return f"FROM {target} WHERE {_alive(table)} AND NOT EXISTS (SELECT 1 FROM {source} WHERE {same})"
    others = [name for name in types if name not in table.key]
    one, other = (", ".join(types[name].exactly(f"{side}.{quoted(name)}") for name in others) for side in "st")
    differs = f"EXISTS (SELECT {one} EXCEPT SELECT {other})" if others else "1 = 0"
    return f"FROM {source} JOIN {target} ON {same} WHERE {_alive(table)} AND {differs}"


def _alive(table: TargetTable) -> str:
    return f"t.{quoted(DELETED_AT)} IS NULL" if table.soft else "1 = 1"
