"""What a click asks of Airflow, shown before it is sent; and who cannot ask at all."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime, time
from time import monotonic
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect

from include import catalog
from include.demo.postgres import WAREHOUSE
from include.settings import Settings
from tests.browser import seed
from tests.browser.conftest import SECTIONS, Server, Visitor
from tests.browser.test_coverage import cell
from tests.e2e.conftest import DAG_ID, Site

CAREFUL = "replica_audit"


@pytest.fixture
def forget_runs(site: Site) -> Iterator[Callable[[str, str], None]]:
    """Delete runs that wait for a paused DAG."""
    runs: list[tuple[str, str]] = []
    yield lambda dag, run: runs.append((dag, run))
    for dag, run in runs:
        site.airflow.request("DELETE", f"dags/{dag}/dagRuns/{run}")


@pytest.fixture
def rest(site: Site) -> Iterator[None]:
    """End the run when its first table is done: nine others, of which nothing was asked, would follow."""
    yield
    site.airflow.rest(DAG_ID)


def take_the_schedules_place(site: Site) -> None:
    """Let unpausing begin nothing: the run that is due has been."""
    due = datetime.combine(site.months[-1].start, time.min, Settings().zone)
    run = site.airflow.trigger(DAG_ID, {}, due)
    site.airflow.request("PATCH", f"dags/{DAG_ID}/dagRuns/{run}", json={"state": "success"})


def send(page: Page, site: Site) -> tuple[str, str, dict[str, Any]]:
    """Send what the dialog shows, and return the DAG, the run and the conf that Airflow has of it."""
    dialog = page.locator("#action-dialog")
    dag = dialog.locator("[data-role=dag]").inner_text()
    shown = json.loads(dialog.locator("[data-role=conf]").inner_text())
    command = shlex.split(dialog.locator("[data-role=command]").inner_text())
    assert command[:-1] == ["airflow", "dags", "trigger", dag, "--conf"]
    assert json.loads(command[-1]) == shown
    page.locator("#send").click()
    run = dialog.locator("[data-role=answer] a").inner_text()
    conf = site.airflow.request("GET", f"dags/{dag}/dagRuns/{run}")["conf"]
    assert conf == shown
    page.locator("#cancel").click()
    expect(dialog).to_have_count(0)
    return dag, run, conf


def test_selected_months_are_replicated_by_a_real_run_and_turn_verified(admin: Visitor, site: Site, rest: None):
    page = admin.open()
    month = site.months[0]
    one = cell(page, seed.COPIED, month.name)
    expect(one).to_have_attribute("data-status", "m")
    one.click(modifiers=["Shift"])
    page.locator("#coverage-actions [data-action=replicate]").click()
    dag, run, conf = send(page, site)
    dates = {"start_date": str(month.start), "end_date": str(month.last_day)}
    assert (dag, conf) == (DAG_ID, {**dates, "tables": [seed.COPIED], "force": False})
    take_the_schedules_place(site)
    site.airflow.pause(DAG_ID, False)
    deadline = monotonic() + 300
    while one.get_attribute("data-status") != "v":
        assert monotonic() < deadline, f"{run} is {site.airflow.run_state(dag, run)}"
        page.locator("#refresh").click()
        page.wait_for_timeout(500)
    with site.connect(WAREHOUSE) as connection:
        replica = catalog.load()[seed.COPIED]
        query = (
            f'SELECT count(*) FROM dbo."{replica.target_table}" WHERE "{replica.date}" >= %s AND "{replica.date}" < %s'
        )
        rows = connection.execute(query, (month.start, month.end)).fetchone()[0]
    expect(one).to_have_attribute("data-rows", str(rows))
    one.click()
    address = f"/dags/{DAG_ID}/runs/{quote(run, safe='')}"
    expect(page.locator("#windows-table").get_by_role("link", name=run)).to_have_attribute("href", address)
    expect(page.locator(f'#windows-table a[href^="{address}/tasks/{seed.COPIED}.months"]')).to_have_text("log")


def test_a_month_is_verified_without_repair(admin: Visitor, site: Site, forget_runs):
    page = admin.open()
    cell(page, seed.CHANGED, site.months[0].name).click(modifiers=["Shift"])
    cell(page, seed.CHANGED, site.months[1].name).click(modifiers=["Shift"])
    page.locator("#coverage-actions [data-action=verify]").click()
    dag, run, conf = send(page, site)
    forget_runs(dag, run)
    dates = {"start_date": str(site.months[0].start), "end_date": str(site.months[1].last_day)}
    assert (dag, conf) == (CAREFUL, {**dates, "tables": [seed.CHANGED], "repair": False})


def test_a_day_is_repaired_alone(admin: Visitor, site: Site, forget_runs):
    page = admin.open("coverage", f"?table={seed.CHANGED}&month={site.months[-1].name}")
    row = page.locator("#days-table tr[data-equal=false]")
    day = row.get_attribute("data-day")
    row.locator("[data-action=repair]").click()
    dag, run, conf = send(page, site)
    forget_runs(dag, run)
    assert (dag, conf) == (CAREFUL, {"start_date": day, "end_date": day, "tables": [seed.CHANGED], "repair": True})


def test_a_store_is_synced_over_its_holes(admin: Visitor, site: Site, forget_runs):
    page = admin.open("orders", "?store=T1&pipeline=td_orders_sync")
    page.locator("[data-action=sync]").click()
    hole = page.locator('#orders-grid [data-store=T1] [data-week-status="h"]').get_attribute("data-week")
    dag, run, conf = send(page, site)
    forget_runs(dag, run)
    assert (dag, conf["store_codes"], conf["from_date"]) == ("td_orders_sync", ["T1"], hole)


def test_a_followed_table_is_copied_again(admin: Visitor, site: Site, forget_runs):
    page = admin.open("cdc")
    page.locator("[data-action=resync-table]").click()
    dag, run, conf = send(page, site)
    forget_runs(dag, run)
    assert (dag, conf) == (
        "cdc_replication",
        {"action": "resync", "replication": seed.FOLLOWED, "tables": ["shop.orders"]},
    )


def test_nothing_is_sent_that_was_cancelled(admin: Visitor, site: Site):
    page = admin.open()
    before = site.airflow.request("GET", f"dags/{CAREFUL}/dagRuns")["total_entries"]
    cell(page, seed.VERIFIED, site.months[0].name).click(modifiers=["Shift"])
    page.locator("#coverage-actions [data-action=verify]").click()
    page.locator("#send").wait_for()
    page.keyboard.press("Escape")
    expect(page.locator("#action-dialog")).to_have_count(0)
    assert site.airflow.request("GET", f"dags/{CAREFUL}/dagRuns")["total_entries"] == before


def test_a_viewer_sees_everything_and_no_action(visit: Callable[..., Visitor], site: Site):
    viewer = visit("viewer")
    page = viewer.open("coverage", f"?table={seed.CHANGED}&month={site.months[-1].name}")
    page.locator("#days-table tr[data-day]").first.wait_for()
    for section, drawn in SECTIONS.items():
        page.locator(f"nav a[data-section={section}]").click()
        page.locator(drawn).first.wait_for()
        expect(page.locator("[data-action]")).to_have_count(0)
        expect(page.locator(".problem")).to_have_count(0)
    page.locator("nav a[data-section=orders]").click()
    page.locator('#orders-grid [data-store="T1"] [role=rowheader]').click()
    page.locator("#store-windows").wait_for()
    expect(page.locator("[data-action]")).to_have_count(0)


def test_airflow_takes_no_run_from_a_viewer(servers: dict[str, Server]):
    server = servers["viewer"]
    server.wait()
    answer = httpx.post(
        f"{server.url}/api/v2/dags/{CAREFUL}/dagRuns",
        json={"logical_date": None, "conf": {}},
        headers={"Authorization": f"Bearer {server.token()}"},
    )
    assert answer.status_code == 403
