"""Put finished copies in the place of what readers see, together with the position of their stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.errors import LockNotAvailable

from include.cdc import history, names, state
from include.cdc.begin import pending
from include.cdc.copy import STAGING
from include.cdc.models import Deletes, Mode
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow, State, Status, TableRow

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

#: Somebody's views of a table hang on it: it is filled anew then, not replaced.
_DEPENDENTS = """
    SELECT EXISTS (
        SELECT FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %s::regclass AND r.ev_class <> d.refobjid
    )
"""
_COLUMNS = """
    SELECT attname::text FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_GRANTS = """
    SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
        string_agg(DISTINCT a.privilege_type, ', ')
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.oid = to_regclass(%s) AND a.grantee <> c.relowner GROUP BY 1
"""
_DONE = {Status.COPIED, Status.LIVE}


def swap(run: CdcRun) -> list[str]:
    """
    Publish all copied tables at once, in one transaction with the position of the stream.

    Nothing happens while a table of a first copy, or of a whole resync, is not copied yet.

    :return: the tables that readers see anew.
    """
    with run.pinning(), run.applying(run.settings.lock_wait), run.in_warehouse() as session:
        row = run.row(session)
        epoch = pending(row)
        tables = state.tables(session, run.name, epoch)
        followed = {table.name for table in run.at_source.tables(run.replication)}
        # what came to the source meanwhile is copied by the next start
        waiting = [name for name, table in tables.items() if name in followed and table.status not in _DONE]
        ready = {name: table for name, table in tables.items() if table.status is Status.COPIED}
        if row.next_epoch and waiting:
            log.info("replication %s, step 4/4: waits for the copy of %s", run.name, ", ".join(waiting))
            return []
        if ready or row.next_epoch:
            _publish_in_turn(run, session, row, ready)
        log.info("replication %s, step 4/4: %s tables are in place", run.name, len(ready))
        if run.replication.mode is Mode.EMBEDDED:
            forget_old_epochs(run, session)
        return sorted(ready)


def _publish_in_turn(
    run: CdcRun, session: psycopg.Connection[Any], row: ReplicationRow, ready: Mapping[str, TableRow]
) -> None:
    """Publish, stepping back whenever readers hold it up, so that others do not queue behind it."""
    wait, deadline = run.settings.publish_lock_wait, time.monotonic() + run.settings.publish_wait
    while True:
        try:
            with session.transaction():
                session.execute("SELECT set_config('lock_timeout', %s, true)", (f"{wait}s",))
                _publish(run, session, row, ready)
        except LockNotAvailable:
            if time.monotonic() > deadline:
                raise
            log.info("replication %s, step 4/4: waits for readers of its tables", run.name)
            time.sleep(wait)
        else:
            return


def _publish(run: CdcRun, session: psycopg.Connection[Any], row: ReplicationRow, ready: Mapping[str, TableRow]) -> None:
    epoch = pending(row)
    schema = sql.Identifier(run.replication.target_schema)
    session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    for table in ready.values():
        _place(run, session, table)
        state.write_table(
            session, run.name, epoch, table.source_table, target_table=table.target_table, status=Status.LIVE
        )
    session.execute(
        "UPDATE dbo.cdc_dead_letters SET resolved_at = now()"
        " WHERE replication = %s AND source_table = ANY(%s) AND resolved_at IS NULL",
        (run.name, list(ready)),
    )
    if row.next_epoch:
        values: dict[str, Any] = {"epoch": epoch, "next_epoch": None, "next_position": None, "reason": None}
        kept = State.STOPPED if row.state is State.STOPPED else State.STREAMING
        state.write(session, run.name, **values, position=row.next_position, state=kept, run_id=run.id)
        state.forget_epochs(session, run.name, [epoch])
        history.forget(session, run.name, [epoch])


def _place(run: CdcRun, session: psycopg.Connection[Any], table: TableRow) -> None:
    staged_name = names.staging_table(run.name, table.source_table)
    staged = sql.Identifier(STAGING, staged_name)
    target = sql.Identifier(run.replication.target_schema, table.target_table)
    text = target.as_string(session)
    there = [column for (column,) in session.execute(_COLUMNS, (text,)).fetchall()]
    if there:
        if run.replication.deletes is Deletes.SOFT and names.DELETED_AT in there:
            _keep_deleted(session, staged, target, there)
        held = session.execute(_DEPENDENTS, (text,)).fetchone()
        if held and held[0]:
            _refill(session, staged, target)
            return
        _grant_alike(session, staged, text)
        session.execute(sql.SQL("DROP TABLE {}").format(target))
    schema = sql.Identifier(run.replication.target_schema)
    session.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(staged, schema))
    moved = sql.Identifier(run.replication.target_schema, staged_name)
    session.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(moved, sql.Identifier(table.target_table)))


def _grant_alike(session: psycopg.Connection[Any], staged: sql.Identifier, target: str) -> None:
    """Give whoever may read a table the same rights on the one that takes its place."""
    for grantee, right in session.execute(_GRANTS, (target,)).fetchall():
        statement = sql.SQL("GRANT {} ON {} TO {}")
        session.execute(statement.format(sql.SQL(right), staged, sql.SQL(grantee)))


def _refill(session: psycopg.Connection[Any], staged: sql.Identifier, target: sql.Identifier) -> None:
    """Fill a table that views hang on; columns it lacks are added."""
    missing = session.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attnum > 0 AND NOT attisdropped",
        (staged.as_string(session),),
    ).fetchall()
    for name, kind in missing:
        statement = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}")
        session.execute(statement.format(target, sql.Identifier(name), sql.SQL(kind)))
    columns = sql.SQL(", ").join(sql.Identifier(name) for name, _ in missing)
    session.execute(sql.SQL("TRUNCATE {}").format(target))
    session.execute(sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(target, columns, columns, staged))
    session.execute(sql.SQL("DROP TABLE {}").format(staged))


def _keep_deleted(
    session: psycopg.Connection[Any], staged: sql.Identifier, target: sql.Identifier, there: list[str]
) -> None:
    """Take over the rows that the new copy lacks: those that were deleted, before or meanwhile."""
    fresh = {column for (column,) in session.execute(_COLUMNS, (staged.as_string(session),)).fetchall()}
    columns = [column for column in there if column in fresh and column != names.DELETED_AT]
    session.execute(
        sql.SQL(
            "INSERT INTO {staged} ({columns}, {deleted}) SELECT {columns}, coalesce({deleted}, now()) FROM {target}"
            " ON CONFLICT DO NOTHING"
        ).format(
            staged=staged,
            target=target,
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            deleted=sql.Identifier(names.DELETED_AT),
        )
    )


def forget_old_epochs(run: CdcRun, session: psycopg.Connection[Any]) -> None:
    """
    Let the source keep nothing for epochs that are gone.

    In Kafka Connect mode that waits until the connector reads from another one.
    """
    row = run.row(session)
    run.at_source.forget(run.replication, [epoch for epoch in (row.epoch, row.next_epoch) if epoch])
