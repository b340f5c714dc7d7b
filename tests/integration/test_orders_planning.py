"""Planning reads the log once, also a long one of many stores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import psycopg
import pytest

from include.demo.postgres import EmbeddedPostgres
from include.orders_sync.pipelines import TD, UC
from include.orders_sync.plans import plans_of
from include.orders_sync.request import read_profile
from include.orders_sync.stores import due_stores
from tests.integration.conftest import drop_database, fresh_database

TODAY, STORES, WEEKS = date(2026, 1, 11), 2000, 156
MOST_SECONDS = 2.0

#: Three years of weeks for each store and both pipelines, up to yesterday; every hundredth store misses one.
FILL = """
    INSERT INTO public.orders_sync_log
        (pipeline_id, run_id, run_env, store_code, from_date, to_date, orders_pulled_at, sales_pulled_at, status)
    SELECT p.id, 'past', 'test', 'S' || store, last - 6, last, now(),
        CASE WHEN p.code = 'td_orders_sync' THEN now() END,
        CASE WHEN store % 100 = 0 AND week = 10 THEN 'failed' ELSE 'success' END
    FROM generate_series(1, %(stores)s) store, generate_series(1, %(weeks)s) week, public.pipelines p,
        LATERAL (SELECT %(today)s - 1 - 7 * (week - 1) AS last) days
    WHERE p.code <> 'orders_sync_run_profiler'
"""


@contextmanager
def filled_at_once(connection: psycopg.Connection) -> Iterator[None]:
    """Check no foreign key of the log's new rows, and index all of them at the end: half a million are written."""
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'orders_sync_log' AND indexname NOT LIKE '%pkey'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX public.{name}")
    connection.execute("SET session_replication_role = replica")
    yield
    connection.execute("RESET session_replication_role")
    for _, definition in indexes:
        connection.execute(definition)


@pytest.fixture(scope="module")
def session(server: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[psycopg.Connection]:
    name = fresh_database(server, "planning", templates["control"])
    values = {"stores": STORES, "weeks": WEEKS, "today": TODAY}
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO public.store_master (store_code, sync_group, start_date)"
            " SELECT 'S' || store, CASE WHEN store %% 2 = 0 THEN 'TD' ELSE 'UC' END, %(today)s - 7 * %(weeks)s"
            " FROM generate_series(1, %(stores)s) store",
            values,
        )
        connection.execute(
            "INSERT INTO public.pipeline_run_summaries (pipeline_name, run_id, run_env, started_at, overall_status)"
            " VALUES ('td_orders_sync', 'past', 'test', now(), 'success')"
        )
        with filled_at_once(connection):
            connection.execute(FILL.replace("% 100", "%% 100"), values)
        connection.execute("VACUUM ANALYZE public.orders_sync_log")
        yield connection
    drop_database(server, name)


def test_2000_stores_with_three_years_of_log_are_planned_in_under_two_seconds(session: psycopg.Connection) -> None:
    request = read_profile({}, "test", 4)
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        stores = due_stores(session, request.groups, None)
        plans = plans_of(session, stores, request, TODAY)
        seconds.append(time.monotonic() - began)
    assert (len(plans[TD]), len(plans[UC])) == (1000, 1000)
    windows = [len(planned) for of_stores in plans.values() for planned in of_stores.values()]
    assert sorted(set(windows)) == [1, 2]
    assert windows.count(2) == STORES // 100
    assert min(seconds) < MOST_SECONDS


def test_one_store_is_planned_alone(session: psycopg.Connection) -> None:
    request = read_profile({"store_code": "S100"}, "test", 4)
    plans = plans_of(session, due_stores(session, request.groups, "S100"), request, TODAY)
    assert [item.reason.value for item in plans[TD]["S100"]] == ["gap", "overlap"]
