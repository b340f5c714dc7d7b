"""MySQL: its binary log, the login's rights, the tables; after Debezium's documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from include.cdc.models import Replication
from include.cdc.prerequisites import Problem, looked
from include.cdc.prerequisites.columns import column_problems
from include.cdc.prerequisites.rules import Rows, Rule, at_least, broken, lists, says
from include.cdc.sources.base import SourceTable
from include.cdc.sources.mysql import MysqlCdcSource
from include.cdc.sources.mysql_rows import MysqlRows, translated
from include.cdc.sources.sqlrows import SqlColumn
from include.connections import Connection

_RETENTION_SECONDS = 3 * 24 * 3600
_GRANTS = ("SELECT", "LOCK TABLES", "REPLICATION SLAVE", "REPLICATION CLIENT")
#: Debezium reads how tables are defined at a moment at which nobody writes; found out by trying.
_FLUSHES = ("RELOAD", "FLUSH_TABLES")
_APPLICATION = "retail-sync cdc validate"


def _is_mysql(rows: Rows) -> bool:
    return len(rows) == 1 and "MARIADB" not in str(rows[0][0]).upper()


def _granted(rows: Rows) -> bool:
    return lists("ALL PRIVILEGES ON *.*")(rows) or lists(*_GRANTS)(rows)


def _may_flush(rows: Rows) -> bool:
    return any(lists(right)(rows) for right in ("ALL PRIVILEGES ON *.*", *_FLUSHES))


RULES = (
    Rule(
        "SELECT VERSION()",
        _is_mysql,
        "the server is MariaDB, which Debezium's MySQL connector refuses",
        "follow a MySQL server",
    ),
    Rule("SELECT @@GLOBAL.log_bin", says(1, "ON"), "the binary log is off", "start the server with log_bin"),
    Rule(
        "SELECT @@GLOBAL.binlog_format",
        says("ROW"),
        "binlog_format is not ROW",
        "SET PERSIST binlog_format = 'ROW', and let sessions reconnect",
    ),
    Rule(
        "SELECT @@GLOBAL.binlog_row_image",
        says("FULL"),
        "binlog_row_image is not FULL",
        "SET PERSIST binlog_row_image = 'FULL', and let sessions reconnect",
    ),
    Rule(
        "SELECT @@GLOBAL.binlog_row_value_options",
        says(""),
        "binlog_row_value_options writes parts of JSON values",
        "SET PERSIST binlog_row_value_options = ''",
    ),
    Rule(
        "SELECT @@GLOBAL.binlog_expire_logs_seconds",
        at_least(_RETENTION_SECONDS, 0),
        "binary logs are purged before three days are over",
        f"SET PERSIST binlog_expire_logs_seconds = {_RETENTION_SECONDS} (Amazon RDS: binlog retention hours)",
    ),
    Rule(
        "SHOW GRANTS",
        _granted,
        f"the login lacks one of {', '.join(_GRANTS)}",
        f"GRANT {', '.join(_GRANTS)} ON *.* to it",
    ),
    Rule(
        "SHOW GRANTS",
        _may_flush,
        f"the login has none of {', '.join(_FLUSHES)}",
        "GRANT RELOAD ON *.* to it: writers wait for the moment in which the log is pinned",
    ),
)


def problems(replication: Replication, source: Connection) -> list[Problem]:
    """Look at a MySQL server."""
    if source.kind != "mysql":
        return [Problem(f"{source} is no MySQL", "set the connection of the source to one")]
    at_source = MysqlCdcSource(source, _APPLICATION)
    with at_source.session() as session:
        rows = MysqlRows(session)

        def ask(query: str) -> Rows:
            with translated("asking the source"):
                return list(rows.query((query, [])))

        tables = looked("the tables", lambda: _tables(replication, at_source.tables(replication), rows.described))
        return [*broken(RULES, ask), *tables]


def _tables(
    replication: Replication, tables: list[SourceTable], described: Callable[[str], Mapping[str, SqlColumn]]
) -> list[Problem]:
    if not tables:
        return [Problem("tables: nothing matches at the source", "correct the names, mind upper and lower case")]
    found = []
    for table in tables:
        columns = described(table.name)
        if not table.key:
            found.append(Problem(f"{table.name} has no primary key", "add one, or leave it out"))
        if unfit := [name for name in table.key if name in columns and not columns[name].fits_key]:
            text = f"{table.name}: key column {', '.join(unfit)}: Debezium may send another value than the source has"
            found.append(Problem(text, "leave the table out"))
        found += column_problems(replication, table, {name: column.column for name, column in columns.items()})
    return found
