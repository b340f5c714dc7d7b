"""
``orders_sync_log``: what a run did to a store's window, and which days are done.

Rows are written on the session that holds the store's lock: a run that lost its lock cannot
write either.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.orders_sync.pipelines import PIPELINES, Pipeline, Scope, Store
from include.orders_sync.planner import Success
from include.orders_sync.reports import Report
from include.windows import Window

if TYPE_CHECKING:
    import psycopg
    from psycopg.types.multirange import Multirange

    from include.orders_sync.load import Loaded

_BEGIN = """
    INSERT INTO public.orders_sync_log
        (pipeline_id, run_id, run_env, cost_center, store_code, from_date, to_date, status)
    SELECT id, %(run_id)s, %(run_env)s, %(cost_center)s, %(store)s, %(from)s, %(to)s, 'running'
    FROM public.pipelines WHERE code = %(pipeline)s
    ON CONFLICT (pipeline_id, store_code, from_date, to_date, run_id) DO UPDATE
    SET status = 'running', attempt_no = orders_sync_log.attempt_no + 1, run_env = excluded.run_env,
        cost_center = excluded.cost_center, orders_pulled_at = NULL, sales_pulled_at = NULL,
        orders_downloaded = NULL, orders_ingested = NULL, orders_dropped = NULL,
        sales_downloaded = NULL, sales_ingested = NULL, sales_dropped = NULL
    RETURNING id, pipeline_id, attempt_no
"""
_CLOSE_DEAD = """
    UPDATE public.orders_sync_log
    SET status = 'failed', error_message = 'its process died; closed by run ' || %s
    WHERE store_code = %s AND status = 'running'
    RETURNING run_id, from_date, to_date
"""
_SUCCEEDED = """
    WITH r AS MATERIALIZED (
        SELECT run_id, COALESCE((metrics #>> ARRAY['planned_at', %(pipeline)s])::timestamptz, started_at) AS planned_at
        FROM public.pipeline_run_summaries WHERE run_id = %(run_id)s
    )
    SELECT l.from_date, l.to_date, l.run_id = r.run_id
    FROM public.orders_sync_log l JOIN public.pipelines p ON p.id = l.pipeline_id
    JOIN r ON l.updated_at >= r.planned_at
    WHERE p.code = %(pipeline)s AND l.store_code = %(store)s AND l.status = 'success'
      AND (l.run_id = r.run_id OR (l.orders_pulled_at IS NULL) = (l.sales_pulled_at IS NULL) OR NOT %(two)s)
"""
#: A success that says of neither report when it was pulled is one of an older version, for both.
_COVERAGE = """
    SELECT (SELECT code FROM public.pipelines WHERE id = pipeline_id), store_code,
        range_agg(daterange(from_date, to_date, '[]')) FILTER (WHERE {full}),
        range_agg(daterange(from_date, to_date, '[]'))
            FILTER (WHERE NOT ({full}) AND orders_pulled_at IS NOT NULL),
        range_agg(daterange(from_date, to_date, '[]'))
            FILTER (WHERE NOT ({full}) AND sales_pulled_at IS NOT NULL),
        bool_or(from_date = to_date AND to_date = %(today)s AND {full})
    FROM public.orders_sync_log
    WHERE status = 'success' {of_store}
    GROUP BY pipeline_id, store_code
"""
_FULL = """
    pipeline_id <> ALL (ARRAY(SELECT id FROM public.pipelines WHERE code = ANY(%(two)s)))
    OR (orders_pulled_at IS NULL) = (sales_pulled_at IS NULL)
"""
_OF_STORE = "AND store_code = %(store)s"
_SCOPES = (Scope.FULL, Scope.ORDERS_ONLY, Scope.SALES_ONLY)


@dataclass(frozen=True)
class Entry:
    """A row of the log that is being worked on."""

    id: int
    pipeline_id: int
    attempt_no: int


def begin(
    session: psycopg.Connection[Any], store: Store, pipeline: Pipeline, window: Window, run_id: str, run_env: str
) -> Entry:
    """
    Write the row of a window as running; the same window in the same run is another attempt.

    Of an earlier attempt the rows inserted and updated stay, which are the run's.
    """
    values = {
        "run_id": run_id,
        "run_env": run_env,
        "cost_center": store.cost_center,
        "store": store.code,
        "from": window.start,
        "to": window.last_day,
        "pipeline": pipeline.code,
    }
    row = session.execute(_BEGIN, values).fetchone()
    if row is None:
        raise LookupError(f"pipelines has no row {pipeline.code}")
    return Entry(*row)


def pulled(
    session: psycopg.Connection[Any], entry: Entry, pipeline: Pipeline, report: Report, downloaded: int, loaded: Loaded
) -> None:
    """Record that a report is in place; in the transaction of its rows. Changes of earlier attempts are added up."""
    what = "sales" if report is pipeline.sales else "orders"
    counts = {"downloaded": downloaded, "ingested": loaded.ingested, "dropped": loaded.dropped}
    changes = {"inserted": loaded.inserted, "updated": loaded.updated}
    columns = [sql.SQL("{} = {}").format(sql.Identifier(f"{what}_{name}"), value) for name, value in counts.items()]
    columns += [
        sql.SQL("{0} = COALESCE({0}, 0) + {1}").format(sql.Identifier(f"{what}_{name}"), value)
        for name, value in changes.items()
    ]
    statement = sql.SQL("UPDATE public.orders_sync_log SET {} = now(), {} WHERE id = {}")
    session.execute(statement.format(sql.Identifier(f"{what}_pulled_at"), sql.SQL(", ").join(columns), entry.id))


def finish(session: psycopg.Connection[Any], entry: Entry, status: str, error: str | None = None) -> None:
    """Close the row; a success clears the error of an earlier attempt."""
    session.execute(
        "UPDATE public.orders_sync_log SET status = %s, error_message = %s WHERE id = %s", (status, error, entry.id)
    )


def close_dead(session: psycopg.Connection[Any], store_code: str, run_id: str) -> list[tuple[str, date, date]]:
    """
    Close as failed what is still running of a store; whoever holds the store's lock knows that nobody runs it.

    :param run_id: the run that finds them, for the message.
    :return: run, first and last day of each.
    """
    return session.execute(_CLOSE_DEAD, (run_id, store_code)).fetchall()


def succeeded(
    session: psycopg.Connection[Any], store: Store, pipeline: Pipeline, run_id: str
) -> tuple[set[Window], list[Window]]:
    """Return the windows of a store that were done since a run planned them: by itself, and by others."""
    values = {"pipeline": pipeline.code, "store": store.code, "run_id": run_id, "two": pipeline.sales is not None}
    rows = session.execute(_SUCCEEDED, values).fetchall()
    own = {Window.inclusive(first, last) for first, last, is_own in rows if is_own}
    return own, [Window.inclusive(first, last) for first, last, is_own in rows if not is_own]


def successes_of(
    session: psycopg.Connection[Any], today: date, store_code: str | None = None
) -> dict[tuple[str, str], list[Success]]:
    """
    Return the successes by pipeline and store, as few windows as hold the same days.

    One query: the server merges the windows from an index alone. A success of exactly today is
    in it by itself, since the planner asks for it.

    :param store_code: only this store.
    """
    query = _COVERAGE.format(full=f"({_FULL})", of_store=_OF_STORE if store_code else "")
    two = [pipeline.code for pipeline in PIPELINES.values() if pipeline.sales]
    found = {}
    for pipeline, store, *days, today_alone in session.execute(
        query.encode(), {"today": today, "two": two, "store": store_code}
    ):
        successes = [
            Success(window, scope) for scope, ranges in zip(_SCOPES, days, strict=True) for window in _windows(ranges)
        ]
        if today_alone:
            successes.append(Success(Window.inclusive(today, today)))
        found[pipeline, store] = successes
    return found


def _windows(ranges: Multirange[date] | None) -> list[Window]:
    """Return the server's half-open ranges as windows."""
    return [Window(part.lower, part.upper) for part in ranges or [] if part.lower and part.upper]
