"""The page inside Airflow's own: in the menu, in its theme, with links that lead out of the frame."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser import seed
from tests.browser.conftest import Visitor
from tests.e2e.conftest import DAG_ID, Site


def test_the_menu_opens_it_and_its_links_open_airflows_pages(admin: Visitor, site: Site):
    run = site.trigger({"start_date": "2020-01-01", "end_date": "2020-01-01"})
    with site.connect("warehouse") as connection:
        connection.execute(
            "UPDATE dbo.etl_progress SET run_id = %s WHERE table_name = %s AND window_name = %s",
            (run, seed.CHANGED, site.months[0].name),
        )
    page = admin.page()
    page.goto(admin.server.url)
    page.get_by_role("link", name="Replication").click()
    expect(page).to_have_url(re.compile("/plugin/replication"))
    frame = page.frame_locator("iframe")
    frame.locator(f'#coverage-grid td.cell[data-table="{seed.CHANGED}"][data-month="{site.months[0].name}"]').click()
    expect(page).to_have_url(re.compile(f"#/coverage.*table={seed.CHANGED}"))
    page.reload()
    frame.locator("#windows-table a", has_text=run).click()
    expect(page).to_have_url(re.compile(f"/dags/{DAG_ID}/runs/"))
    expect(page.locator("iframe")).to_have_count(0)
    site.airflow.request("DELETE", f"dags/{DAG_ID}/dagRuns/{run}")


def test_it_follows_the_theme_of_airflow_at_once(admin: Visitor):
    page = admin.page(theme="dark")
    page.goto(f"{admin.server.url}/plugin/replication")
    root = page.frame_locator("iframe").locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="User").click()
    page.get_by_role("menuitem", name="Appearance").hover()
    page.get_by_role("menuitemradio", name="Light Mode").click()
    expect(root).to_have_attribute("data-theme", "light")
