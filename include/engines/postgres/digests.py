"""Run the digest query of a span and read its answer."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql as pgsql

from include.catalog import Table
from include.engines.base import DaySum, Digest, Level
from include.engines.postgres import sql
from include.windows import Span

#: How PostgreSQL's sums are made: other servers cannot repeat it, so their sums are not compared with it.
CHECKSUM_METHOD = "postgres-column-hash"


def run_digest(
    connection: psycopg.Connection[Any], table: Table, relation: pgsql.Composable, span: Span, level: Level
) -> Digest:
    """Return the digest of a span of a relation that has the catalog's columns."""
    # A partition that was just loaded has no statistics: the planner takes it for tiny, would not
    # share the work, and would sort whole rows to group them by day.
    connection.execute("SET LOCAL parallel_setup_cost = 0")
    connection.execute("SET LOCAL enable_sort = off")
    rows = connection.execute(sql.digest(table, relation, span, level)).fetchall()
    method = CHECKSUM_METHOD if level is Level.CHECKSUM else level.value
    return Digest(method, {day: DaySum(int(count), int(total)) for day, count, total in rows})
