"""The other sections, what they show while something runs, and what they show while a database is down."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from include.demo.postgres import CONTROL, WAREHOUSE
from tests.browser import seed
from tests.browser.conftest import Visitor
from tests.e2e.conftest import Site


def test_a_running_load_moves_its_bar_without_reloading(admin: Visitor, site: Site):
    page = admin.open("running")
    item = page.locator(f'#running li[data-running="{seed.RUNNING}"]')
    bar = item.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "10")
    width = "one => one.firstElementChild.offsetWidth / one.offsetWidth"
    assert bar.evaluate(width) == pytest.approx(0.1, abs=0.02)
    page.evaluate("window.same = true")
    with site.connect(WAREHOUSE) as connection:
        connection.execute(
            "UPDATE dbo.etl_progress SET rows_read = %s WHERE table_name = %s AND finished_at IS NULL",
            (seed.EXPECTED // 2, seed.RUNNING),
        )
    expect(bar).to_have_attribute("aria-valuenow", "50")
    expect(item).to_contain_text(f"{seed.EXPECTED // 2:,} of {seed.EXPECTED:,} rows")
    bar.evaluate("one => Promise.all(one.firstElementChild.getAnimations().map((each) => each.finished))")
    assert bar.evaluate(width) == pytest.approx(0.5, abs=0.02)
    assert page.evaluate("window.same")
    expect(page.locator("#running-count")).to_have_text("1")


def test_nights_show_what_was_loaded_and_repaired(admin: Visitor, site: Site):
    page = admin.open("tonight")
    with site.connect(WAREHOUSE) as connection:
        nights = connection.execute(
            "SELECT h.to_date, bool_and(h.success), (SELECT sum(rows_read) FROM dbo.etl_progress p"
            " WHERE p.run_id = h.run_id AND p.phase = 'load') FROM dbo.replica_run_history h"
            " WHERE run_type IN ('T0', 'T1') GROUP BY h.run_id, h.to_date ORDER BY h.to_date"
        ).fetchall()
    bars = page.locator("#nights-strip button")
    found = [[bar.get_attribute(f"data-{name}") for name in ("night", "success", "loaded")] for bar in bars.all()]
    assert found == [[str(day), str(success).lower(), str(loaded)] for day, success, loaded in nights]
    expect(page.locator("#late-table [data-late='1'] td.number")).to_have_text("6")
    expect(page.locator("#breaches [data-breach=fail]")).to_contain_text("duplicate_keys: 2, threshold 0")
    bars.first.click()
    expect(page.locator("#night-title")).to_contain_text(f"{nights[0][0]}")
    expect(page.locator("#night-table [data-fix=inserted]")).to_have_text("3")


def test_reference_tables_show_rows_and_change(admin: Visitor, site: Site):
    page = admin.open("reference")
    with site.connect(WAREHOUSE) as connection:
        refreshed = connection.execute(
            "SELECT table_name, array_agg(rows_published ORDER BY id DESC) FROM dbo.etl_progress"
            " WHERE table_name = ANY(%s) GROUP BY table_name",
            (seed.REFRESHED,),
        ).fetchall()
    assert len(refreshed) == len(seed.REFRESHED)
    for table, (rows, before) in refreshed:
        row = page.locator(f'#reference-table tr[data-table="{table}"]')
        expect(row).to_have_attribute("data-rows", str(rows))
        expect(row).to_contain_text(f"+{rows - before}")


def test_orders_show_holes_failures_and_the_plan(admin: Visitor, site: Site):
    page = admin.open("orders")
    for store, letters in (("T1", ["s", "h", "s", "s", "s"]), ("T2", ["f", "h", "h", "h", "h"])):
        weeks = page.locator(f'#orders-grid [data-store="{store}"] [data-week]')
        assert [week.get_attribute("data-week-status") for week in weeks.all()] == letters
    planned = site.include("plan-orders").stdout
    for plan in page.locator("#plan [data-plan]").all():
        assert plan.get_attribute("data-plan") in planned
    expect(page.locator("#plan [data-plan=T1] [data-reason]")).to_have_text(["gap", "overlap"])
    expect(page.locator("#plan-text")).to_have_text(planned.strip().splitlines()[-1])
    page.locator('#orders-grid [data-store="T2"] [data-week-status="f"]').click()
    expect(page.locator("#store-windows tr[data-status=failed]")).to_contain_text(seed.NASTY)
    with site.connect(CONTROL) as connection:
        windows = connection.execute("SELECT count(*) FROM orders_sync_log WHERE store_code = 'T2'").fetchone()[0]
    expect(page.locator("#store-windows tr[data-start]")).to_have_count(windows)


def test_followed_databases_show_health_lag_and_incidents(admin: Visitor):
    page = admin.open("cdc")
    card = page.locator(f'[data-replication="{seed.FOLLOWED}"]')
    expect(card).to_have_attribute("data-status", "degraded")
    expect(card.locator("[data-events]")).to_have_attribute("data-events", "900")
    expect(card.locator("[data-incident]")).to_have_attribute("data-incident", "dead_letters")


def test_a_database_that_is_down_shows_as_such_and_the_rest_lives(visit: Callable[..., Visitor]):
    page = visit("down", expected="503").open("coverage")
    problem = page.locator("main [data-problem='503'][data-down=warehouse]")
    expect(problem).to_contain_text("The warehouse database is down")
    page.locator("nav a[data-section=orders]").click()
    expect(page.locator('#orders-grid [data-store="T1"]')).to_be_visible()
    expect(page.locator("#plan [data-plan=T1]")).to_be_visible()
    expect(page.locator("main .problem")).to_have_count(0)
    assert "not-to-be-shown" not in page.content()
