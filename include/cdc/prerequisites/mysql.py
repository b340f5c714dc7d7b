"""MySQL: its binary log, and the login's rights; after Debezium's documentation."""

from __future__ import annotations

from include.cdc.prerequisites.rules import Rows, Rule, at_least, lists, no_rows, says

_RETENTION_SECONDS = 3 * 24 * 3600
_GRANTS = ("SELECT", "REPLICATION SLAVE", "REPLICATION CLIENT")


def _is_mysql(rows: Rows) -> bool:
    return len(rows) == 1 and "MARIADB" not in str(rows[0][0]).upper()


def _granted(rows: Rows) -> bool:
    return lists("ALL PRIVILEGES ON *.*")(rows) or lists(*_GRANTS)(rows)


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
        f"the login lacks {', '.join(_GRANTS)}, or RELOAD for a first snapshot",
        f"GRANT {', '.join(_GRANTS)} ON *.* to it",
    ),
    Rule(
        "SELECT t.table_schema, t.table_name FROM information_schema.tables AS t"
        " LEFT JOIN information_schema.table_constraints AS c ON c.table_schema = t.table_schema"
        " AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY'"
        " WHERE t.table_type = 'BASE TABLE' AND c.constraint_name IS NULL"
        " AND t.table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')",
        no_rows,
        "tables have no primary key",
        "add one, or leave the tables out",
    ),
)
