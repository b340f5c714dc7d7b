"""
The queries of the coverage: what a month of a table is made of, few rows a month, whatever the number of runs.

Windows of months are named ``2025-10``, every other window of days begins with that, so its month is
the first seven characters of its name; that of one across months is where it begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from include.metadata import etl_progress, replica_audit, replica_fixes
from include.overview.parts import FINISHED, SECONDS_COLUMNS, changed_by_fix, short_error, total
from include.replication.progress import Phase
from include.windows import UNDATED

_MONTH_NAME = "____-__"

_KINDS = ("inserted", "updated", "deleted")
_OF_WINDOW = (
    *("id", "table_name", "window_name", "status", "from_date", "to_date", "rows_published"),
    *("run_id", "started_at", "finished_at"),
)

Rows = Sequence[sa.RowMapping]


def months_of(connection: sa.Connection, names: Sequence[str]) -> Rows:
    """Return of each table and month that was loaded as a month, and of the undated rows, newest and last good row."""
    newest, good = etl_progress.alias("newest"), etl_progress.alias("good")
    latest = _latest(names, with_undated=True)
    query = (
        sa.select(
            latest.c.table_name,
            latest.c.month,
            newest.c.status,
            newest.c.finished_at,
            newest.c.started_at,
            newest.c.run_id,
            short_error(newest),
            good.c.status.label("good_status"),
            good.c.finished_at.label("good_at"),
            good.c.run_id.label("good_run"),
            good.c.rows_published,
            good.c.bytes_read.label("size"),
            total(good, SECONDS_COLUMNS).label("seconds"),
            good.c.checksum,
        )
        .join_from(latest, newest, newest.c.id == latest.c.newest)
        .outerjoin(good, good.c.id == latest.c.good)
    )
    return connection.execute(query).mappings().all()


def days_of(connection: sa.Connection, names: Sequence[str]) -> Rows:
    """
    Return what became of windows of days since their month was last loaded as a month.

    The newest row of each window decides. Windows of one day are together by table, month and status, their days
    as the bits of a number, the first of a month the lowest; ``span`` names one of several days.
    """
    row, latest = etl_progress.alias("done"), _latest(names)
    month = sa.func.substring(row.c.window_name, 1, 7)
    window = [row.c.table_name, row.c.window_name]
    place = sa.func.row_number().over(partition_by=window, order_by=row.c.id.desc())
    sums = {
        "size": sa.func.sum(row.c.bytes_read),
        "seconds": sa.func.sum(total(row, SECONDS_COLUMNS)),
        **{kind: sa.func.sum(_by_fix(row, f"rows_{kind}")) for kind in _KINDS},
        "changed_at": sa.func.max(sa.case((changed_by_fix(row) > 0, row.c.finished_at))),
    }
    windows = (
        sa.select(
            *(row.c[name] for name in _OF_WINDOW),
            short_error(row),
            month.label("month"),
            sa.case((row.c.from_date != row.c.to_date, row.c.window_name)).label("span"),
            place.label("place"),
            *(found.over(partition_by=window).label(name) for name, found in sums.items()),
        )
        .outerjoin_from(row, latest, sa.and_(latest.c.table_name == row.c.table_name, latest.c.month == month))
        .where(
            row.c.table_name.in_(names),
            row.c.from_date.is_not(None),
            row.c.window_name.not_like(_MONTH_NAME),
            sa.or_(latest.c.good.is_(None), row.c.id > latest.c.good),
        )
        .subquery("windows")
    )
    key = [windows.c[name] for name in ("table_name", "month", "status", "span")]
    last = sa.func.row_number().over(partition_by=key, order_by=windows.c.id.desc())
    newest = sa.select(windows, last.label("age")).where(windows.c.place == 1).subquery("newest")
    is_last = newest.c.age == 1
    bit = sa.func.power(sa.cast(2, sa.Double), sa.extract("day", newest.c.from_date) - 1)
    key = [newest.c[name] for name in ("table_name", "month", "status", "span")]
    query = sa.select(
        *key,
        sa.func.sum(bit).label("days"),
        sa.func.min(newest.c.from_date).label("from_date"),
        sa.func.max(newest.c.to_date).label("to_date"),
        sa.func.max(newest.c.id).label("last"),
        *(sa.func.sum(newest.c[name]).label(name) for name in ("rows_published", "size", "seconds", *_KINDS)),
        sa.func.max(newest.c.changed_at).label("changed_at"),
        *(
            sa.func.max(sa.case((is_last, newest.c[name]))).label(name)
            for name in ("run_id", "started_at", "finished_at", "error")
        ),
    ).group_by(*key)
    return connection.execute(query).mappings().all()


def fixed_at(connection: sa.Connection, names: Sequence[str]) -> dict[tuple[str, str], Any]:
    """Return when a row of a day was last repaired, by table and month."""
    year, month = (sa.cast(sa.extract(part, replica_fixes.c.day), sa.Integer) for part in ("year", "month"))
    query = (
        sa.select(replica_fixes.c.table_name, year, month, sa.func.max(replica_fixes.c.fixed_at))
        .where(replica_fixes.c.table_name.in_(names))
        .group_by(replica_fixes.c.table_name, year, month)
    )
    return {(table, f"{y:04}-{m:02}"): moment for table, y, m, moment in connection.execute(query)}


def differences_of(connection: sa.Connection, names: Sequence[str]) -> Rows:
    """Return the differences that audits found and nobody repaired, those left out that a later audit did not find."""
    found, later = replica_audit.alias("found"), replica_audit.alias("later")
    cleared = sa.exists().where(
        later.c.table_name == found.c.table_name,
        later.c.from_date <= found.c.from_date,
        later.c.to_date >= found.c.to_date,
        later.c.audited_at > found.c.audited_at,
        sa.or_(later.c.equal == sa.true(), later.c.repaired == sa.true()),
    )
    query = sa.select(found.c.table_name, found.c.from_date, found.c.to_date, found.c.run_id, found.c.audited_at).where(
        found.c.table_name.in_(names),
        found.c.from_date.is_not(None),
        found.c.equal == sa.false(),
        found.c.repaired == sa.false(),
        ~cleared,
    )
    return connection.execute(query).mappings().all()


def equal_months(connection: sa.Connection, names: Sequence[str]) -> dict[tuple[str, str], Any]:
    """Return when audits last found a whole month equal, by table and month."""
    query = (
        sa.select(replica_audit.c.table_name, replica_audit.c.window_name, sa.func.max(replica_audit.c.audited_at))
        .where(
            replica_audit.c.table_name.in_(names),
            replica_audit.c.window_name.like(_MONTH_NAME),
            replica_audit.c.equal == sa.true(),
        )
        .group_by(replica_audit.c.table_name, replica_audit.c.window_name)
    )
    return {(table, month): moment for table, month, moment in connection.execute(query)}


def _latest(names: Sequence[str], *, with_undated: bool = False) -> sa.Subquery:
    """Return the ids of the newest row, and of the newest that was finished, of each table and month."""
    name = etl_progress.c.window_name
    wanted = sa.or_(name.like(_MONTH_NAME), name == UNDATED.name) if with_undated else name.like(_MONTH_NAME)
    return (
        sa.select(
            etl_progress.c.table_name,
            name.label("month"),
            sa.func.max(etl_progress.c.id).label("newest"),
            sa.func.max(sa.case((etl_progress.c.status.in_(FINISHED), etl_progress.c.id))).label("good"),
        )
        .where(etl_progress.c.table_name.in_(names), wanted)
        .group_by(etl_progress.c.table_name, name)
        .subquery("latest")
    )


def _by_fix(progress: sa.FromClause, name: str) -> sa.ColumnElement[Any]:
    return sa.case((progress.c.phase == Phase.FIX, sa.func.coalesce(progress.c[name], 0)), else_=0)
