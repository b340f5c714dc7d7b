"""A database that is down, slow or empty is told in a plain word, and takes nothing else with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.integration.conftest import fresh_database

API = "/retail-sync/api"
SECRET = "s3cret-of-control"
Browser = Callable[[str], Any]


@pytest.fixture
def databases_of_page(airflow_app: Any) -> Iterator[Any]:
    """The page's engines, made anew for the test and after it."""
    from retail_sync.page import databases

    for each in (databases.WAREHOUSE, databases.CONTROL):
        each.forget()
    yield databases
    for each in (databases.WAREHOUSE, databases.CONTROL):
        each.forget()


def test_a_database_that_is_down_shows_as_such_and_the_rest_lives(browser: Browser, databases_of_page, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CONTROL", f"postgres://keeper:{SECRET}@127.0.0.1:1/control")
    viewer = browser("viewer")
    answer = viewer.get(f"{API}/orders")
    assert answer.status_code == 503
    assert answer.json() == {"down": "control", "detail": "cannot be reached"}
    assert answer.headers["cache-control"] == "no-store"
    assert viewer.get(f"{API}/coverage").status_code == 200
    running = viewer.get(f"{API}/running")
    assert (running.status_code, running.json()["down"]) == (200, "control")


@pytest.mark.parametrize(
    ("uri", "detail"),
    [
        ("", "has no usable connection in Airflow"),
        ("http://example.com", "has no usable connection in Airflow"),
        ("postgres://nobody-known@127.0.0.1:{port}/{control}", "refuses the login, or a right is missing"),
        ("postgres://postgres@127.0.0.1:{port}/{empty}", "lacks a table or column; run `python -m include migrate`"),
    ],
)
def test_a_connection_that_is_wrong_says_in_what(
    browser: Browser, databases_of_page, server, databases, monkeypatch, uri, detail
):
    empty = fresh_database(server, "empty")
    monkeypatch.setenv("AIRFLOW_CONN_CONTROL", uri.format(port=server.port, empty=empty, **databases))
    assert browser("viewer").get(f"{API}/orders").json() == {"down": "control", "detail": detail}


def test_a_connection_that_was_mended_is_used(browser: Browser, databases_of_page, server, databases, monkeypatch):
    viewer = browser("viewer")
    monkeypatch.setenv("AIRFLOW_CONN_CONTROL", "postgres://keeper@127.0.0.1:1/control")
    assert viewer.get(f"{API}/orders").status_code == 503
    monkeypatch.setenv("AIRFLOW_CONN_CONTROL", server.uri(databases["control"]))
    monkeypatch.setattr(databases_of_page, "REREAD_SECONDS", 0.0)
    assert viewer.get(f"{API}/orders").status_code == 200


def test_sessions_that_the_server_ended_are_replaced(browser: Browser, databases_of_page, server):
    viewer = browser("viewer")
    assert viewer.get(f"{API}/coverage").status_code == 200
    with closing(psycopg.connect(server.dsn("postgres"), autocommit=True)) as session:
        ended = session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'retail-sync page'"
        ).fetchall()
    assert ended
    assert viewer.get(f"{API}/coverage").status_code == 200


def test_a_slow_database_is_given_up_and_holds_nobody_else(
    browser: Browser, databases_of_page, server, databases, monkeypatch
):
    from retail_sync.page import engines

    monkeypatch.setattr(engines, "STATEMENT_SECONDS", 3)
    monkeypatch.setattr(databases_of_page, "QUEUE_SECONDS", 0.3)
    viewer = browser("viewer")
    with closing(psycopg.connect(server.dsn(databases["warehouse"]))) as session, ThreadPoolExecutor(6) as pool:
        session.execute("LOCK TABLE dbo.etl_progress IN ACCESS EXCLUSIVE MODE")
        waiting = [pool.submit(viewer.get, f"{API}/coverage") for _ in range(6)]
        time.sleep(0.2)
        began = time.monotonic()
        assert viewer.get(f"{API}/orders").status_code == 200
        assert viewer.get("/api/v2/monitor/health").status_code == 200
        assert time.monotonic() - began < 2
        answers = [each.result().json() for each in waiting]
    assert {answer["down"] for answer in answers} == {"warehouse"}
    details = [answer["detail"] for answer in answers]
    assert details.count("gave up on the query: it is busy") == databases_of_page.SESSIONS
    assert details.count("is busy with other requests of this page") == 6 - databases_of_page.SESSIONS
