"""Oracle: archived log, supplemental logging, and the login's rights; after Debezium's documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from include.cdc.models import Replication
from include.cdc.prerequisites import Problem, looked
from include.cdc.prerequisites.columns import column_problems
from include.cdc.prerequisites.rules import Rows, Rule, broken, lists, no_rows, says
from include.connections import Connection

if TYPE_CHECKING:
    from include.cdc.sources.oracle import OracleCdcSource
    from include.cdc.sources.oracle_rows import OracleRows

_APPLICATION = "retail-sync cdc validate"

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
#: Those that the source computes are never copied.
GENERATED = """
SELECT c.column_name FROM all_tab_cols c
WHERE c.owner = :1 AND c.table_name = :2 AND c.virtual_column = 'YES' AND c.hidden_column = 'NO'
"""


def problems(replication: Replication, source: Connection) -> list[Problem]:
    """Look at an Oracle database."""
    if source.kind != "oracle":
        return [Problem(f"{source} is no Oracle database", "set the connection of the source to one")]
    from include.cdc.sources.oracle import OracleCdcSource

    cdc_source = OracleCdcSource(source, _APPLICATION)
    with cdc_source.reading() as rows:

        def ask(query: str) -> Rows:
            return list(rows.query((query, [])))

        return [
            *broken([rule for rule in RULES if rule.holds is not no_rows], ask),
            *looked("the tables of the source", lambda: _tables(replication, ask)),
            *looked("the columns of the source", lambda: _columns(replication, cdc_source, rows)),
        ]


def table_problems(replication: Replication, rule: Rule, rows: Rows) -> list[Problem]:
    """Return what is wrong with the followed tables, from the answer to a rule that lists tables."""
    names = [f"{owner}.{table}" for owner, table in rows]
    return [Problem(f"{name}: {rule.what}", rule.remedy) for name in names if replication.holds(name)]


def _tables(replication: Replication, ask: Callable[[str], Rows]) -> list[Problem]:
    """Ask the rules that list tables; others' tables are no problem of ours."""
    return [
        problem
        for rule in RULES
        if rule.holds is no_rows
        for problem in table_problems(replication, rule, ask(rule.query))
    ]


def _columns(replication: Replication, source: OracleCdcSource, rows: OracleRows) -> list[Problem]:
    followed = source.tables(replication)
    if not followed:
        return [Problem("tables: nothing matches at the source", "correct the names, mind upper and lower case")]
    found = []
    for table in followed:
        generated = [name for (name,) in rows.query((GENERATED, table.name.split(".", 1)))]
        found += column_problems(replication, table, rows.columns(table.name), generated)
    return found
