"""Nights, reference tables, orders, replications and what runs, as the tables tell of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import sqlglot
from sqlalchemy.dialects import mssql
from typer.testing import CliRunner

from include.cdc import incidents, state
from include.cdc.incidents import Severity
from include.cdc.state import State
from include.cdc.targets.postgres import PostgresTarget, opened
from include.cli import common
from include.cli.app import app
from include.demo.postgres import EmbeddedPostgres
from include.locks import LockSpace, Name, hold
from include.metadata import data_quality_metrics, etl_progress, now, replica_fixes
from include.orders_sync.planner import Reason
from include.overview import days, nights, orders, reference, replications, running
from include.overview.coverage import coverage
from include.replication.history import RunRecord, RunType
from include.settings import Settings
from include.windows import WHOLE, Window
from tests.integration.conftest import Stage, drop_database, fresh_database
from tests.integration.helpers import CATALOG, PAYMENTS, SALES, connect_control
from tests.integration.orders import control_of

TODAY = date(2025, 11, 5)
AT = datetime(2025, 11, 2, 18, tzinfo=UTC)


def write(stage: Stage, table: sa.Table, *rows: dict[str, Any]) -> None:
    with stage.warehouse.metadata().connect() as connection:
        for row in rows:
            connection.execute(table.insert().values(row))


def window(run: str, phase: str, day: date | None, **values: Any) -> dict[str, Any]:
    return {
        "run_id": run,
        "table_name": SALES.name,
        "window_name": day.isoformat() if day else "changes",
        "from_date": day,
        "to_date": day,
        "phase": phase,
        "status": "verified",
        "attempt": 1,
        "started_at": AT,
        "finished_at": AT + timedelta(minutes=1),
        **values,
    }


def night(stage: Stage, run: str, day: date, *errors: str) -> None:
    for type_, of_type in ((RunType.T0, day), (RunType.T1, day - timedelta(days=1))):
        record = RunRecord(stage.warehouse.metadata(), run, type_)
        record.begin(Window.inclusive(of_type, of_type), [SALES.name], AT + timedelta(days=day.day))
        record.end(errors)


def test_a_night_says_what_it_loaded_and_repaired_of_each_table(stage: Stage) -> None:
    first, second = date(2025, 11, 2), date(2025, 11, 3)
    night(stage, "one", first)
    night(stage, "two", second, "no source")
    changes = {"rows_inserted": 3, "rows_updated": 2, "rows_deleted": 1}
    write(
        stage,
        etl_progress,
        window("one", "load", first, rows_read=500),
        window("one", "fix", first - timedelta(days=1), rows_read=5, **changes),
        window("one", "sweep", None, status="published", rows_read=4, rows_inserted=4),
        window("two", "load", second, status="failed", error="no source", rows_read=0),
        window("two", "load", second, table_name=PAYMENTS.name, rows_read=70),
        window("two", "fix", first - timedelta(days=3), to_date=first, window_name="several", **changes),
    )
    fix = {"run_id": "two", "table_name": SALES.name, "day": date(2025, 10, 31), "fixed_at": now()}
    write(stage, replica_fixes, {**fix, "rows_inserted": 3, "rows_updated": 2, "rows_deleted": 1})
    found = nights.nights(stage.warehouse.metadata(), TODAY)
    json.dumps(found)
    assert [(row["run"], row["day"], row["success"]) for row in found["nights"]] == [
        ("one", "2025-11-02", True),
        ("two", "2025-11-03", False),
    ]
    assert found["nights"][0]["tables"] == [
        {
            "name": SALES.name,
            "loaded": 500,
            "inserted": 7,
            "updated": 2,
            "deleted": 1,
            "status": "verified",
            "error": None,
        }
    ]
    assert [(row["name"], row["status"], row["error"]) for row in found["nights"][1]["tables"]] == [
        (SALES.name, "failed", "no source"),
        (PAYMENTS.name, "verified", None),
    ]
    assert found["late"] == [{"days_late": 1, "rows": 3}, {"days_late": 3, "rows": 3}]
    assert [row["run"] for row in nights.nights(stage.warehouse.metadata(), TODAY, count=1)["nights"]] == ["two"]
    assert nights.nights(stage.warehouse.metadata(), first)["nights"][-1]["run"] == "one"


def test_breaches_are_those_of_the_newest_maintenance_run(stage: Stage) -> None:
    metric = {"table_name": SALES.name, "metric": "null_keys", "rows_counted": 9, "threshold": 0.0, "measured_at": AT}
    write(stage, data_quality_metrics, {**metric, "run_id": "one", "value": 4.0, "breach": "fail"})
    assert [row["value"] for row in nights.nights(stage.warehouse.metadata(), TODAY)["breaches"]] == [4.0]
    write(
        stage,
        data_quality_metrics,
        {**metric, "run_id": "two", "value": 0.0},
        {**metric, "run_id": "two", "metric": "volume", "value": 0.7, "breach": "warn", "from_date": TODAY},
    )
    (breach,) = nights.nights(stage.warehouse.metadata(), TODAY)["breaches"]
    assert (breach["metric"], breach["breach"], breach["from"], breach["to"]) == ("volume", "warn", "2025-11-05", None)


def test_a_reference_table_is_compared_with_the_refresh_before(stage: Stage) -> None:
    name = "APP_4_ITEM"
    row = {"table_name": name, "window_name": WHOLE.name, "seconds_loading": 2.0}
    write(
        stage,
        etl_progress,
        window("one", "load", None, **row, rows_published=100),
        window("two", "load", None, **{**row, "status": "unchanged"}, rows_published=120),
        window("three", "load", None, **{**row, "status": "failed"}, error="no source"),
    )
    found = reference.reference(stage.warehouse.metadata(), CATALOG)["tables"]
    assert [table["name"] for table in found] == [table.name for table in CATALOG.group("reference")]
    item = next(table for table in found if table["name"] == name)
    assert (item["rows"], item["rows_before"], item["status"]) == (120, 100, "failed")
    assert (item["run"], item["error"], item["seconds"]) == ("three", "no source", 2.0)
    assert {table["status"] for table in found if table["name"] != name} == {None}


@pytest.fixture
def control(server: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[psycopg.Connection[Any]]:
    name = fresh_database(server, "orders", templates["control"])
    with closing(psycopg.connect(server.dsn(name), autocommit=True)) as session:
        yield session
    drop_database(server, name)


def store(control: psycopg.Connection[Any], code: str, start: date, group: str = "TD") -> None:
    control.execute(
        "INSERT INTO public.store_master (store_code, store_name, sync_group, start_date) VALUES (%s, %s, %s, %s)",
        (code, f"Store {code}", group, start),
    )


def logged(control: psycopg.Connection[Any], code: str, first: date, last: date, status: str = "success") -> None:
    """Write a row of the log, in a run of its own."""
    control.execute(
        "WITH r AS (INSERT INTO public.pipeline_run_summaries"
        " (pipeline_name, run_id, run_env, started_at, overall_status)"
        " SELECT 'td_orders_sync', 'run ' || count(*), 'test', now(), 'success' FROM public.pipeline_run_summaries"
        " RETURNING run_id)"
        " INSERT INTO public.orders_sync_log (pipeline_id, run_id, run_env, store_code, from_date, to_date, status,"
        " orders_pulled_at, sales_pulled_at, orders_ingested, error_message)"
        " SELECT p.id, r.run_id, 'test', %s, %s, %s, %s, now(), now(), 12, %s FROM r, public.pipelines p"
        " WHERE p.code = 'td_orders_sync'",
        (code, first, last, status, "no crm" if status == "failed" else None),
    )


def cells(control: psycopg.Connection[Any], today: date = TODAY) -> dict[str, str]:
    found = orders.orders(control, today)
    json.dumps(found)
    return {row["store"]: row["cells"] for row in found["stores"]}


def test_weeks_of_a_store_are_done_failed_running_or_have_holes(control: psycopg.Connection[Any]) -> None:
    """The weeks begin on the Mondays 2025-10-13, 20, 27 and 2025-11-03; the day is a Wednesday."""
    store(control, "A1", date(2025, 10, 15))
    store(control, "A2", date(2025, 10, 27))
    logged(control, "A1", date(2025, 10, 15), date(2025, 10, 19))
    logged(control, "A1", date(2025, 10, 20), date(2025, 10, 26), "failed")
    logged(control, "A2", date(2025, 10, 27), date(2025, 11, 4))
    assert orders.orders(control, TODAY)["weeks"] == ["2025-10-13", "2025-10-20", "2025-10-27", "2025-11-03"]
    assert cells(control) == {"A1": "sfhh", "A2": "--ss"}
    logged(control, "A1", date(2025, 10, 27), date(2025, 11, 4), "running")
    assert cells(control)["A1"] == "sfrr"
    control.execute("UPDATE public.orders_sync_log SET status = 'success' WHERE status = 'running'")
    logged(control, "A1", date(2025, 10, 20), date(2025, 10, 22))
    assert cells(control)["A1"] == "sfss"
    logged(control, "A1", date(2025, 10, 23), date(2025, 10, 26))
    assert cells(control)["A1"] == "ssss"
    assert orders.orders(control, TODAY)["counts"] == {"s": 6, "-": 2}


def test_a_refresh_that_failed_stands_out_though_its_days_were_done(control: psycopg.Connection[Any]) -> None:
    store(control, "A1", date(2025, 10, 27))
    logged(control, "A1", date(2025, 10, 27), date(2025, 11, 4))
    logged(control, "A1", date(2025, 11, 4), date(2025, 11, 5), "failed")
    assert cells(control) == {"A1": "sf"}


def test_a_store_that_has_not_begun_is_not_due(control: psycopg.Connection[Any]) -> None:
    store(control, "A1", TODAY + timedelta(days=30))
    assert cells(control) == {"A1": "-"}
    assert orders.plan(control, datetime(2025, 11, 5, 9, tzinfo=UTC))["totals"]["text"] == "nothing to do"


def test_the_windows_of_a_store_come_newest_first(control: psycopg.Connection[Any]) -> None:
    logged(control, "A1", date(2025, 10, 15), date(2025, 10, 19))
    logged(control, "A1", date(2025, 10, 20), date(2025, 10, 26), "failed")
    found = orders.windows(control, "td_orders_sync", "A1")["windows"]
    assert [(row["start"], row["end"], row["status"], row["orders"], row["run"], row["error"]) for row in found] == [
        ("2025-10-20", "2025-10-26", "failed", 12, "run 1", "no crm"),
        ("2025-10-15", "2025-10-19", "success", 12, "run 0", None),
    ]
    assert orders.windows(control, "uc_orders_sync", "A1") == {"windows": []}


def test_the_plan_is_that_of_plan_orders(
    server: EmbeddedPostgres,
    control: psycopg.Connection[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zone = Settings().pipeline_zone
    today = datetime.now(zone).date()
    for number, code in enumerate(("A1", "A2", "B1")):
        store(control, code, today - timedelta(days=200 + number), "UC" if code == "B1" else "TD")
    logged(control, "A1", today - timedelta(days=200), today - timedelta(days=90))
    logged(control, "A1", today - timedelta(days=80), today - timedelta(days=1))
    monkeypatch.setenv("AIRFLOW_CONN_CONTROL", server.uri(control.info.dbname))
    monkeypatch.setenv("RETAIL_SYNC_LOCAL_DIR", str(tmp_path))
    monkeypatch.setattr(common.console, "width", 200)
    printed = CliRunner().invoke(app, ["plan-orders"])
    assert printed.exit_code == 0, printed.output
    found = orders.plan(control, datetime.now(zone))
    lines = [" ".join(line.split()) for line in printed.output.splitlines()]
    assert [line for of_store in found["plans"] for line in of_store["text"].splitlines()] == [
        line for line in lines if "_orders_sync" in line
    ]
    assert found["totals"]["text"] in lines
    windows = [window for of_store in found["plans"] for window in of_store["windows"]]
    assert {window["reason"] for window in windows} == {Reason.GAP, Reason.OVERLAP, Reason.BACKFILL}
    assert found["totals"]["windows"] == len(windows)


def test_orders_run_as_long_as_their_store_is_locked(
    server: EmbeddedPostgres, control: psycopg.Connection[Any], stage: Stage
) -> None:
    logged(control, "A1", date(2025, 10, 15), date(2025, 10, 19), "running")
    assert running.running(stage.warehouse.metadata(), control)["items"] == []
    connection = control_of(server, control.info.dbname)
    with hold(connection, [Name(LockSpace.STORE, "A1")], holder="test", wait=0):
        (item,) = running.running(stage.warehouse.metadata(), control)["items"]
    assert [item[name] for name in ("kind", "dag", "table", "window", "step", "rows", "expected", "run")] == [
        *("orders", "td_orders_sync", "A1", "2025-10-15..2025-10-19", "sales", 12, None, "run 0")
    ]


def in_warehouse(stage: Stage) -> AbstractContextManager[PostgresTarget]:
    return opened(stage.warehouse.connection, "test")


def test_copies_and_streams_run_as_long_as_they_are_locked(stage: Stage) -> None:
    with in_warehouse(stage) as target:
        state.write(target.records, "shop", state="streaming", epoch="1", events=50, run_id="stream")
        copy = {"target_table": "stock", "status": "copying", "rows_expected": 100, "rows_copied": 40, "seconds": 2.0}
        state.write_table(target.records, "shop", "1", "public.stock", **copy, run_id="copy")
    names = [
        Name(LockSpace.REPLICATION, "shop apply"),
        Name(LockSpace.REPLICATED_TABLE, "shop public.stock"),
    ]
    with connect_control(stage) as control:
        assert running.running(stage.warehouse.metadata(), control)["items"] == []
        with hold(stage.control_connection, names, holder="test", wait=0):
            copied, stream = running.running(stage.warehouse.metadata(), control)["items"]
    assert [copied[name] for name in ("kind", "table", "rows", "expected", "rows_per_second", "seconds_left")] == [
        *("copy", "shop public.stock", 40, 100, 20.0, 3.0)
    ]
    assert (stream["kind"], stream["table"], stream["rows"], stream["run"]) == ("stream", "shop", 50, "stream")


def of_shop(stage: Stage) -> dict[str, Any]:
    found = replications.replications(stage.warehouse.metadata(), ["shop"])
    json.dumps(found)
    (shop,) = found["replications"]
    return dict(shop)


def test_a_replication_is_as_its_tables_say(stage: Stage) -> None:
    assert of_shop(stage)["status"] == "new"
    with in_warehouse(stage) as target:
        state.write(target.records, "shop", state="streaming", epoch="1", events=50, applied_at=now())
        for table in ("a", "b"):
            state.write_table(target.records, "shop", "1", table, target_table=table, status="live")
        target.session.execute(
            "INSERT INTO dbo.cdc_applies (run_id, replication, epoch, events, upserted, deleted, dead, batches,"
            " lag_seconds, started_at, finished_at, caught_up)"
            " SELECT 'run', 'shop', '1', 30, 30, 0, 0, 1, 0.5, now() - number * interval '1 minute',"
            " now() - number * interval '1 minute' + interval '1 second', true FROM generate_series(1, 70) number"
        )
        shop = of_shop(stage)
        assert (shop["status"], shop["tables"], shop["events"], shop["reasons"]) == ("healthy", {"live": 2}, 50, [])
        assert len(shop["history"]) == 60
        assert shop["history"][0][0] < shop["history"][-1][0]
        assert 50 < shop["lag_seconds"] < 70
        assert 25 < shop["events_per_minute"] < 31
        incidents.report(target, "shop", "lag_seconds", detail="the target is 9 s behind")
        assert (of_shop(stage)["status"], of_shop(stage)["reasons"]) == ("degraded", ["the target is 9 s behind"])
        incidents.report(target, "shop", "refused", "public.a", Severity.UNHEALTHY, "a row was refused")
        shop = of_shop(stage)
        assert (shop["status"], shop["incidents"][1]["subject"]) == ("unhealthy", "public.a")
        incidents.close(target.records, "shop", "refused")
        state.write(target.records, "shop", state="stopped")
        assert of_shop(stage)["status"] == "stopped"
        state.write(target.records, "shop", state=State.NEEDS_RESYNC, reason="the log is gone")
        assert of_shop(stage)["status"] == "unhealthy"


def test_sql_server_can_read_every_statement(stage: Stage) -> None:
    engine, statements = stage.warehouse.metadata(), list[sa.ClauseElement]()

    @sa.event.listens_for(engine, "before_execute")
    def _keep(_: Any, statement: sa.ClauseElement, *others: Any) -> None:
        statements.append(statement)

    with in_warehouse(stage) as target:
        state.write(target.records, "shop", state="streaming", epoch="1")
    night(stage, "one", TODAY)
    coverage(engine, CATALOG, TODAY, Settings().zone)
    days.month(engine, SALES.name, "2025-10")
    nights.nights(engine, TODAY)
    reference.reference(engine, CATALOG)
    replications.replications(engine, ["shop"])
    running.running(engine, None)
    assert len(statements) > 15
    dialect = mssql.dialect()  # type: ignore[no-untyped-call]
    for statement in statements:
        text = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        assert sqlglot.parse_one(text, read="tsql") is not None
