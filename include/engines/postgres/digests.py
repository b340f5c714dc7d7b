"""Run the digest query of a span and read its answer."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql as pgsql

from include.catalog import Table
from include.engines.base import DaySum, Digest, Level
from include.engines.postgres import sql
from include.windows import Span

#: What PostgreSQL hashes a record with; part of the method's name, since other servers cannot repeat it.
_RECORD_HASH = "postgres-record-hash"


def run_digest(
    connection: psycopg.Connection[Any], table: Table, relation: pgsql.Composable, span: Span, level: Level
) -> Digest:
    """Return the digest of a span of a relation that has the catalog's columns."""
    rows = connection.execute(sql.digest(table, relation, span, level)).fetchall()
    method = _RECORD_HASH if level is Level.CHECKSUM else level.value
    return Digest(method, {day: DaySum(int(count), int(total)) for day, count, total in rows})
