"""Oracle: archived log, supplemental logging, and the login's rights; after Debezium's documentation."""

from __future__ import annotations

from include.cdc.prerequisites.rules import Rows, Rule, lists, no_rows, says

_PRIVILEGES = ("CREATE SESSION", "LOGMINING", "SELECT ANY TRANSACTION", "FLASHBACK ANY TABLE", "SELECT ANY TABLE")


def _some(rows: Rows) -> bool:
    return bool(rows)


RULES = (
    Rule(
        "SELECT log_mode FROM v$database",
        says("ARCHIVELOG"),
        "the database is not in ARCHIVELOG mode",
        "SHUTDOWN IMMEDIATE; STARTUP MOUNT; ALTER DATABASE ARCHIVELOG; ALTER DATABASE OPEN",
    ),
    Rule(
        "SELECT supplemental_log_data_min FROM v$database",
        says("YES", "IMPLICIT"),
        "minimal supplemental logging is off",
        "ALTER DATABASE ADD SUPPLEMENTAL LOG DATA",
    ),
    Rule(
        "SELECT t.owner, t.table_name FROM all_tables t CROSS JOIN v$database d"
        " WHERE d.supplemental_log_data_all = 'NO' AND t.owner NOT IN"
        " (SELECT u.username FROM all_users u WHERE u.oracle_maintained = 'Y') AND NOT EXISTS"
        " (SELECT 1 FROM all_log_groups g WHERE g.owner = t.owner AND g.table_name = t.table_name"
        " AND g.log_group_type = 'ALL COLUMN LOGGING')",
        no_rows,
        "tables log only some of their columns",
        "ALTER TABLE … ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS, for each that is followed",
    ),
    Rule(
        "SELECT dest_name FROM v$archive_dest WHERE status = 'VALID' AND destination IS NOT NULL",
        _some,
        "no place for the archived log is valid",
        "ALTER SYSTEM SET log_archive_dest_1, and keep the log for three days at least (RMAN's deletion policy)",
    ),
    Rule(
        "SELECT privilege FROM session_privs",
        lists(*_PRIVILEGES),
        f"the login lacks one of {', '.join(_PRIVILEGES)}",
        "grant them, and EXECUTE_CATALOG_ROLE and SELECT_CATALOG_ROLE",
    ),
    Rule(
        "SELECT t.owner, t.table_name FROM all_tables t WHERE t.owner NOT IN"
        " (SELECT u.username FROM all_users u WHERE u.oracle_maintained = 'Y') AND NOT EXISTS"
        " (SELECT 1 FROM all_constraints c WHERE c.owner = t.owner AND c.table_name = t.table_name"
        " AND c.constraint_type = 'P' AND c.status = 'ENABLED')",
        no_rows,
        "tables have no primary key",
        "add one, or leave the tables out",
    ),
)
