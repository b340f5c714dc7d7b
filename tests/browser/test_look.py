"""How the page looks, to eyes and to a screen reader: light, dark, narrow; with a picture of each."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import seed
from tests.browser.conftest import SCREENSHOTS, SECTIONS, Visitor
from tests.browser.test_coverage import cell
from tests.e2e.conftest import Site

THEMES = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 23, 42)"}


def faults(page: Page) -> list[str]:
    """Return what axe-core finds that is serious or worse."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def picture(page: Page, name: str, theme: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}-{theme}.png", animations="disabled")


@pytest.mark.parametrize("theme", THEMES)
def test_every_section_is_accessible_in_the_theme_of_airflow(admin: Visitor, theme: str):
    page = admin.open(theme=theme)
    for section, drawn in SECTIONS.items():
        page.locator(f"nav a[data-section={section}]").click()
        page.locator(drawn).first.wait_for()
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == THEMES[theme]
        picture(page, section, theme)
        assert faults(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_what_a_click_opens_is_accessible(admin: Visitor, site: Site, theme: str):
    page = admin.open("coverage", f"?table={seed.CHANGED}&month={site.months[-1].name}", theme=theme)
    page.locator("#days-table tr[data-day]").first.wait_for()
    cell(page, seed.CHANGED, site.months[0].name).hover()
    picture(page, "days", theme)
    assert faults(page) == []
    page.locator("[data-action=repair]").first.click()
    page.locator("#action-dialog").wait_for()
    picture(page, "dialog", theme)
    assert faults(page) == []
    page.locator("#cancel").click()
    page.goto(page.url.split("#")[0] + "#/orders?store=T2&pipeline=td_orders_sync")
    page.locator("#store-windows").wait_for()
    picture(page, "store", theme)
    assert faults(page) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_half_a_screen_is_enough(admin: Visitor, section: str):
    page = admin.open(section, width=700)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 700
    expect(page.locator(SECTIONS[section]).first).to_be_visible()
    picture(page, section, "narrow")
