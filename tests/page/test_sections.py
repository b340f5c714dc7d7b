"""What is shown to whom of what the tables hold, and where its links lead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from include import catalog
from include.connections import parse
from include.engines.factory import metadata_engine
from include.metadata import data_quality_metrics, etl_progress, replica_run_history
from include.orders_sync.request import run_id_of
from include.replication.history import RunType
from include.windows import WHOLE

API = "/retail-sync/api"
SALES_RUN, NIGHT_RUN = "manual__2025-11-02T08:00:00+00:00_a1", "scheduled__2025-10-31T18:00:00+00:00"
LONG_RUN = "manual__2025-11-03T08:00:00.123456+00:00_with-more-of-it"
AT = datetime(2025, 11, 2, 8, tzinfo=UTC)

Browser = Callable[[str], Any]


def progress(run: str, table: str, window: str, first: date | None, last: date | None, phase: str) -> dict[str, Any]:
    return {
        "run_id": run,
        "table_name": table,
        "window_name": window,
        "from_date": first,
        "to_date": last,
        "status": "verified",
        "attempt": 1,
        "rows_source": 7,
        "rows_read": 7,
        "rows_published": 7,
        "bytes_read": 70,
        "started_at": AT,
        "published_at": AT,
        "finished_at": AT,
        "phase": phase,
    }


@pytest.fixture(scope="module", autouse=True)
def recorded(airflow_app: Any, server, databases) -> Iterator[None]:
    """A month by the sales replication, a night, a refresh, a maintenance and two stores; all of it gone after."""
    october, last = (date(2025, 10, 1), date(2025, 10, 31)), date(2025, 10, 31)
    warehouse = metadata_engine(parse("warehouse", server.uri(databases["warehouse"])))
    with warehouse.begin() as session:
        session.execute(
            etl_progress.insert(),
            [
                progress(SALES_RUN, "APP_4_SALES", "2025-10", *october, "load"),
                progress(NIGHT_RUN, "APP_4_SALES", "2025-10-31", last, last, "load"),
                progress(NIGHT_RUN, "APP_4_ORDER", "2025-10-31", last, last, "load"),
                progress("refresh", "APP_4_ITEM", WHOLE.name, None, None, "load"),
                {
                    **progress(SALES_RUN, "APP_4_SALES", "2025-11", date(2025, 11, 1), date(2025, 11, 30), "load"),
                    "status": "running",
                    "published_at": None,
                    "finished_at": None,
                },
            ],
        )
        night = {"run_id": NIGHT_RUN, "from_date": last, "to_date": last, "tables": "", "started_at": AT}
        session.execute(
            replica_run_history.insert().values(
                run_type=RunType.T0, finished_at=AT, success=True, rows_loaded=14, **night
            )
        )
        for table in ("APP_4_SALES", "APP_4_ORDER"):
            breach = {"metric": "orphans", "value": 1.0, "rows_counted": 7, "threshold": 0.0, "breach": "warn"}
            session.execute(
                data_quality_metrics.insert().values(run_id="care", table_name=table, measured_at=AT, **breach)
            )
    _record_stores(server.dsn(databases["control"]))
    _record_in_airflow()
    yield
    with warehouse.begin() as session:
        for table in (etl_progress, replica_run_history, data_quality_metrics):
            session.execute(table.delete())
    with closing(psycopg.connect(server.dsn(databases["control"]), autocommit=True)) as session:
        session.execute("TRUNCATE public.store_master, public.orders_sync_log, public.pipeline_run_summaries")


def _record_stores(dsn: str) -> None:
    with closing(psycopg.connect(dsn, autocommit=True)) as session:
        for code, group, pipeline in (("T1", "TD", "td_orders_sync"), ("U1", "UC", "uc_orders_sync")):
            session.execute(
                "INSERT INTO public.store_master (store_code, store_name, sync_group, start_date, is_active, "
                "sync_orders_flag) VALUES (%s, %s, %s, '2025-10-01', true, true)",
                (code, f"Shop {code}", group),
            )
            run = run_id_of(pipeline, LONG_RUN)
            session.execute(
                "INSERT INTO public.pipeline_run_summaries (pipeline_name, run_id, run_env, started_at, "
                "overall_status) VALUES (%s, %s, 'prod', now(), 'success')",
                (pipeline, run),
            )
            session.execute(
                "INSERT INTO public.orders_sync_log (pipeline_id, store_code, from_date, to_date, status, run_id, "
                "run_env) SELECT id, %s, '2025-10-01', '2025-10-07', 'success', %s, 'prod' FROM public.pipelines "
                "WHERE code = %s",
                (code, run, pipeline),
            )


def _record_in_airflow() -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    runs = [
        ("sales_replication", SALES_RUN),
        ("nightly_replica", NIGHT_RUN),
        ("td_orders_sync", LONG_RUN),
        ("a_dag_of_others", SALES_RUN),
    ]
    tasks = [
        ("sales_replication", SALES_RUN, "APP_4_SALES.months", 3, "2025-10"),
        ("nightly_replica", NIGHT_RUN, "load", 0, "APP_4_SALES"),
        ("nightly_replica", NIGHT_RUN, "fix", 0, "APP_4_SALES"),
    ]
    with create_session() as session:
        for dag, run in runs:
            values = {"dag_id": dag, "run_id": run, "run_type": "manual", "run_after": AT}
            session.execute(sa.insert(DagRun.__table__).values(**values))
        for dag, run, task, index, name in tasks:
            values = {"dag_id": dag, "run_id": run, "task_id": task, "map_index": index, "rendered_map_index": name}
            session.execute(sa.insert(TaskInstance.__table__).values(pool="default_pool", **values))


def test_tables_are_shown_to_whom_may_read_their_dag(browser: Browser):
    def shown(name: str) -> set[str]:
        return {table["name"] for table in browser(name).get(f"{API}/coverage").json()["tables"]}

    sales = {table.name for table in catalog.load().group("sales")}
    nightly = {table.name for table in catalog.load().group("nightly")}
    assert shown("viewer") == sales | nightly
    assert shown("sales") == sales
    assert shown("nightly") == nightly - sales
    assert browser("sales").get(f"{API}/coverage").json()["counts"]["v"] == 1


def test_each_table_says_which_dag_copies_it(browser: Browser):
    dags = {table["name"]: table["dag"] for table in browser("viewer").get(f"{API}/coverage").json()["tables"]}
    assert (dags["APP_4_SALES"], dags["APP_4_ORDER"]) == ("sales_replication", "nightly_replica")


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("sales", {"coverage", "running"}),
        ("nightly", {"coverage", "nights", "orders", "running"}),
        ("viewer", {"coverage", "nights", "reference", "orders", "orders/plan", "cdc", "running"}),
    ],
)
def test_a_section_is_closed_to_whom_may_read_none_of_its_dags(browser: Browser, name, sections):
    every = ("coverage", "nights", "reference", "orders", "orders/plan", "cdc", "running")
    answers = {section: browser(name).get(f"{API}/{section}").status_code for section in every}
    assert answers == {section: 200 if section in sections else 403 for section in every}


def test_a_table_that_is_hidden_has_no_months_either(browser: Browser):
    assert browser("nightly").get(f"{API}/coverage/APP_4_SALES/2025-10").status_code == 404
    assert browser("viewer").get(f"{API}/coverage/NO_TABLE/2025-10").status_code == 404
    assert browser("viewer").get(f"{API}/coverage/APP_4_SALES/October").status_code == 400


def test_windows_and_days_lead_to_their_runs_and_logs(browser: Browser):
    month = browser("viewer").get(f"{API}/coverage/APP_4_SALES/2025-10").json()
    sales = "/dags/sales_replication/runs/manual__2025-11-02T08%3A00%3A00%2B00%3A00_a1"
    night = "/dags/nightly_replica/runs/scheduled__2025-10-31T18%3A00%3A00%2B00%3A00"
    assert {row["window"]: (row["run_url"], row["log_url"]) for row in month["windows"]} == {
        "2025-10": (sales, f"{sales}/tasks/APP_4_SALES.months/mapped/3"),
        "2025-10-31": (night, f"{night}/tasks/load/mapped/0"),
    }
    assert month["days"][0]["log_url"] == f"{sales}/tasks/APP_4_SALES.months/mapped/3"
    assert {row["run_url"] for row in month["days"]} == {sales, night}


def test_no_link_leads_to_a_dag_that_one_may_not_read(browser: Browser):
    month = browser("sales").get(f"{API}/coverage/APP_4_SALES/2025-10").json()
    urls = {row["window"]: row["run_url"] for row in month["windows"]}
    assert urls["2025-10"].startswith("/dags/sales_replication/")
    assert urls["2025-10-31"] is None


def test_nights_and_breaches_leave_hidden_tables_out(browser: Browser):
    everything, part = (browser(name).get(f"{API}/nights").json() for name in ("viewer", "nightly"))
    assert {table["name"] for table in everything["nights"][0]["tables"]} == {"APP_4_SALES", "APP_4_ORDER"}
    assert {breach["table"] for breach in everything["breaches"]} == {"APP_4_SALES", "APP_4_ORDER"}
    assert [table["name"] for table in part["nights"][0]["tables"]] == ["APP_4_ORDER"]
    assert part["breaches"] == []
    assert part["nights"][0]["run_url"].startswith("/dags/nightly_replica/runs/scheduled__")


def test_orders_are_shown_by_pipeline(browser: Browser):
    everything, part = (browser(name).get(f"{API}/orders").json() for name in ("viewer", "nightly"))
    assert [store["store"] for store in everything["stores"]] == ["T1", "U1"]
    assert [store["store"] for store in part["stores"]] == ["T1"]
    assert part["counts"] == {letter: count / 2 for letter, count in everything["counts"].items()}
    assert browser("nightly").get(f"{API}/orders/uc_orders_sync/U1").status_code == 404
    assert {plan["store"] for plan in browser("viewer").get(f"{API}/orders/plan").json()["plans"]} == {"T1", "U1"}


def test_windows_of_a_store_lead_to_their_run_though_the_log_has_cut_its_id(browser: Browser):
    (window,) = browser("nightly").get(f"{API}/orders/td_orders_sync/T1").json()["windows"]
    assert len(window["run"]) < len("td_orders_sync__") + len(LONG_RUN)
    assert window["run_url"] == (
        "/dags/td_orders_sync/runs/manual__2025-11-03T08%3A00%3A00.123456%2B00%3A00_with-more-of-it"
    )


def test_what_runs_is_shown_to_whom_may_read_its_dag(browser: Browser, server, databases, monkeypatch):
    from retail_sync.page import databases as of_page

    # nobody holds the window's lock; where that cannot be asked, the record is believed
    monkeypatch.setenv("AIRFLOW_CONN_CONTROL", "postgres://keeper@127.0.0.1:1/control")
    of_page.CONTROL.forget()
    try:
        sales, nightly = (browser(name).get(f"{API}/running").json() for name in ("sales", "nightly"))
    finally:
        of_page.CONTROL.forget()
    (item,) = sales["items"]
    assert (item["table"], item["window"], sales["down"]) == ("APP_4_SALES", "2025-11", "control")
    assert item["run_url"].startswith("/dags/sales_replication/runs/")
    assert nightly["items"] == []


def test_reference_tables_are_those_of_the_catalog(browser: Browser):
    tables = browser("viewer").get(f"{API}/reference").json()["tables"]
    assert {table["name"] for table in tables} == {table.name for table in catalog.load().group("reference")}
    assert next(table for table in tables if table["name"] == "APP_4_ITEM")["rows"] == 7
