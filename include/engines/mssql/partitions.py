"""
Replicas that are partitioned by month in SQL Server: a whole month is switched in, not inserted.

A migration option: with ``RETAIL_SYNC_PARTITION_FROM`` and ``…_TO`` set, replicas that are made
from then on are partitioned; others stay as they are. Was never run against a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from include.catalog import Table
from include.engines.mssql.sql import Statement, declarations, literal, names, quoted, target_name
from include.engines.mssql.types import declared
from include.engines.staging import STAGING_SCHEMA, staging_name
from include.windows import Window, months

#: With RANGE RIGHT the partition behind a boundary has the boundary's number plus one.
_BOUNDARIES = """
    SELECT CAST(r.value AS date), r.boundary_id + 1
    FROM sys.indexes AS i
    JOIN sys.partition_schemes AS s ON s.data_space_id = i.data_space_id
    JOIN sys.partition_functions AS f ON f.function_id = s.function_id AND f.boundary_value_on_right = 1
    JOIN sys.partition_range_values AS r ON r.function_id = f.function_id
    WHERE i.object_id = OBJECT_ID(?) AND i.index_id < 2 AND CAST(r.value AS date) IN (?, ?)
"""


def create_scheme(date_type: str, span: Window) -> list[str]:
    """Return the statements that make the partition function and scheme for a type of date column."""
    name = _scheme(date_type)
    bounds = ", ".join(_day(day) for day in [*(month.start for month in months(span)), span.end])
    function = f"CREATE PARTITION FUNCTION {quoted(name)} ({date_type}) AS RANGE RIGHT FOR VALUES ({bounds})"
    scheme = f"CREATE PARTITION SCHEME {quoted(name)} AS PARTITION {quoted(name)} ALL TO ([PRIMARY])"
    return [
        f"IF NOT EXISTS (SELECT 1 FROM sys.partition_functions WHERE name = {literal(name)}) {function}",
        f"IF NOT EXISTS (SELECT 1 FROM sys.partition_schemes WHERE name = {literal(name)}) {scheme}",
    ]


def on_scheme(table: Table) -> str:
    """Return the clause that puts a table on its partition scheme."""
    assert table.date is not None
    return f" ON {quoted(_scheme(declared(table.columns[table.date])))}({quoted(table.date)})"


def boundaries(table: Table, month: Window) -> Statement:
    """Return the query for (boundary, number of the partition behind it) at both ends of a month."""
    return _BOUNDARIES, (target_name(table), month.start, month.end)


def number_of(month: Window, numbers: Mapping[date, int]) -> int | None:
    """Return the number of the partition that holds exactly the month, None if there is none."""
    start, end = numbers.get(month.start), numbers.get(month.end)
    return start if start is not None and end == start + 1 else None


def incoming_table(table: Table, month: Window) -> str:
    """Return the quoted name of the table that is switched in."""
    return f"{quoted(STAGING_SCHEMA)}.{quoted(staging_name(table, month) + '__in')}"


def create_incoming(table: Table, month: Window) -> list[str]:
    """Return the statements that make a table of the replica's shape for the rows of one month."""
    assert table.date is not None
    incoming, day = incoming_table(table, month), quoted(table.date)
    columns = declarations(table.columns, declared)
    check = f"CHECK ({day} IS NOT NULL AND {day} >= {_day(month.start)} AND {day} < {_day(month.end)})"
    statements = [
        f"CREATE TABLE {incoming} ({columns}, {check}) ON [PRIMARY]",
        f"CREATE CLUSTERED INDEX [by_date] ON {incoming} ({day})",
    ]
    if table.key:
        statements.append(f"CREATE UNIQUE NONCLUSTERED INDEX [key] ON {incoming} ({names(unique_columns(table))})")
    return statements


def swap(table: Table, month: Window, number: int) -> list[str]:
    """Return the statements that put the incoming table in the place of a partition."""
    return [
        f"TRUNCATE TABLE {target_name(table)} WITH (PARTITIONS ({number}))",
        f"ALTER TABLE {incoming_table(table, month)} SWITCH TO {target_name(table)} PARTITION {number}",
        f"DROP TABLE {incoming_table(table, month)}",
    ]


def unique_columns(table: Table) -> tuple[str, ...]:
    """Return the columns of the key's index: of a partitioned table it needs the date in it."""
    assert table.date is not None
    return (*table.key, *([] if table.date in table.key else [table.date]))


def _scheme(date_type: str) -> str:
    return f"retail_sync_by_month_{date_type}"


def _day(day: date) -> str:
    """A literal that every language setting reads alike; neither boundaries nor checks can be bound."""
    return f"'{day.isoformat().replace('-', '')}'"
