"""The nightly run, what follows it, and the reference tables, under the real scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from include import catalog
from include.demo.changes import hard_delete, late_arrival, late_fix, move_date
from include.demo.postgres import SOURCE, WAREHOUSE
from include.windows import Window
from tests.e2e.conftest import Site

NIGHTLY, REFERENCE, MAINTENANCE = "nightly_replica", "reference_tables", "warehouse_maintenance"
TABLES = ["APP_4_SALES", "APP_4_SALESITEM", "APP_4_PAYMENT"]
STORES = ["LOCATION_DETAIL", "APP_4_CASHIER_DRAWER", "APP_4_STAFF"]


@pytest.fixture(scope="module", autouse=True)
def only_what_is_asked_for(site: Site) -> Iterator[None]:
    """The DAGs of this module run what it triggers; the site is left as it was found."""
    site.airflow.pause(MAINTENANCE, True)
    for dag_id in (REFERENCE, NIGHTLY):
        site.airflow.pause(dag_id, False)
        # the night that was missed is begun at once; it is not the one that is looked at here
        (missed,) = _await_runs(site, dag_id, "scheduled")
        site.airflow.request("PATCH", f"dags/{dag_id}/dagRuns/{missed}", json={"state": "failed"})
    yield
    for dag_id in (NIGHTLY, REFERENCE, MAINTENANCE):
        site.airflow.pause(dag_id, True)
    site.empty_warehouse()


@pytest.fixture(scope="module")
def night(site: Site) -> tuple[str, int]:
    """A run over the last day, after rows of the day before were changed; its id, and how many rows."""
    day = site.months[-1].last_day
    before = site.include("nightly", *TABLES, "--date", str(day - timedelta(days=1)), "--no-sweep")
    assert before.returncode == 0, before.stdout + before.stderr
    planted = _plant(site, day - timedelta(days=1))
    assert {name for name, _ in site.differing(TABLES, _day(day - timedelta(days=1)))} == set(TABLES)
    site.airflow.pause(MAINTENANCE, False)
    run_id = site.trigger({"date": day.isoformat(), "tables": TABLES}, NIGHTLY)
    site.finish(run_id, dag_id=NIGHTLY)
    return run_id, planted


def _plant(site: Site, day: date) -> int:
    """Change rows of a day, none of them twice; returns how many."""
    planted = 0
    with site.connect(SOURCE) as connection:
        for seed, name in enumerate(TABLES):
            table, window = catalog.load()[name], _day(day)
            changed = [
                hard_delete(connection, table, window, 1, seed),
                move_date(connection, table, window, 1, seed, to=day - timedelta(days=10)),
                late_fix(connection, table, window, 2, seed),
                late_arrival(connection, table, window, 2, seed),
            ]
            assert [len(keys) for keys in changed] == [1, 1, 2, 2]
            planted += sum(map(len, changed))
    return planted


def test_a_nightly_run_loads_its_day_and_repairs_the_day_before(site: Site, night: tuple[str, int]) -> None:
    run_id, planted = night
    last = site.months[-1].last_day

    assert site.airflow.run_state(NIGHTLY, run_id) == "success"

    assert site.differing(TABLES, Window.inclusive(last - timedelta(days=1), last)) == []
    done = {(row["table_name"], row["phase"], row["window_name"]) for row in site.progress(run_id)}
    spans = {
        ("load", str(last)),
        ("load", "undated"),
        ("fix", str(last - timedelta(days=1))),
        ("sweep", "changes"),
    }
    assert done == {(table, *span) for table in TABLES for span in spans}
    history = site.history(run_id)
    loaded = sum(row["rows_read"] for row in site.progress(run_id) if row["phase"] == "load")
    assert loaded > 0
    assert {type_: (row["from_date"], row["to_date"], row["success"]) for type_, row in history.items()} == {
        "T0": (last, last, True),
        "T1": (last - timedelta(days=1), last - timedelta(days=1), True),
    }
    assert (history["T0"]["rows_loaded"], history["T1"]["rows_fixed"]) == (loaded, planted)


def test_the_maintenance_follows_the_nightly_run_by_its_asset(site: Site, night: tuple[str, int]) -> None:
    events = site.airflow.request("GET", "assets/events?limit=100&order_by=-timestamp")["asset_events"]
    assert [event["source_task_id"] for event in events if event["name"] == NIGHTLY] == ["record"]
    assert {event["source_run_id"] for event in events if event["name"] == NIGHTLY} == {night[0]}

    (run_id,) = _await_runs(site, MAINTENANCE, "asset_triggered")

    assert site.finish(run_id, dag_id=MAINTENANCE) == "success"

    with site.connect(WAREHOUSE) as connection:
        views = {name for (name,) in connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'dbo'")}
        measured = connection.execute("SELECT DISTINCT run_id, to_date FROM dbo.data_quality_metrics").fetchall()
        indexed = {name: _indexes(connection, name) for name in TABLES}
    assert views == {table.view for table in catalog.load() if table.columns and table.typed}
    for name, partitions in indexed.items():
        declared = {", ".join(f'"{column}"' for column in columns) for columns in catalog.load()[name].indexes}
        assert declared
        assert partitions
        assert [partition for partition, found in partitions.items() if declared - found] == []
    assert {each[0] for each in measured} == {run_id}
    assert {each[1] for each in measured} - {None} == {site.months[-1].last_day}


def test_reference_tables_are_loaded_once_and_what_is_not_exposed_is_recorded(site: Site) -> None:
    statuses = []
    for _ in range(2):
        run_id = site.trigger({"tables": STORES}, REFERENCE)
        assert site.finish(run_id, dag_id=REFERENCE) == "success"
        statuses.append({row["table_name"]: row["status"] for row in site.progress(run_id)})
        history = site.history(run_id)
        assert {type_: row["success"] for type_, row in history.items()} == {"reference": True}

    assert statuses[0] == {**dict.fromkeys(STORES, "verified"), "APP_4_STAFF": "not_exposed"}
    assert statuses[1] == {**dict.fromkeys(STORES, "unchanged"), "APP_4_STAFF": "not_exposed"}


def test_a_table_that_fails_stops_no_other_and_is_named_by_the_verdict(site: Site) -> None:
    void, voucher = "APP_4_VOIDSALESITEM", "APP_4_VOUCHER"
    with site.connect(SOURCE) as connection:
        (day,) = connection.execute(
            f'SELECT max("DATETIME__VOID_DATETIME") FROM "COM_5013"."{void}" WHERE "DATETIME__VOID_DATETIME" < %s',
            [site.months[-1].end],
        ).fetchone()
        connection.execute(f'ALTER TABLE "COM_5013"."{void}" ALTER "VOID_REASON" TYPE text')
        connection.execute(
            f'UPDATE "COM_5013"."{void}" SET "VOID_REASON" = repeat(\'x\', 300) WHERE "DATETIME__VOID_DATETIME" = %s',
            [day],
        )
    try:
        conf = {"date": day.isoformat(), "tables": [void, voucher], "sweep": False}
        run_id = site.trigger(conf, NIGHTLY)

        assert site.finish(run_id, dag_id=NIGHTLY) == "failed"
    finally:
        with site.connect(SOURCE) as connection:
            connection.execute(f'UPDATE "COM_5013"."{void}" SET "VOID_REASON" = left("VOID_REASON", 255)')
            connection.execute(f'ALTER TABLE "COM_5013"."{void}" ALTER "VOID_REASON" TYPE varchar(255)')

    states = site.task_states(run_id, NIGHTLY)
    assert states["load"] == {"success", "failed"}
    assert {task: states[task] for task in ("fix", "sweep", "record", "verdict")} == {
        "fix": {"success"},
        "sweep": {"skipped"},
        "record": {"success"},
        "verdict": {"failed"},
    }
    assert f"{void} {day}: " in site.log(run_id, "verdict", dag_id=NIGHTLY)
    assert site.differing([voucher], _day(day)) == []
    history = site.history(run_id)
    assert {type_: row["success"] for type_, row in history.items()} == {"T0": False, "T1": True}
    assert f"{void} {day}: " in history["T0"]["error"]
    assert voucher not in history["T0"]["error"]


def test_a_request_that_makes_no_sense_is_refused_and_tells_nobody(site: Site) -> None:
    run_id = site.trigger({"start": "2025-10-02", "end": "2025-10-01"}, NIGHTLY)

    assert site.finish(run_id, dag_id=NIGHTLY) == "failed"

    assert "start 2025-10-02 is after end 2025-10-01" in site.log(run_id, "plan", dag_id=NIGHTLY)
    states = site.task_states(run_id, NIGHTLY)
    assert {task: states[task] for task in ("plan", "record", "verdict")} == {
        "plan": {"failed"},
        "record": {"skipped"},
        "verdict": {"failed"},
    }
    assert site.history(run_id) == {}
    assert site.progress(run_id) == []
    events = site.airflow.request("GET", "assets/events?limit=100")["asset_events"]
    assert run_id not in {event["source_run_id"] for event in events}


def _indexes(connection: Any, name: str) -> dict[str, set[str]]:
    """Return the columns of the indexes of each partition of a replica."""
    query = """
        SELECT inhrelid::regclass::text, substring(pg_get_indexdef(indexrelid) FROM '\\((.*)\\)')
        FROM pg_inherits LEFT JOIN pg_index ON indrelid = inhrelid WHERE inhparent = %s::regclass
    """
    partitions: dict[str, set[str]] = {}
    for partition, columns in connection.execute(query, [f'dbo."{catalog.load()[name].target_table}"']):
        partitions.setdefault(partition, set()).add(columns)
    return partitions


def _day(day: date) -> Window:
    return Window.inclusive(day, day)


def _await_runs(site: Site, dag_id: str, run_type: str) -> list[str]:
    """Return the runs of a type, as soon as there is one."""
    deadline = time.monotonic() + 60
    while True:
        answer: dict[str, Any] = site.airflow.request("GET", f"dags/{dag_id}/dagRuns?run_type={run_type}")
        if answer["dag_runs"]:
            return [str(run["dag_run_id"]) for run in answer["dag_runs"]]
        assert time.monotonic() < deadline, f"no {run_type} run of {dag_id}: {answer}"
        time.sleep(0.5)
