"""Each section of the page is quick and small, also after years of nights and hundreds of stores."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import sqlalchemy as sa

from include.connections import parse
from include.demo.postgres import EmbeddedPostgres
from include.engines.postgres.connect import sqlalchemy_engine
from include.metadata import etl_progress
from include.overview import coverage, days, nights, orders, reference, replications, running
from tests.integration.conftest import drop_database, fresh_database
from tests.integration.helpers import CATALOG

TODAY, ZONE = date(2026, 1, 11), ZoneInfo("Asia/Kuala_Lumpur")
STORES, WEEKS, MONTHS, NIGHTS = 500, 150, 60, 1095
MOST_SECONDS = 0.3
_TRIES = 3
SALES = CATALOG["APP_4_SALES"]
TABLES = [
    *(SALES.model_copy(update={"name": f"TABLE_{number:02}"}) for number in range(40)),
    *CATALOG.group("reference"),
]
NAMES = [table.name for table in TABLES[:40]]

_MONTHS = """
    INSERT INTO dbo.etl_progress (run_id, table_name, window_name, from_date, to_date, phase, status, attempt,
        rows_source, rows_read, rows_published, bytes_read, seconds_loading, checksum, started_at, finished_at)
    SELECT 'manual__' || to_char(first + interval '1 month', 'YYYY-MM-DD'), name, to_char(first, 'YYYY-MM'), first,
        (first + interval '1 month')::date - 1, 'load', 'verified', 1, rows, rows, rows, rows * 412, rows / 41000.0,
        substr(md5(name || first), 1, 16), first + interval '1 month', first + interval '1 month 9 minutes'
    FROM unnest(%(names)s::text[]) name, generate_series(1, %(months)s) number,
        LATERAL (SELECT (date_trunc('month', %(today)s::date) - number * interval '1 month')::date AS first,
                 (hashtext(name || number) & 1048575) AS rows) facts
"""
_NIGHTS = """
    INSERT INTO dbo.etl_progress (run_id, table_name, window_name, from_date, to_date, phase, status, attempt,
        rows_source, rows_read, rows_published, bytes_read, rows_inserted, rows_updated, rows_deleted,
        seconds_loading, started_at, finished_at)
    SELECT 'scheduled__' || day, name, CASE phase WHEN 'sweep' THEN 'changes' ELSE span::text END,
        CASE phase WHEN 'sweep' THEN NULL ELSE span END, CASE phase WHEN 'sweep' THEN NULL ELSE span END, phase,
        CASE phase WHEN 'sweep' THEN 'published' ELSE 'verified' END, 1, 50000, 50000, 50000, 20000000,
        CASE WHEN phase <> 'load' THEN number %% 7 END, CASE WHEN phase <> 'load' THEN number %% 5 END,
        0, 1.5, day + interval '1 day 2 hours', day + interval '1 day 2 hours 1 minute'
    FROM generate_series(1, %(nights)s) number, unnest(%(names)s::text[]) name,
        unnest(ARRAY['load', 'fix', 'sweep']) phase,
        LATERAL (SELECT %(today)s::date - number AS day) days,
        LATERAL (SELECT day - CASE WHEN phase = 'fix' THEN 1 ELSE 0 END AS span) spans
    ORDER BY number DESC, name, phase
"""
#: As if they had been written in that order.
_IN_ORDER = """
    CREATE TEMP TABLE written AS SELECT * FROM dbo.etl_progress ORDER BY started_at, id;
    ALTER TABLE written DROP COLUMN id;
    TRUNCATE dbo.etl_progress;
    INSERT INTO dbo.etl_progress ({columns}) SELECT {columns} FROM written;
"""
_OTHERS = """
    INSERT INTO dbo.replica_days
    SELECT name, day::date, 50000, 50000, true, 'manual__' || day::date, day + interval '40 days'
    FROM unnest(%(names)s::text[]) name,
        generate_series(%(today)s::date - 30 * %(months)s, %(today)s::date - 1, interval '1 day') day;
    INSERT INTO dbo.replica_fixes
    SELECT run_id, table_name, from_date, rows_inserted, rows_updated, rows_deleted, finished_at
    FROM dbo.etl_progress WHERE phase = 'fix' AND rows_inserted + rows_updated > 0;
    INSERT INTO dbo.replica_run_history (run_id, run_type, from_date, to_date, tables, started_at, finished_at, success)
    SELECT DISTINCT run_id, CASE phase WHEN 'load' THEN 'T0' ELSE 'T1' END, from_date, to_date, 'all', started_at,
        finished_at, true
    FROM dbo.etl_progress WHERE phase <> 'sweep' AND run_id LIKE 'scheduled%%';
    INSERT INTO dbo.replica_audit (run_id, table_name, window_name, from_date, to_date, rows_source, rows_warehouse,
        equal, found_by, repaired, audited_at)
    SELECT 'audit__' || number, name, first || '..' || last, first, last, 1550000, 1550000, number %% 20 > 0,
        'checksum', false, last + interval '1 day'
    FROM generate_series(1, 156) number, unnest(%(names)s::text[]) name,
        LATERAL (SELECT %(today)s::date - 7 * number AS last) ends, LATERAL (SELECT last - 34 AS first) begins;
    INSERT INTO dbo.etl_progress (run_id, table_name, window_name, phase, status, attempt, rows_published,
        started_at, finished_at)
    SELECT 'scheduled__' || number, name, 'whole', 'load', 'verified', 1, number, now(), now()
    FROM generate_series(1, %(nights)s) number, unnest(%(references)s::text[]) name;
    INSERT INTO dbo.cdc_replications (name, state, epoch, applied_at, source_at, events, updated_at)
    VALUES ('shop', 'streaming', '2026', now(), now(), 500000, now());
    INSERT INTO dbo.cdc_applies (run_id, replication, epoch, events, upserted, deleted, dead, batches, started_at,
        finished_at, caught_up)
    SELECT 'scheduled__' || number, 'shop', '2026', 10, 10, 0, 0, 1, now() - number * interval '1 minute',
        now() - number * interval '1 minute', true
    FROM generate_series(1, 20000) number;
    VACUUM ANALYZE;
"""
_LOG = """
    INSERT INTO public.store_master (store_code, store_name, sync_group, start_date)
    SELECT 'S' || store, 'Store ' || store, CASE WHEN store %% 2 = 0 THEN 'TD' ELSE 'UC' END,
        %(today)s::date - 7 * %(weeks)s
    FROM generate_series(1, %(stores)s) store;
    INSERT INTO public.pipeline_run_summaries (pipeline_name, run_id, run_env, started_at, overall_status)
    VALUES ('td_orders_sync', 'past', 'test', now(), 'success');
    INSERT INTO public.orders_sync_log
        (pipeline_id, run_id, run_env, store_code, from_date, to_date, orders_pulled_at, sales_pulled_at, status)
    SELECT p.id, 'past', 'test', 'S' || store, last - 6, last, now(),
        CASE WHEN p.code = 'td_orders_sync' THEN now() END,
        CASE WHEN store %% 10 = 0 AND week = 10 THEN 'failed' ELSE 'success' END
    FROM generate_series(1, %(weeks)s) week, generate_series(1, %(stores)s) store, public.pipelines p,
        LATERAL (SELECT %(today)s::date - 1 - 7 * (week - 1) AS last) days
    WHERE p.code = CASE WHEN store %% 2 = 0 THEN 'td_orders_sync' ELSE 'uc_orders_sync' END;
    VACUUM ANALYZE;
"""


@dataclass(frozen=True)
class Years:
    """Databases with years of rows."""

    engine: sa.Engine
    control: psycopg.Connection[Any]


def _fill(session: psycopg.Connection[Any], text: str, values: dict[str, Any]) -> None:
    for statement in text.strip().strip(";").split(";\n"):
        with psycopg.ClientCursor(session) as cursor:
            cursor.execute(statement, values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def years(server: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[Years]:
    names = {part: fresh_database(server, part, templates[part]) for part in ("warehouse", "control")}
    values = {
        "today": TODAY,
        "names": NAMES,
        "months": MONTHS,
        "nights": NIGHTS,
        "stores": STORES,
        "weeks": WEEKS,
        "references": [table.name for table in CATALOG.group("reference")],
    }
    with psycopg.connect(server.dsn(names["warehouse"]), autocommit=True) as session:
        columns = ", ".join(column.name for column in etl_progress.columns if column.name != "id")
        for text in (_MONTHS, _NIGHTS, _IN_ORDER.format(columns=columns), _OTHERS):
            _fill(session, text, values)
    with psycopg.connect(server.dsn(names["control"]), autocommit=True) as control:
        _fill(control, _LOG, values)
        yield Years(sqlalchemy_engine(parse("warehouse", server.uri(names["warehouse"]))), control)
    for name in names.values():
        drop_database(server, name)


SECTIONS: dict[str, tuple[Callable[[Years], dict[str, Any]], int]] = {
    "coverage": (lambda years: coverage.coverage(years.engine, TABLES, TODAY, ZONE), 150_000),
    "month": (lambda years: days.month(years.engine, NAMES[0], "2025-12"), 10_000),
    "nights": (lambda years: nights.nights(years.engine, TODAY), 50_000),
    "reference": (lambda years: reference.reference(years.engine, TABLES), 5_000),
    "orders": (lambda years: orders.orders(years.control, TODAY), 100_000),
    "windows": (lambda years: orders.windows(years.control, "td_orders_sync", "S10"), 10_000),
    "plan": (lambda years: orders.plan(years.control, datetime(2026, 1, 11, 9, tzinfo=UTC)), 50_000),
    "replications": (lambda years: replications.replications(years.engine, ["shop"]), 5_000),
    "running": (lambda years: running.running(years.engine, years.control), 5_000),
}


def crowding() -> float:
    """Return how many times longer work takes now because others use the machine too, 1 where nobody does."""
    began, worked = time.monotonic(), time.process_time()
    sum(range(3_000_000))
    return max(1.0, (time.monotonic() - began) / (time.process_time() - worked))


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_is_quick_and_small(years: Years, section: str) -> None:
    ask, most_bytes = SECTIONS[section]
    shares = []
    for _ in range(_TRIES):
        crowd, began = crowding(), time.monotonic()
        answer = ask(years)
        shares.append((time.monotonic() - began) / crowd)
    assert len(gzip.compress(json.dumps(answer).encode())) < most_bytes
    assert min(shares) < MOST_SECONDS


def test_years_are_counted_whole(years: Years) -> None:
    found = coverage.coverage(years.engine, TABLES, TODAY, ZONE)
    cells = {table["name"]: table["cells"] for table in found["tables"]}
    assert (len(found["months"]), found["counts"].keys() & {"m", "f", "r"}) == (MONTHS + 1, set())
    assert all(len(cells[name]) == MONTHS + 1 for name in NAMES)
