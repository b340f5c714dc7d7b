"""Sessions with a MySQL source, and the rows that they see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import SSCursor

from include.cdc.sources import mysql_types
from include.cdc.sources.base import Column
from include.cdc.sources.sqlrows import SqlColumn, SqlRows
from include.connections import Connection
from include.errors import AccessDenied, ConnectionLost, DatabaseBusy, LockTimeout, PermanentError, RetailSyncError

_COLUMNS = """
    SELECT column_name, data_type, column_type, character_set_name, column_default, extra, is_nullable
    FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position
"""
_KINDS: dict[int, type[RetailSyncError]] = {
    **dict.fromkeys((ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR), AccessDenied),
    **dict.fromkeys((ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR), AccessDenied),
    **dict.fromkeys((CR.CR_CONN_HOST_ERROR, CR.CR_CONNECTION_ERROR, CR.CR_SERVER_GONE_ERROR), ConnectionLost),
    **dict.fromkeys((CR.CR_SERVER_LOST, ER.SERVER_SHUTDOWN), ConnectionLost),
    **dict.fromkeys((ER.LOCK_DEADLOCK, ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS), DatabaseBusy),
    ER.LOCK_WAIT_TIMEOUT: LockTimeout,
}
#: No statement may be taken for another one by a login's mode, and no moment for another one by its zone.
_SESSION = "SET SESSION sql_mode = '', time_zone = '+00:00', net_write_timeout = 600"
_CONNECT_SECONDS = 15
_TEXTS = {"char", "varchar", "date"}
_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint", "year"}
_BYTES = {"binary", "varbinary"}


def connect(connection: Connection, application: str) -> Any:
    """Open a session in which each statement commits."""
    extra = connection.extra
    verified = str(extra.get("ssl_mode", "preferred")).lower()
    tls: dict[str, Any] = {"ssl_ca": extra["ssl_ca"]} if extra.get("ssl_ca") else {}
    if verified in {"verify_ca", "verify_identity"}:
        tls |= {"ssl_verify_cert": True, "ssl_verify_identity": verified == "verify_identity"}
    if verified == "disabled":
        tls = {"ssl_disabled": True}
    return pymysql.connect(
        host=connection.host,
        port=connection.port or 3306,
        user=connection.login,
        password=connection.password,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=_CONNECT_SECONDS,
        init_command=_SESSION,
        program_name=application,
        **tls,
    )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """
    Raise the driver's errors as ours.

    The driver's own error is not chained, and of values only the kind of error is told: a text can hold them.
    """
    try:
        yield
    except pymysql.Error as error:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        kind = _KINDS.get(code, PermanentError)
        text = error.args[1] if kind is not PermanentError and len(error.args) > 1 else type(error).__name__
        raise kind(f"{doing}: {text} [{code}]") from None


@dataclass(frozen=True)
class MysqlRows(SqlRows):
    """What a session of a MySQL source sees."""

    def describe(self, table: str) -> dict[str, SqlColumn]:
        """Ask for the columns of a table."""
        with closing(self.session.cursor()) as cursor:
            cursor.execute(_COLUMNS, table.split(".", 1))
            rows = cursor.fetchall()
        return {row[0]: self._column(*row) for row in rows}

    def _column(
        self, name: str, data: str, type_: str, charset: str | None, default: str | None, extra: str, nullable: str
    ) -> SqlColumn:
        kind = mysql_types.target_type(data, type_) or type_
        missing, rewritten = mysql_types.implicit_default(type_, default, extra, nullable == "YES")
        column = Column(kind, missing, rewritten, mysql_types.doubtful(type_, charset, default))
        # the driver takes a lone sign for a place
        text = mysql_types.text_of(self.quoted(name), type_).replace("%", "%%")
        compared, bound, is_ordered = self.quoted(name), "{}", True
        if data in _INTEGERS:
            bound = f"CAST({{}} AS {'UNSIGNED' if 'unsigned' in type_ else 'SIGNED'})"
        elif data in _BYTES:
            bound = "UNHEX(SUBSTRING({}, 3))"
        elif data not in _TEXTS:
            compared, is_ordered = f"BINARY ({text})", False
        fits_key = mysql_types.fits_key(type_, charset)
        return SqlColumn(column, text, compared, bound, is_ordered, fits_key)

    def quoted(self, name: str) -> str:
        """Return a name in backticks."""
        return "`" + name.replace("`", "``").replace("%", "%%") + "`"

    def nth(self, query: str, number: int) -> str:
        """Return the query of the row that is so many rows after the first."""
        return f"{query} LIMIT 1 OFFSET {number}"

    def cursor(self) -> Any:
        """Open a cursor whose rows come as they are asked for."""
        return self.session.cursor(SSCursor)
