"""The DAG under the real scheduler. The tests share one Airflow, and build on one another in order."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from include import catalog
from include.demo.postgres import SOURCE, WAREHOUSE
from include.windows import Window
from tests.e2e.conftest import DAG_ID, Site

SALES = [table.name for table in catalog.load().group("sales")]
SMALL = ["APP_4_VOIDSALESITEM", "APP_4_VOUCHER"]
SPREAD = ["APP_4_SALES", *SMALL]


def _whole(months: list[Window]) -> Window:
    return Window(months[0].start, months[-1].end)


def _dates(window: Window) -> dict[str, str]:
    return {"start_date": window.start.isoformat(), "end_date": window.last_day.isoformat()}


def test_a_scheduled_run_copies_the_month_that_ended(site: Site) -> None:
    site.airflow.pause(DAG_ID, False)
    run_id = _await_run(site, "scheduled")

    assert site.finish(run_id) == "success"

    month = site.months[-1]
    windows = {(row["table_name"], row["window_name"]) for row in site.progress(run_id)}
    assert windows == {(table, name) for table in SALES for name in (month.name, "undated")}
    assert {row["status"] for row in site.progress(run_id)} == {"verified"}
    assert site.differing(SALES, month) == []
    _assert_one_table_after_another(site.progress(run_id), SALES)


def test_a_manual_run_copies_the_days_of_its_params_beside_another_run_of_them(site: Site) -> None:
    window = _whole(site.months)
    run_id = site.trigger({**_dates(window), "tables": SPREAD})
    beside = site.replicate("APP_4_SALES", window)

    assert site.finish(run_id) == "success"
    assert beside.wait(60) == 0

    rows = site.progress(run_id)
    assert {row["table_name"] for row in rows} == set(SPREAD)
    assert {row["window_name"] for row in rows} == {*(month.name for month in site.months), "undated"}
    assert site.differing(SPREAD, window) == []
    last = [row for row in rows if row["window_name"] == site.months[-1].name]
    assert {row["rows_read"] for row in last} == {0}
    _assert_one_table_after_another(rows, SPREAD)
    _assert_two_windows_at_once(rows)


def _assert_one_table_after_another(rows: list[dict[str, Any]], tables: list[str]) -> None:
    spans = {
        table: (
            min(row["started_at"] for row in rows if row["table_name"] == table),
            max(row["finished_at"] for row in rows if row["table_name"] == table),
        )
        for table in tables
    }
    for earlier, later in itertools.pairwise(tables):
        assert spans[earlier][1] <= spans[later][0]


def _assert_two_windows_at_once(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        beside = [other for other in rows if other["started_at"] <= row["started_at"] < other["finished_at"]]
        assert len(beside) <= 2


def test_the_months_are_named_in_the_grid_and_the_tables_are_assets(site: Site) -> None:
    run_id = _latest_run(site, "manual")
    months = f"dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/APP_4_SALES.months/listMapped"
    names = [instance["rendered_map_index"] for instance in site.airflow.request("GET", months)["task_instances"]]

    assert sorted(names) == [month.name for month in site.months]

    events = site.airflow.request("GET", "assets/events?limit=100&order_by=-timestamp")["asset_events"]
    extras = {event["name"]: event["extra"] for event in events if event["source_run_id"] == run_id}
    assert set(extras) == {f"dbo.com_5013_{table}" for table in SPREAD}
    with site.connect(WAREHOUSE) as connection:
        (count,) = connection.execute('SELECT count(*) FROM "dbo"."com_5013_APP_4_SALES"').fetchone()
    assert extras["dbo.com_5013_APP_4_SALES"]["rows"] == count


def test_a_rerun_reads_only_what_changed(site: Site) -> None:
    month = site.months[1]
    with site.connect(SOURCE) as connection:
        connection.execute(
            'UPDATE "COM_5013"."APP_4_VOUCHER" SET "WBDELETED" = 1'
            ' WHERE "ID" = (SELECT min("ID") FROM "COM_5013"."APP_4_VOUCHER" WHERE "DATETIME__VOUCHER_DATE" = %s)',
            (month.start,),
        )
    run_id = site.trigger({**_dates(_whole(site.months)), "tables": SMALL})

    assert site.finish(run_id) == "success"

    read = {(row["table_name"], row["window_name"]) for row in site.progress(run_id) if row["rows_read"]}
    assert read == {("APP_4_VOUCHER", month.name)}
    assert site.differing(SMALL, _whole(site.months)) == []
    skipped = {task for task, states in site.task_states(run_id).items() if states == {"skipped"}}
    assert skipped == {
        f"{table}.{step}" for table in SALES if table not in SMALL for step in ("open", "months", "close")
    }


def test_a_request_that_makes_no_sense_is_refused(site: Site) -> None:
    run_id = site.trigger({"start_date": "2025-10-02", "end_date": "2025-10-01", "typo": 1})

    assert site.finish(run_id) == "failed"

    assert "unknown parameters: typo" in site.log(run_id, "plan")
    assert site.progress(run_id) == []
    states = site.task_states(run_id)
    assert states["plan"] == states["verdict"] == {"failed"}
    assert all(states[f"{table}.open"] == {"skipped"} for table in SALES)


def test_a_failing_month_stops_no_later_table_and_fails_the_run(site: Site) -> None:
    month = site.months[0]
    site.empty_warehouse()
    with site.connect(SOURCE) as connection:
        connection.execute('ALTER TABLE "COM_5013"."APP_4_VOIDSALESITEM" ALTER "VOID_REASON" TYPE text')
        connection.execute(
            'UPDATE "COM_5013"."APP_4_VOIDSALESITEM" SET "VOID_REASON" = repeat(\'x\', 300)'
            ' WHERE "DATETIME__VOID_DATETIME" = %s',
            (month.last_day,),
        )
    run_id = site.trigger({**_dates(_whole(site.months)), "tables": SMALL})

    assert site.finish(run_id) == "failed"

    states = {(row["table_name"], row["window_name"]): row["status"] for row in site.progress(run_id)}
    assert states["APP_4_VOIDSALESITEM", month.name] == "failed"
    assert {states["APP_4_VOIDSALESITEM", later.name] for later in site.months[1:]} == {"verified"}
    assert {states["APP_4_VOUCHER", each.name] for each in site.months} == {"verified"}
    verdict = site.log(run_id, "verdict")
    assert f"APP_4_VOIDSALESITEM {month.name}" in verdict
    assert "VOID_REASON" in verdict


def test_on_failure_stop_begins_no_later_table(site: Site) -> None:
    run_id = site.trigger({**_dates(site.months[0]), "tables": SMALL, "on_failure": "stop"})

    assert site.finish(run_id) == "failed"

    states = site.task_states(run_id)
    assert states["APP_4_VOIDSALESITEM.months"] == {"failed"}
    assert states["APP_4_VOUCHER.open"] == states["APP_4_VOUCHER.months"] == {"skipped"}
    with site.connect(SOURCE) as connection:
        connection.execute('UPDATE "COM_5013"."APP_4_VOIDSALESITEM" SET "VOID_REASON" = left("VOID_REASON", 255)')


def test_a_cleared_run_does_what_is_left(site: Site) -> None:
    run_id = _latest_run(site, "manual")
    site.airflow.request(
        "POST", f"dags/{DAG_ID}/clearTaskInstances", json={"dag_run_id": run_id, "dry_run": False, "only_failed": False}
    )

    assert site.finish(run_id) == "success"

    assert site.differing(SMALL, site.months[0]) == []


@pytest.mark.parametrize(
    "command",
    [
        (
            "backfill create --dag-id sales_replication --from-date {first} --to-date {last}"
            " --max-active-runs 1 --dag-run-conf {conf}"
        ),
        "dags backfill sales_replication --start-date {first} --end-date {last_day} --conf {conf}",
    ],
    ids=["airflow backfill create", "airflow dags backfill"],
)
def test_a_backfill_runs_one_month_after_the_other(site: Site, command: str) -> None:
    site.empty_warehouse()
    first, last = site.months[0], site.months[1]
    values = {
        "first": first.start.isoformat(),
        "last": last.start.isoformat(),
        "last_day": last.last_day.isoformat(),
        "conf": '{"tables":["APP_4_VOUCHER"]}',
    }
    done = site.command(*(word.format(**values) if word.startswith("{") else word for word in command.split()))
    assert done.returncode == 0, done.stderr

    runs = _await_runs(site, "backfill", 2)

    assert [site.finish(run["dag_run_id"]) for run in runs] == ["success", "success"]
    ended = [site.airflow.request("GET", f"dags/{DAG_ID}/dagRuns/{run['dag_run_id']}") for run in runs]
    assert ended[0]["end_date"] <= ended[1]["start_date"]
    names = [{row["window_name"] for row in site.progress(run["dag_run_id"])} for run in runs]
    assert names == [{first.name, "undated"}, {last.name, "undated"}]
    assert site.differing(["APP_4_VOUCHER"], Window(first.start, last.end)) == []


def test_the_pool_is_made_at_start_up_and_check_misses_it_when_it_is_gone(site: Site) -> None:
    found = site.check()
    assert "pool pos_source" in found.stdout
    assert found.returncode == 0

    site.airflow.request("DELETE", "pools/pos_source")

    found = site.check()
    assert found.returncode == 1
    assert "airflow pools set pos_source" in found.stdout


def _await_run(site: Site, run_type: str) -> str:
    return str(_await_runs(site, run_type, 1)[0]["dag_run_id"])


def _await_runs(site: Site, run_type: str, count: int) -> list[dict[str, Any]]:
    """Return the runs of a type by their dates, as soon as there are as many."""
    deadline = time.monotonic() + 60
    while True:
        answer = site.airflow.request("GET", f"dags/{DAG_ID}/dagRuns?run_type={run_type}&order_by=logical_date")
        if len(answer["dag_runs"]) >= count:
            return list(answer["dag_runs"])
        assert time.monotonic() < deadline, f"no {run_type} run: {answer}"
        time.sleep(0.5)


def _latest_run(site: Site, run_type: str) -> str:
    answer = site.airflow.request("GET", f"dags/{DAG_ID}/dagRuns?run_type={run_type}&order_by=-run_after&limit=1")
    return str(answer["dag_runs"][0]["dag_run_id"])
