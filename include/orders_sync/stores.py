"""The stores of ``store_master``, and why one of them cannot be synced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.errors import BadRequest
from include.orders_sync.pipelines import Pipeline, Store, SyncGroup

if TYPE_CHECKING:
    import psycopg

_STORES = """
    SELECT store_code, store_name, sync_group, cost_center, start_date, is_active, sync_orders_flag
    FROM public.store_master
"""
_DUE = f"""{_STORES}
    WHERE is_active AND sync_orders_flag AND store_code IS NOT NULL AND start_date IS NOT NULL
      AND sync_group = ANY(%s)
    ORDER BY store_code
"""


def due_stores(session: psycopg.Connection[Any], groups: Sequence[SyncGroup], store_code: str | None) -> list[Store]:
    """
    Return the stores that the profiler looks at, by their codes.

    :param store_code: only this one.
    :raises BadRequest: if it is not among them, with the reason.
    """
    rows = session.execute(_DUE, ([group.value for group in groups],)).fetchall()
    stores = [_store(row) for row in rows]
    if store_code is None:
        return stores
    if chosen := [store for store in stores if store.code == store_code]:
        return chosen
    raise BadRequest(f"store_code: {_why_not(session, groups, store_code)}")


def named_stores(session: psycopg.Connection[Any], pipeline: Pipeline, codes: Sequence[str]) -> list[Store]:
    """
    Return stores that somebody named, in that order, also inactive ones.

    :raises BadRequest: for a store that is not known, or uses another CRM.
    """
    return [_named(session, pipeline, code) for code in codes]


def _named(session: psycopg.Connection[Any], pipeline: Pipeline, code: str) -> Store:
    row = session.execute(f"{_STORES} WHERE store_code = %s".encode(), (code,)).fetchone()
    if row is None or row[2] != pipeline.sync_group:
        raise BadRequest(f"store_codes: {_why_not(session, [pipeline.sync_group], code)}")
    return _store(row)


def _why_not(session: psycopg.Connection[Any], groups: Sequence[SyncGroup], code: str) -> str:
    row = session.execute(f"{_STORES} WHERE store_code = %s".encode(), (code,)).fetchone()
    if row is None:
        return f"no store {code!r} in store_master"
    _, _, group, _, start_date, is_active, flag = row
    if group not in groups:
        return f"store {code} is of sync_group {group or 'NULL'}, not of {' or '.join(groups)}"
    reasons = {
        "is not active (is_active)": is_active,
        "is not to be synced (sync_orders_flag)": flag,
        "has no start_date": start_date,
    }
    return f"store {code} {' and '.join(reason for reason, value in reasons.items() if not value)}, see store_master"


def _store(row: Sequence[Any]) -> Store:
    code, name, group, cost_center, start_date, *_ = row
    return Store(code, name or code, SyncGroup(group), cost_center, start_date)
