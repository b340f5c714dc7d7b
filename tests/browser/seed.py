"""Rows of the project's tables from which the page has every state to show."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from include import catalog
from include.cdc.tables import cdc_applies, cdc_incidents, cdc_replications, cdc_tables
from include.demo.postgres import CONTROL
from include.metadata import data_quality_metrics, etl_progress, replica_days, replica_fixes, replica_run_history
from include.windows import UNDATED, WHOLE, Window
from tests.e2e.conftest import CDC_FILE, Site

RUN, NIGHT, LATE_NIGHT = "seeded", "scheduled__night", "scheduled__late_night"
#: What a database or a source may say, and a page must not take for its own.
NASTY = "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"
SALES = [table.name for table in catalog.load().group("sales")]
#: The table of each state in the last month. Of the first all months but one are missing, the last has days only.
COPIED, VERIFIED, PUBLISHED, CHANGED, RUNNING, FAILED, NOT_EXPOSED, BY_NIGHT = SALES[:8]
REFRESHED = [table.name for table in catalog.load() if table.strategy == "refresh"][:3]
EXPECTED = 4000
FOLLOWED = "shop"

_FOLLOWED = f"""replications:
  {FOLLOWED}: {{source: shop, kind: postgres, tables: [shop.*], target_schema: shop_live}}
"""


def seed(site: Site) -> None:
    """Write them, in an empty warehouse and control database."""
    (site.embedded.local_dir / CDC_FILE).write_text(_FOLLOWED, encoding="utf-8")
    with site.warehouse.metadata().begin() as warehouse:
        _coverage(warehouse, site.months)
        _nights(warehouse, site.months[-1])
        _reference(warehouse)
        _followed(warehouse)
    _orders(site)


def progress(table: str, window: Window, status: str, **others: Any) -> dict[str, Any]:
    """Return a row of the progress, of a month or of days, finished an hour ago."""
    at = datetime.now(UTC) - timedelta(hours=1)
    rows = 100 + len(table) * window.start.month
    is_done = status in ("published", "verified")
    return {
        "run_id": RUN,
        "table_name": table,
        "window_name": window.name,
        "from_date": window.start,
        "to_date": window.last_day,
        "status": status,
        "attempt": 1,
        "rows_source": rows,
        "rows_read": rows,
        "rows_published": rows if is_done else None,
        "bytes_read": rows * 1000,
        "seconds_loading": 1.5,
        "checksum": "0123456789abcdef" if status == "verified" else None,
        "started_at": at,
        "published_at": at if is_done else None,
        "finished_at": None if status == "running" else at,
        "phase": "load",
        **others,
    }


def _coverage(warehouse: sa.Connection, months: list[Window]) -> None:
    before = Window.of_month(months[0].start - timedelta(days=1))
    last = months[-1]
    rows = [progress(COPIED, before, "verified")]
    rows += [progress(table, month, "verified") for table in (VERIFIED, CHANGED, NOT_EXPOSED) for month in months[:-1]]
    rows += [
        progress(VERIFIED, last, "verified"),
        progress(PUBLISHED, last, "published"),
        progress(CHANGED, last, "verified"),
        progress(RUNNING, last, "running", rows_source=EXPECTED, rows_read=EXPECTED // 10, step="reading"),
        progress(FAILED, last, "failed", error=f"CheckViolation: {NASTY}"),
        progress(NOT_EXPOSED, last, "not_exposed", window_name=UNDATED.name, from_date=None, to_date=None),
    ]
    _insert(warehouse, etl_progress, *rows)
    day = last.start + timedelta(days=4)
    counts = {"rows_inserted": 2, "rows_updated": 1, "rows_deleted": 0}
    fix = {"run_id": NIGHT, "table_name": CHANGED, "day": day, "fixed_at": datetime.now(UTC), **counts}
    _insert(warehouse, replica_fixes, fix)
    compared = {"table_name": CHANGED, "run_id": NIGHT, "compared_at": datetime.now(UTC)}
    _insert(
        warehouse,
        replica_days,
        {**compared, "day": day, "rows_source": 31, "rows_warehouse": 31, "equal": True},
        {**compared, "day": day + timedelta(days=1), "rows_source": 32, "rows_warehouse": 30, "equal": False},
    )


def _nights(warehouse: sa.Connection, month: Window) -> None:
    at = datetime.now(UTC) - timedelta(hours=6)
    for number, (run, error) in enumerate(((NIGHT, None), (LATE_NIGHT, f"1 table failed: {NASTY}"))):
        day = month.last_day + timedelta(days=number - 1)
        window = Window.inclusive(day, day)
        night = {"run_id": run, "from_date": day, "to_date": day, "tables": "2", "started_at": at, "finished_at": at}
        for kind in ("T0", "T1"):
            _insert(warehouse, replica_run_history, {**night, "run_type": kind, "success": not error, "error": error})
        fix = {"run_id": run, "phase": "fix", "rows_inserted": 3, "rows_updated": 2, "rows_deleted": 1}
        yesterday = Window.inclusive(day - timedelta(days=1), day - timedelta(days=1))
        _insert(warehouse, etl_progress, progress(BY_NIGHT, window, "verified", run_id=run))
        _insert(warehouse, etl_progress, progress(BY_NIGHT, yesterday, "verified", **fix))
    measured = {"run_id": RUN, "table_name": VERIFIED, "metric": "duplicate_keys", "measured_at": at}
    counts = {"value": 2.0, "rows_counted": 900, "threshold": 0.0, "breach": "fail"}
    _insert(warehouse, data_quality_metrics, {**measured, **counts})


def _reference(warehouse: sa.Connection) -> None:
    whole = {"window_name": WHOLE.name, "from_date": None, "to_date": None}
    month = Window.of_month(date(2025, 1, 1))
    for table, rows in zip(REFRESHED, (10, 20, 30), strict=True):
        for run, more in (("before", 0), ("after", 5)):
            row = progress(table, month, "verified", run_id=run, rows_published=rows + more, **whole)
            _insert(warehouse, etl_progress, row)


def _followed(warehouse: sa.Connection) -> None:
    now = datetime.now(UTC)
    own = {"replication": FOLLOWED, "epoch": "e1"}
    state = {"name": FOLLOWED, "state": "streaming", "epoch": "e1", "events": 900, "applied_at": now, "source_at": now}
    _insert(warehouse, cdc_replications, {**state, "updated_at": now})
    table = {"source_table": "shop.orders", "target_table": "orders", "status": "live", "updated_at": now}
    _insert(warehouse, cdc_tables, {**own, **table})
    for minutes in range(5, 0, -1):
        at = now - timedelta(minutes=minutes)
        counts = {"events": 100 + minutes, "upserted": 90, "deleted": 5, "dead": 0, "batches": 1, "lag_seconds": 0.5}
        times = {"started_at": at, "finished_at": at + timedelta(seconds=5), "caught_up": True}
        _insert(warehouse, cdc_applies, {**own, "run_id": RUN, **counts, **times})
    incident = {"kind": "dead_letters", "subject": "shop.orders", "severity": "degraded", "detail": f"refused: {NASTY}"}
    _insert(warehouse, cdc_incidents, {"replication": FOLLOWED, **incident, "opened_at": now, "seen_at": now})


def _orders(site: Site) -> None:
    """Three stores of five weeks: covered but for a hole, failed, and never run."""
    today = datetime.now(UTC).date()
    monday = today - timedelta(days=today.weekday() + 28)
    windows = [
        ("T1", monday, monday + timedelta(days=6), "success", None),
        ("T1", monday + timedelta(days=14), today, "success", None),
        ("T2", monday, monday + timedelta(days=6), "failed", f"the report is empty: {NASTY}"),
    ]
    with site.connect(CONTROL) as control:
        control.execute(
            "INSERT INTO public.pipeline_run_summaries (pipeline_name, run_id, run_env, started_at, overall_status)"
            " VALUES ('td_orders_sync', %s, 'prod', now(), 'success')",
            (RUN,),
        )
        for store, group in (("T1", "TD"), ("T2", "TD"), ("U1", "UC")):
            control.execute(
                "INSERT INTO public.store_master (store_code, store_name, sync_group, start_date)"
                " VALUES (%s, %s, %s, %s)",
                (store, f"Shop {store} {NASTY}", group, monday),
            )
        for store, first, last, status, error in windows:
            control.execute(
                "INSERT INTO public.orders_sync_log (pipeline_id, store_code, from_date, to_date, status, run_id,"
                " run_env, error_message) SELECT id, %s, %s, %s, %s, %s, 'prod', %s FROM public.pipelines"
                " WHERE code = 'td_orders_sync'",
                (store, first, last, status, RUN, error),
            )


def _insert(connection: sa.Connection, table: sa.Table, *rows: dict[str, Any]) -> None:
    for row in rows:
        connection.execute(table.insert().values(row))
