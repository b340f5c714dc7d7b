"""A PostgreSQL server that is followed: its log, slots, senders, the login's rights and the publication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from include.cdc import names
from include.cdc.models import Replication
from include.cdc.prerequisites import Problem, looked
from include.cdc.prerequisites.tables import Relation
from include.cdc.sources.postgres import PostgresCdcSource
from include.engines.postgres.connect import conninfo
from include.engines.postgres.errors import translated

OLDEST = 140000

_SERVER = """
    SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('wal_level'),
        current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots),
        current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication),
        current_setting('max_slot_wal_keep_size')
"""
#: The managed services of Amazon give the right by a role.
_MAY_REPLICATE = """
    SELECT r.rolsuper OR r.rolreplication OR EXISTS (
        SELECT FROM pg_roles g WHERE g.rolname = 'rds_replication' AND pg_has_role(r.oid, g.oid, 'MEMBER')
    ) FROM pg_roles r WHERE r.rolname = session_user
"""
#: Row filters and column lists are columns of PostgreSQL 15 and later.
_PUBLICATION = """
    SELECT p.puballtables, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, p.pubviaroot,
        pg_has_role(p.pubowner, 'USAGE'),
        EXISTS (
            SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid
            AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL)
        )
    FROM pg_publication p WHERE p.pubname = %s
"""


def problems(
    session: psycopg.Connection[Any],
    source: PostgresCdcSource,
    replication: Replication,
    relations: Mapping[str, Relation],
    followed: Sequence[str],
) -> list[Problem]:
    """Look at the server of a session."""
    return [
        *looked("the source's settings", lambda: _server(session, replication)),
        *looked("the right to replicate", lambda: _role(session, source)),
        *looked("the publication", lambda: _publication(session, source, replication, relations, followed)),
    ]


def kept_log(session: psycopg.Connection[Any]) -> str:
    """Say how much log the source keeps for a slot that nobody reads."""
    row = session.execute(_SERVER).fetchone()
    assert row is not None
    if row[5] == "-1":
        return "the source keeps its log for a stopped replication without a limit (max_slot_wal_keep_size = -1)"
    return f"the source keeps up to {row[5]} of its log for a stopped replication (max_slot_wal_keep_size)"


def _server(session: psycopg.Connection[Any], replication: Replication) -> list[Problem]:
    row = session.execute(_SERVER).fetchone()
    assert row is not None
    version, standby, level, slots, senders, _ = row
    found = []
    if version < OLDEST:
        found.append(Problem(f"the source is PostgreSQL {version // 10000}", "14 and later can be followed"))
    if standby:
        text = "the source is a standby: neither a publication nor a marker can be written there"
        found.append(Problem(text, "connect to its primary"))
    if level != "logical":
        found.append(Problem(f"wal_level is {level}", "ALTER SYSTEM SET wal_level = 'logical', and restart the source"))
    if not PostgresCdcSource.slots(session, replication.name):
        if slots < 1:
            remedy = "raise max_replication_slots and restart the source, or drop a slot that nobody needs"
            found.append(Problem("no replication slot is free", remedy))
        if senders < 1:
            found.append(Problem("no WAL sender is free", "raise max_wal_senders and restart the source"))
    return found


def _role(session: psycopg.Connection[Any], source: PostgresCdcSource) -> list[Problem]:
    row = session.execute(_MAY_REPLICATE).fetchone()
    if row is None or not row[0]:
        login = sql.Identifier(source.connection.login).as_string(session)
        remedy = f"ALTER ROLE {login} REPLICATION (Amazon RDS: GRANT rds_replication TO {login})"
        return [Problem(f"{source.connection.login} may not replicate", remedy)]
    info = f"{conninfo(source.connection, source.application)} replication=database"
    with translated("opening a replication connection (see pg_hba.conf)"):
        psycopg.connect(info, autocommit=True).close()
    return []


def _publication(
    session: psycopg.Connection[Any],
    source: PostgresCdcSource,
    replication: Replication,
    relations: Mapping[str, Relation],
    followed: Sequence[str],
) -> list[Problem]:
    name = names.publication(replication.name)
    quoted = sql.Identifier(name).as_string(session)
    published = PostgresCdcSource.published(session, name)
    row = session.execute(_PUBLICATION, (name,)).fetchone()
    if row is None or published is None:
        return _may_create(session, source, quoted, relations, followed)
    every_table, every_change, by_root, owned, filtered = row
    if every_table or filtered or not every_change or not by_root:
        text = f"publication {name} does not publish all changes of the followed tables, by their root, and only these"
        return [Problem(text, f"DROP PUBLICATION {quoted}; a right one is made")]
    found = [
        Problem(
            f"publication {name} holds {table}, of which an UPDATE fails at the source: it has no replica identity",
            f"ALTER PUBLICATION {quoted} DROP TABLE {_quoted(session, table)}",
        )
        for table in sorted(set(published) - set(followed))
        if table in relations and not relations[table].identified
    ]
    added = sorted(set(followed) - set(published))
    if set(followed) != set(published) and not (owned and all(relations[table].owned for table in added)):
        statement = f"ALTER PUBLICATION {quoted} SET TABLE {', '.join(_quoted(session, table) for table in followed)}"
        text = f"{source.connection.login} may not change publication {name}, which holds other tables"
        found.append(Problem(text, f"let an owner of the tables run: {statement}"))
    return found


def _may_create(
    session: psycopg.Connection[Any],
    source: PostgresCdcSource,
    publication: str,
    relations: Mapping[str, Relation],
    followed: Sequence[str],
) -> list[Problem]:
    row = session.execute("SELECT has_database_privilege(current_database(), 'CREATE')").fetchone()
    if not followed or (row and row[0] and all(relations[table].owned for table in followed)):
        return []
    tables = ", ".join(_quoted(session, table) for table in followed)
    statement = f"CREATE PUBLICATION {publication} FOR TABLE {tables} WITH (publish_via_partition_root = true)"
    text = f"{source.connection.login} may not make the publication: it needs CREATE on the database, and the tables"
    return [Problem(text, f"let an owner of the tables run: {statement}")]


def _quoted(session: psycopg.Connection[Any], table: str) -> str:
    return sql.Identifier(*table.split(".", 1)).as_string(session)
