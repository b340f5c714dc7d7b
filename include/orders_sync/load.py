"""
Puts a report's rows in place: staging first, then the final table, by key.

What is there already is changed only where it differs, so loading a report again changes
nothing. What a report lacks is not deleted from the final tables, with one exception: where it
has fewer payments of one order and second than before, those with the higher numbers are gone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from psycopg import sql
from psycopg.types.json import Jsonb

from include.engines.postgres.errors import translated
from include.orders_sync.ingest import Dropped, Ingested
from include.orders_sync.reports import Report, reported
from include.windows import Window

if TYPE_CHECKING:
    import psycopg

#: Rows are taken in the order of their keys: two stores of one cost center cannot wait for each other.
_UPSERT = sql.SQL("""
    INSERT INTO public.{target} AS present (run_id, store_code, cost_center, {key}, {columns})
    SELECT run_id, store_code, cost_center, {key}, {staged} FROM public.{staging}
    WHERE store_code = %s ORDER BY {key}
    ON CONFLICT (cost_center, {key}) DO UPDATE
    SET ({columns}, store_code, run_id) = ROW ({values}, excluded.store_code, excluded.run_id)
    WHERE (present.store_code, {present}) IS DISTINCT FROM (excluded.store_code, {values})
    RETURNING id, xmax = 0
""")
#: A status that a later step filled, or moved on, stays until the report says something new.
_STATUS = sql.SQL("""
    CASE WHEN excluded.{status} <> present.{reported} OR COALESCE(present.{reported}, present.{status}) IS NULL
         THEN excluded.{status} ELSE present.{status} END
""")
_REPORTED = sql.SQL("COALESCE(excluded.{reported}, present.{reported})")
#: Payments of one order and second are numbered: where the report has fewer than before, the last ones are gone.
_WITHDRAWN = """
    DELETE FROM public.sales s
    USING (
        SELECT cost_center, order_number, payment_date, max(payment_no) AS last_no FROM public.stg_td_sales
        WHERE store_code = %(store)s GROUP BY cost_center, order_number, payment_date
    ) r
    WHERE s.store_code = %(store)s AND s.payment_no > r.last_no
      AND (s.cost_center, s.order_number, s.payment_date) = (r.cost_center, r.order_number, r.payment_date)
"""
#: Apart from the upsert, which could not tell a due date of the report from this one.
_DUE = """
    UPDATE public.orders
    SET due_date = (order_date AT TIME ZONE %(zone)s + interval '3 days') AT TIME ZONE %(zone)s
    WHERE id = ANY(%(inserted)s) AND due_date IS NULL
"""
_DROP = """
    INSERT INTO public.dropped_rows
        (run_id, pipeline_id, store_code, report, from_date, to_date, row_number, reason, content, content_hash)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (pipeline_id, store_code, report, content_hash) DO NOTHING
"""


@dataclass(frozen=True)
class Loaded:
    """How many rows a report has, and what became of them; the rest of ``ingested`` were there already."""

    ingested: int
    inserted: int
    updated: int
    dropped: int


def load(
    session: psycopg.Connection[Any],
    report: Report,
    ingested: Ingested,
    *,
    pipeline_id: int,
    store_code: str,
    cost_center: str,
    run_id: str,
    window: Window,
) -> Loaded:
    """
    Put a report in place, within the caller's transaction.

    ``run_id`` of a row is that of the last run that inserted or changed it. Of ``report.kept`` an
    empty value leaves what is there, of ``report.statuses`` also one that is no news. Where two
    stores of one cost center have the same order, the last one wins.

    :param session: open in a transaction, which is left to the caller.
    """
    with translated(f"loading {report.code} of store {store_code}, {window.name}"):
        _stage(session, report, ingested, (store_code, cost_center, run_id))
        written = session.execute(_upsert(report, ingested.rows.columns), (store_code,)).fetchall()
        inserted = [row_id for row_id, is_new in written if is_new]
        if "due_date" in ingested.rows.columns:
            session.execute(_DUE, {"inserted": inserted, "zone": _zone(report, ingested)})
        withdrawn = 0
        if "payment_no" in ingested.rows.columns:
            withdrawn = session.execute(_WITHDRAWN, {"store": store_code}).rowcount
        origin = (run_id, pipeline_id, store_code, report.code, window.start, window.last_day)
        with session.cursor() as cursor:
            cursor.executemany(_DROP, [(*origin, *_described(row)) for row in ingested.dropped])
    updated = len(written) - len(inserted) + withdrawn
    return Loaded(ingested.rows.height, len(inserted), updated, len(ingested.dropped))


def _stage(session: psycopg.Connection[Any], report: Report, ingested: Ingested, origin: tuple[str, str, str]) -> None:
    """Replace what staging holds of the store."""
    table = sql.Identifier("public", report.staging)
    session.execute(sql.SQL("DELETE FROM {} WHERE store_code = %s").format(table), (origin[0],))
    columns = _listed(map(sql.Identifier, ["store_code", "cost_center", "run_id", *ingested.rows.columns]))
    with session.cursor() as cursor, cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)) as copy:
        for row in ingested.rows.iter_rows():
            copy.write_row((*origin, *row))


def _upsert(report: Report, staged: list[str]) -> sql.Composed:
    key = [name for name in (report.number, report.date, "payment_no") if name in staged]
    others = [name for name in staged if name not in {"row_number", *key}]
    source = {name: name for name in others} | {reported(status): status for status in report.statuses}
    present: dict[str, sql.Composable] = {name: sql.Identifier("present", name) for name in source}
    values: dict[str, sql.Composable] = {name: sql.Identifier("excluded", name) for name in source}
    for name in report.kept:
        values[name] = sql.SQL("COALESCE({}, {})").format(values[name], present[name])
    for status in report.statuses:
        names = {"status": sql.Identifier(status), "reported": sql.Identifier(reported(status))}
        values[status] = _STATUS.format(**names)
        values[reported(status)] = _REPORTED.format(**names)
    return _UPSERT.format(
        target=sql.Identifier(report.target),
        staging=sql.Identifier(report.staging),
        key=_listed(map(sql.Identifier, key)),
        columns=_listed(map(sql.Identifier, source)),
        staged=_listed(map(sql.Identifier, source.values())),
        present=_listed(present.values()),
        values=_listed(values.values()),
    )


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _zone(report: Report, ingested: Ingested) -> str | None:
    moments = ingested.rows.schema[report.date]
    assert isinstance(moments, pl.Datetime)
    return moments.time_zone


def _described(row: Dropped) -> tuple[int, str, Jsonb, str]:
    """Return the row with what tells its content from any other."""
    canonical = json.dumps(row.content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return row.row_number, row.reason, Jsonb(row.content), hashlib.sha256(canonical.encode()).hexdigest()
