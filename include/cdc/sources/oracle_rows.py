"""Sessions with an Oracle source, and the rows that they see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import oracledb

from include.cdc.sources import oracle_types
from include.cdc.sources.base import Column
from include.cdc.sources.oracle_types import OracleColumn
from include.cdc.sources.sqlrows import SqlColumn, SqlRows, Statement
from include.connections import Connection
from include.errors import AccessDenied, ConnectionLost, DatabaseBusy, NotConfigured, PermanentError, RetailSyncError

COLUMNS = """
SELECT c.column_name, c.data_type, c.char_length, c.data_precision, c.data_scale, c.data_default
FROM all_tab_cols c
WHERE c.owner = :1 AND c.table_name = :2 AND c.virtual_column = 'NO' AND c.hidden_column = 'NO'
ORDER BY c.column_id
"""
#: No text may be read otherwise by a login's language, no moment by its zone, and texts sort as they compare.
SESSION = (
    "ALTER SESSION SET NLS_NUMERIC_CHARACTERS = '.,'",
    "ALTER SESSION SET NLS_COMP = BINARY",
    "ALTER SESSION SET NLS_SORT = BINARY",
    "ALTER SESSION SET NLS_CALENDAR = 'GREGORIAN'",
    "ALTER SESSION SET TIME_ZONE = '+00:00'",
)
_KINDS: dict[str, type[RetailSyncError]] = {
    **dict.fromkeys(("ORA-01017", "ORA-01031", "ORA-00942", "ORA-01045", "ORA-28000", "ORA-28001"), AccessDenied),
    **dict.fromkeys(("ORA-00028", "ORA-01089", "ORA-03113", "ORA-03114", "ORA-03135"), ConnectionLost),
    **dict.fromkeys(("ORA-12514", "ORA-12541", "DPY-4011", "DPY-6000", "DPY-6001", "DPY-6005"), ConnectionLost),
    **dict.fromkeys(("ORA-00018", "ORA-00020", "ORA-00054", "ORA-00060", "ORA-01555", "ORA-30006"), DatabaseBusy),
}
_CONNECT_SECONDS = 15.0
_FETCH_ROWS = 1000


def database_of(connection: Connection) -> str:
    """
    Return the service or SID of a connection, as Debezium is told it as well.

    :raises NotConfigured: without one.
    """
    found = connection.extra.get("service_name") or connection.extra.get("sid") or connection.database
    if not found:
        raise NotConfigured(f"connection {connection.id!r}: set schema, or extra service_name, to the database")
    return str(found)


def connect(connection: Connection, application: str) -> oracledb.Connection:
    """Open a session, in the pluggable database where the extra ``pdb`` names one."""
    is_sid = connection.extra.get("sid") and not connection.extra.get("service_name")
    session = oracledb.connect(
        user=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port or 1521,
        tcp_connect_timeout=_CONNECT_SECONDS,
        program=application,
        **{"sid" if is_sid else "service_name": database_of(connection)},
    )
    pluggable = connection.extra.get("pdb")
    with closing(session.cursor()) as cursor:
        for statement in (
            *((f"ALTER SESSION SET CONTAINER = {quoted(str(pluggable))}",) if pluggable else ()),
            *SESSION,
        ):
            cursor.execute(statement)
    return session


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """
    Raise the driver's errors as ours.

    The driver's own error is not chained, and of values only the kind of error is told: a text can hold them.
    """
    try:
        yield
    except oracledb.Error as error:
        told = error.args[0] if error.args else None
        code = str(getattr(told, "full_code", ""))
        kind = _KINDS.get(code, PermanentError)
        text = str(getattr(told, "message", "")) if kind is not PermanentError else type(error).__name__
        raise kind(f"{doing}: {text.partition(chr(10))[0]} [{code}]") from None


def quoted(name: str) -> str:
    """Return a name in double quotes."""
    return '"' + name.replace('"', "") + '"'


@dataclass(frozen=True)
class OracleRows(SqlRows):
    """
    What a session of an Oracle source sees.

    :param scn: as of which rows are read; None for now.
    """

    scn: int | None = None

    def describe(self, table: str) -> dict[str, SqlColumn]:
        """Ask for the columns of a table, as they are now."""
        rows = list(self.query((COLUMNS, table.split(".", 1))))
        return {row[0]: self._column(OracleColumn(*row)) for row in rows}

    def _column(self, column: OracleColumn) -> SqlColumn:
        name = self.quoted(column.name)
        missing, rewritten = oracle_types.implicit_default(column)
        kind = oracle_types.target_type(column) or column.type
        found = Column(kind, missing, rewritten, oracle_types.doubtful(column))
        text, bound = oracle_types.text_of(column, name), oracle_types.bound(column)
        if bound is None:
            return SqlColumn(found, text, text, is_ordered=False)
        return SqlColumn(found, text, name, bound)

    def quoted(self, name: str) -> str:
        """Return a name in double quotes."""
        return quoted(name)

    def nth(self, query: str, number: int) -> str:
        """Return the query of the row that is so many rows after the first."""
        return f"{query} OFFSET {number} ROWS FETCH NEXT 1 ROWS ONLY"

    def place(self, number: int) -> str:
        """Return the place of a bound value by its number."""
        return f":{number + 1}"

    def relation(self, table: str) -> str:
        """Return a table, as of the SCN."""
        return super().relation(table) + ("" if self.scn is None else f" AS OF SCN {self.scn}")

    def query(self, statement: Statement) -> Iterator[Sequence[Any]]:
        """Return the rows of a query, a few of them in memory; LOBs as texts."""
        with translated("reading the source"), closing(self.session.cursor()) as cursor:
            cursor.arraysize = _FETCH_ROWS
            cursor.execute(statement[0], list(statement[1]), fetch_lobs=False)
            while rows := cursor.fetchmany(_FETCH_ROWS):
                yield from (tuple(map(_text, row)) for row in rows)


def _text(value: Any) -> Any:
    """Return bytes as digits; what is empty is NULL."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}" if value else None
    return None if value == "" else value
