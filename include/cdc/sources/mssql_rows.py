"""The rows of a SQL Server source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from include.cdc.sources import mssql_captures, mssql_types
from include.cdc.sources.base import Column
from include.cdc.sources.mssql_types import MssqlColumn
from include.cdc.sources.sqlrows import SqlColumn, SqlRows, Statement
from include.engines.mssql.errors import translated
from include.engines.mssql.sql import quoted

#: Those that are captured, by the latest instance: of others the stream tells nothing.
COLUMNS = """
SELECT c.name, CASE WHEN y.is_user_defined = 1 AND y.is_assembly_type = 0 THEN b.name ELSE y.name END,
    CAST(c.max_length AS int), CAST(c.[precision] AS int), CAST(c.scale AS int), c.collation_name, d.definition,
    CAST(c.is_nullable AS int), CAST(c.is_identity AS int)
FROM sys.columns AS c
JOIN sys.types AS y ON y.user_type_id = c.user_type_id
LEFT JOIN sys.types AS b ON b.user_type_id = c.system_type_id
LEFT JOIN sys.default_constraints AS d ON d.object_id = c.default_object_id
WHERE c.object_id = OBJECT_ID(?) AND c.is_computed = 0 AND EXISTS (
    SELECT 1 FROM cdc.captured_columns AS k
    WHERE k.column_name = c.name AND k.object_id = (
        SELECT TOP (1) i.object_id FROM cdc.change_tables AS i
        WHERE i.source_object_id = c.object_id ORDER BY i.create_date DESC, i.object_id DESC
    )
)
ORDER BY c.column_id
"""
_FETCH_ROWS = 1000


@dataclass(frozen=True)
class MssqlRows(SqlRows):
    """What a session of a SQL Server source sees; the session is one of ``include.engines.mssql.drivers``."""

    def hold(self, table: str) -> str | None:
        """Return the capture instances of a table: what changes from now on is in them."""
        rows = list(self.query((mssql_captures.CAPTURES_OF, [self.relation(table)])))
        captures = mssql_captures.by_table(rows).values()
        return next((mssql_captures.written(found) for found in captures if found), None)

    def describe(self, table: str) -> dict[str, SqlColumn]:
        """Ask for the columns of a table that are captured."""
        rows = self.query((COLUMNS, [self.relation(table)]))
        return {row[0]: self._column(MssqlColumn(*row)) for row in rows}

    def _column(self, column: MssqlColumn) -> SqlColumn:
        name = quoted(column.name)
        missing, rewritten = mssql_types.implicit_default(column)
        kind = mssql_types.target_type(column) or column.type
        found = Column(kind, missing, rewritten, mssql_types.doubtful(column))
        return SqlColumn(found, mssql_types.text_of(column, name), name, mssql_types.bound(column))

    def quoted(self, name: str) -> str:
        """Return a name in brackets."""
        return quoted(name)

    def nth(self, query: str, number: int) -> str:
        """Return the query of the row that is so many rows after the first."""
        return f"{query} OFFSET {number} ROWS FETCH NEXT 1 ROWS ONLY"

    def place(self, number: int) -> str:  # noqa: ARG002 (they are not counted)
        """Return a question mark."""
        return "?"

    def query(self, statement: Statement) -> Iterator[Sequence[Any]]:
        """Return the rows of a query, a few of them in memory."""
        with translated("reading the source"), closing(self.session.connection.cursor()) as cursor:
            cursor.execute(statement[0], *statement[1])
            while rows := cursor.fetchmany(_FETCH_ROWS):
                yield from (tuple(row) for row in rows)
