"""
What a run of the orders sync is asked to do. Pure: the day is an argument.

Dates in a request are inclusive, as people type them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from include.errors import BadRequest
from include.orders_sync.pipelines import Pipeline, Scope, SyncGroup
from include.orders_sync.planner import OVERLAP_DAYS, WINDOW_DAYS, Planned, Reason, chunks
from include.parameters import read_day, read_flag, read_names, refuse_unknown
from include.windows import Window

#: The parameters of the profiler with their defaults, in the order in which a form shows them.
PROFILE_DEFAULTS: dict[str, Any] = {
    "sync_group": "ALL",
    "window_days": WINDOW_DAYS,
    "overlap_days": OVERLAP_DAYS,
    "max_workers": None,
    "force": False,
    "store_code": None,
    "run_env": None,
}

#: The same of a pipeline that is run by hand; only one with a report of sales has the last two.
SYNC_DEFAULTS: dict[str, Any] = {
    "store_codes": [],
    "from_date": None,
    "to_date": None,
    "run_env": None,
    "orders_only": False,
    "sales_only": False,
}

_LONGEST_ENV, _LONGEST_ID = 32, 64


@dataclass(frozen=True)
class ProfileRequest:
    """What the profiler is asked for; ``groups`` are the CRMs whose stores are looked at."""

    groups: tuple[SyncGroup, ...]
    window_days: int
    overlap_days: int
    max_workers: int
    force: bool
    store_code: str | None
    run_env: str


@dataclass(frozen=True)
class SyncRequest:
    """What a pipeline is asked for by hand."""

    store_codes: tuple[str, ...]
    window: Window
    scope: Scope
    run_env: str

    @property
    def windows(self) -> list[Planned]:
        """The windows of each store, none longer than a CRM likes."""
        return [Planned(part, Reason.FORCED) for part in chunks(self.window, WINDOW_DAYS)]


def read_profile(values: Mapping[str, Any], run_env: str, most_workers: int) -> ProfileRequest:
    """
    Make sense of the profiler's parameters.

    :raises BadRequest: naming the parameter and what to write instead.
    """
    refuse_unknown(values, PROFILE_DEFAULTS)
    values = {**PROFILE_DEFAULTS, **values}
    group = str(values["sync_group"] or "ALL").upper()
    if group not in {"ALL", *SyncGroup}:
        raise BadRequest(f"sync_group: {values['sync_group']!r} is none, use TD, UC or ALL")
    return ProfileRequest(
        groups=tuple(SyncGroup) if group == "ALL" else (SyncGroup(group),),
        window_days=_number(values, "window_days", least=1),
        overlap_days=_number(values, "overlap_days", least=0),
        max_workers=most_workers if values["max_workers"] is None else _number(values, "max_workers", 1, most_workers),
        force=read_flag("force", values["force"]),
        store_code=str(values["store_code"]).strip() or None if values["store_code"] is not None else None,
        run_env=_env(values["run_env"], run_env),
    )


def read_sync(values: Mapping[str, Any], pipeline: Pipeline, today: date, run_env: str) -> SyncRequest:
    """
    Make sense of the parameters of a pipeline that is run by hand.

    Without dates the last 90 days are meant, up to ``to_date``, or today.

    :raises BadRequest: naming the parameter and what to write instead.
    """
    refuse_unknown(values, SYNC_DEFAULTS)
    values = {**SYNC_DEFAULTS, **values}
    last = today if values["to_date"] is None else read_day("to_date", values["to_date"])
    first = last - timedelta(days=WINDOW_DAYS - 1)
    if values["from_date"] is not None:
        first = read_day("from_date", values["from_date"])
    if last > today:
        raise BadRequest(f"to_date: {last} has not come yet, today is {today}")
    if first > last:
        raise BadRequest(f"from_date: {first} is after to_date {last}")
    scope = _scope(read_flag("orders_only", values["orders_only"]), read_flag("sales_only", values["sales_only"]))
    if scope is not Scope.FULL and pipeline.sales is None:
        raise BadRequest(f"{scope}: {pipeline.code} pulls one report only; leave it away")
    codes = read_names("store_codes", values["store_codes"])
    if not codes:
        raise BadRequest("store_codes: name at least one store")
    return SyncRequest(
        tuple(dict.fromkeys(codes)), Window.inclusive(first, last), scope, _env(values["run_env"], run_env)
    )


def run_id_of(name: str, airflow_run_id: str) -> str:
    """Return the id under which an Airflow run is recorded: no other DAG has it, and the log has room for it."""
    text = f"{name}__{airflow_run_id}"
    if len(text) <= _LONGEST_ID:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    return f"{text[: _LONGEST_ID - len(digest) - 1]}_{digest}"


def _scope(orders_only: bool, sales_only: bool) -> Scope:
    if orders_only and sales_only:
        raise BadRequest("orders_only, sales_only: give one of them, or neither for both reports")
    return Scope.ORDERS_ONLY if orders_only else Scope.SALES_ONLY if sales_only else Scope.FULL


def _number(values: Mapping[str, Any], name: str, least: int, most: int | None = None) -> int:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        allowed = f"a whole number from {least}" + (f" to {most}" if most is not None else " on")
        raise BadRequest(f"{name}: {value!r} is not {allowed}")
    return value


def _env(value: object, default: str) -> str:
    text = str(value or default).strip()
    if not text or len(text) > _LONGEST_ENV:
        raise BadRequest(f"run_env: {text!r} is not a name of 1 to {_LONGEST_ENV} characters")
    return text
