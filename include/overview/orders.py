"""The orders sync: weeks of each store, windows of one, and the plan that the profiler would make now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from include.orders_sync.log import successes_of
from include.orders_sync.pipelines import PIPELINES, Store, SyncGroup
from include.orders_sync.planner import Planned, Success, covered
from include.orders_sync.plans import plans_of
from include.orders_sync.request import read_profile
from include.orders_sync.stores import due_stores
from include.overview.parts import ERROR_LENGTH, iso
from include.settings import Settings
from include.windows import Window, subtract

if TYPE_CHECKING:
    import psycopg

MOST_WINDOWS = 200

DONE, HOLE, FAILED, RUNNING, NOT_DUE = "s", "h", "f", "r", "-"

#: What runs, and what failed or lacks its sales and was not done since by successes that hold all its days.
_OPEN = """
    SELECT p.code, l.store_code, l.from_date, l.to_date, l.status = 'running'
    FROM public.orders_sync_log l JOIN public.pipelines p ON p.id = l.pipeline_id
    WHERE l.status <> 'success' AND (l.status = 'running' OR NOT COALESCE(
        (SELECT range_agg(daterange(s.from_date, s.to_date, '[]')) FROM public.orders_sync_log s
         WHERE s.pipeline_id = l.pipeline_id AND s.store_code = l.store_code AND s.status = 'success'
           AND s.to_date >= l.from_date AND s.from_date <= l.to_date AND s.updated_at > l.updated_at)
        @> daterange(l.from_date, l.to_date, '[]'), false))
"""
_WINDOWS = """
    SELECT l.from_date, l.to_date, l.status, l.attempt_no, l.run_id, l.updated_at, l.error_message,
        l.orders_ingested, l.orders_inserted, l.orders_updated, l.orders_dropped,
        l.sales_ingested, l.sales_inserted, l.sales_updated, l.sales_dropped
    FROM public.orders_sync_log l JOIN public.pipelines p ON p.id = l.pipeline_id
    WHERE p.code = %s AND l.store_code = %s
    ORDER BY l.updated_at DESC, l.id DESC LIMIT %s
"""


def orders(control: psycopg.Connection[Any], today: date) -> dict[str, Any]:
    """
    Return a letter a week for each store that the profiler looks at.

    ``s`` all days that are due are covered by a success, ``h`` some are not, ``f`` a window of it failed last, ``r``
    one is running, ``-`` nothing is due. Today is not due yet.

    :param today: the present day in the pipelines' timezone.
    """
    stores = due_stores(control, tuple(SyncGroup), None)
    done = successes_of(control, today)
    opened: dict[tuple[str, str], list[tuple[Window, bool]]] = {}
    for code, store, first, last, running in control.execute(_OPEN).fetchall():
        opened.setdefault((code, store), []).append((Window.inclusive(first, last), running))
    first = min((store.start_date for store in stores if store.start_date), default=today)
    start = _monday(min(first, today))
    weeks = [start + timedelta(days=7 * number) for number in range((today - start).days // 7 + 1)]
    shown, counts = [], Counter[str]()
    for store in stores:
        key = (store.pipeline.code, store.code)
        cells = _cells(store, done.get(key, []), opened.get(key, []), start, len(weeks), today)
        counts.update(cells)
        shown.append({"store": store.code, "name": store.name, "pipeline": store.pipeline.code, "cells": cells})
    return {"weeks": [week.isoformat() for week in weeks], "stores": shown, "counts": dict(counts)}


def windows(control: psycopg.Connection[Any], pipeline: str, store: str) -> dict[str, Any]:
    """
    Return the windows of the log of a store, what was written last first, none for a store without any.

    Dates inclusive, ``orders`` and ``sales`` the rows that were taken in, ``at`` ISO 8601 in UTC.
    """
    with control.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_WINDOWS, (pipeline, store, MOST_WINDOWS)).fetchall()
    kinds = ("inserted", "updated", "dropped")
    return {
        "windows": [
            {
                "start": row["from_date"].isoformat(),
                "end": row["to_date"].isoformat(),
                "status": row["status"],
                "attempt": row["attempt_no"],
                "orders": row["orders_ingested"],
                "sales": row["sales_ingested"],
                **{f"{what}_{kind}": row[f"{what}_{kind}"] for what in ("orders", "sales") for kind in kinds},
                "at": iso(row["updated_at"]),
                "run": row["run_id"],
                "error": row["error_message"] and row["error_message"][:ERROR_LENGTH],
            }
            for row in rows
        ]
    }


def plan(control: psycopg.Connection[Any], now: datetime) -> dict[str, Any]:
    """
    Return what `plan-orders` plans by default, for each store that it looks at; runs nothing.

    Dates are inclusive. A store is ``due`` if it has a window; ``text`` has its windows as the command prints them.

    :param now: the present time, by the clocks of the pipelines' timezone: its date is today.
    """
    settings = Settings()
    request = read_profile({}, settings.run_env, settings.crm_max_workers)
    stores = due_stores(control, request.groups, request.store_code)
    plans = plans_of(control, stores, request, now.date())
    found = [_plan(store, plans[store.pipeline].get(store.code, [])) for store in stores]
    reasons = Counter(window["reason"] for of_store in found for window in of_store["windows"])
    count, due = reasons.total(), sum(of_store["due"] for of_store in found)
    totals = {
        "windows": count,
        "stores": due,
        "reasons": dict(reasons),
        "text": f"{count} windows of {due} stores" if count else "nothing to do",
    }
    order = list(PIPELINES)
    return {"plans": sorted(found, key=lambda found: order.index(found["pipeline"])), "totals": totals}


def _plan(store: Store, planned: Sequence[Planned]) -> dict[str, Any]:
    lines = [
        f"{store.pipeline.code} {store.code} {store.name} {item.window.start} {item.window.last_day}"
        f" {item.window.days} {item.reason.value}"
        for item in planned
    ]
    return {
        "store": store.code,
        "pipeline": store.pipeline.code,
        "windows": [
            {
                "start": item.window.start.isoformat(),
                "end": item.window.last_day.isoformat(),
                "reason": item.reason.value,
            }
            for item in planned
        ],
        "due": bool(planned),
        "text": "\n".join(lines),
    }


def _cells(
    store: Store,
    done: Sequence[Success],
    opened: Iterable[tuple[Window, bool]],
    start: date,
    count: int,
    today: date,
) -> str:
    """Return the letters of a store's weeks, of which the first begins on ``start``."""
    assert store.start_date is not None
    if store.start_date >= today:
        return NOT_DUE * count
    due = Window(store.start_date, today)
    letters = [NOT_DUE] * count
    _mark(letters, due, DONE, start)
    for hole in subtract(due, covered(done, today)):
        _mark(letters, hole, HOLE, start)
    for letter, wanted in ((FAILED, False), (RUNNING, True)):
        for window, running in opened:
            if running is wanted:
                _mark(letters, window, letter, start)
    return "".join(letters)


def _mark(letters: list[str], window: Window, letter: str, start: date) -> None:
    first, last = ((day - start).days // 7 for day in (window.start, window.last_day))
    for place in range(max(first, 0), min(last + 1, len(letters))):
        letters[place] = letter


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
