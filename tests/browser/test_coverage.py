"""The heat map: what the tables say is what one sees, by mouse and by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from include.demo.postgres import WAREHOUSE
from tests.browser import seed
from tests.browser.conftest import Visitor
from tests.e2e.conftest import Site

STATES = {
    seed.VERIFIED: "v",
    seed.PUBLISHED: "p",
    seed.CHANGED: "c",
    seed.RUNNING: "r",
    seed.FAILED: "f",
    seed.NOT_EXPOSED: "n",
    seed.COPIED: "m",
}
_MONTHS = r"""
    SELECT DISTINCT ON (table_name, window_name) table_name, window_name, rows_published, bytes_read
    FROM dbo.etl_progress WHERE window_name ~ '^\d{4}-\d\d$' AND status IN ('published', 'verified')
    ORDER BY table_name, window_name, id DESC
"""


def cell(page: Page, table: str, month: str) -> Locator:
    return page.locator(f'#coverage-grid td.cell[data-table="{table}"][data-month="{month}"]')


def look(locator: Locator) -> tuple[str, str, str]:
    """Return the colour, the rim and the sign that are seen."""
    return locator.evaluate(
        "one => [getComputedStyle(one).backgroundColor, getComputedStyle(one).borderTopStyle,"
        " getComputedStyle(one, '::before').content]"
    )


def test_a_cell_has_the_colour_and_the_sign_that_the_legend_explains(admin: Visitor, site: Site):
    page = admin.open()
    looks = set()
    for table, letter in STATES.items():
        one = cell(page, table, site.months[-1].name)
        expect(one).to_have_attribute("data-status", letter)
        assert look(one) == look(page.locator(f'.legend [data-state="{letter}"] i'))
        looks.add(tuple(look(one)))
    assert len(looks) == len(STATES)
    assert len({sign for *_, sign in looks}) == len(STATES)  # no colour tells anything alone


def test_numbers_of_cells_and_totals_are_those_of_the_tables(admin: Visitor, site: Site):
    page = admin.open()
    with site.connect(WAREHOUSE) as connection:
        recorded = connection.execute(_MONTHS).fetchall()
    assert len(recorded) >= 9
    for table, month, rows, size in recorded:
        expect(cell(page, table, month)).to_have_attribute("data-rows", str(rows))
        expect(cell(page, table, month)).to_have_attribute("data-bytes", str(size))
    month = site.months[0].name
    of_month = [row for row in recorded if row[1] == month]
    total = page.locator(f'[data-month-total="{month}"]')
    expect(total).to_have_attribute("data-rows", str(sum(rows for _, _, rows, _ in of_month)))
    expect(total).to_have_attribute("data-bytes", str(sum(size for *_, size in of_month)))
    rows = sum(rows for table, _, rows, _ in recorded if table == seed.VERIFIED)
    expect(page.locator(f'[data-total="{seed.VERIFIED}"]')).to_have_text(f"{rows:,}")


def test_hover_tells_rows_checksum_time_and_run(admin: Visitor, site: Site):
    page = admin.open()
    one = cell(page, seed.VERIFIED, site.months[-1].name)
    one.hover()
    tip = page.locator("#tip")
    expect(tip).to_contain_text(f"{seed.VERIFIED}, {site.months[-1].name}")
    for text in (f"{int(one.get_attribute('data-rows')):,} rows", "1.5 s", "0123456789abcdef", f"by {seed.RUN}"):
        expect(tip).to_contain_text(text)
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()


def test_the_keyboard_alone_reads_selects_and_opens(admin: Visitor, site: Site):
    page = admin.open()
    month = site.months[-1].name
    cell(page, seed.COPIED, month).focus()
    page.keyboard.press("ArrowDown")
    expect(cell(page, seed.VERIFIED, month)).to_be_focused()
    expect(page.locator("#tip")).to_contain_text(f"{seed.VERIFIED}, {month}")
    page.keyboard.press("Space")
    expect(cell(page, seed.VERIFIED, month)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#coverage-actions")).to_contain_text("1 month of 1 table selected")
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#days-title")).to_be_focused()


def test_a_click_opens_the_days_with_the_counts_of_both_sides(admin: Visitor, site: Site):
    page = admin.open()
    month = site.months[-1]
    cell(page, seed.CHANGED, month.name).click()
    expect(page.locator("#days-table tr[data-day]")).to_have_count(month.days)
    with site.connect(WAREHOUSE) as connection:
        compared = connection.execute(
            "SELECT day, rows_source, rows_warehouse, equal FROM dbo.replica_days WHERE table_name = %s",
            (seed.CHANGED,),
        ).fetchall()
    assert {equal for *_, equal in compared} == {True, False}
    for day, rows_source, rows_warehouse, equal in compared:
        row = page.locator(f'#days-table tr[data-day="{day}"]')
        expect(row).to_have_attribute("data-equal", str(equal).lower())
        expect(row.locator("td.number").nth(0)).to_have_text(str(rows_source))
        expect(row.locator("td.number").nth(1)).to_have_text(str(rows_warehouse))


def test_what_a_database_says_is_text_not_markup(admin: Visitor, site: Site):
    page = admin.open("coverage", f"?table={seed.FAILED}&month={site.months[-1].name}")
    expect(page.locator("#windows-table td.error")).to_contain_text(seed.NASTY)
    cell(page, seed.FAILED, site.months[-1].name).hover()
    expect(page.locator("#tip")).to_contain_text(seed.NASTY)
    for section in ("tonight", "orders", "cdc"):
        page.locator(f"nav a[data-section={section}]").click()
        page.locator(f"main[data-section-shown={section}]").wait_for()
    expect(page.locator("[data-incident]")).to_contain_text(seed.NASTY)
    assert page.evaluate("window.broken") is None


def test_the_address_holds_what_one_sees(admin: Visitor, site: Site):
    page = admin.open()
    month = site.months[-1].name
    page.locator("#coverage-search").fill(seed.VERIFIED)
    expect(cell(page, seed.CHANGED, month)).to_have_count(0)
    cell(page, seed.VERIFIED, month).click(modifiers=["Shift"])
    cell(page, seed.VERIFIED, site.months[0].name).click()
    page.locator("#days-table tr[data-day]").first.wait_for()
    page.reload()
    expect(page.locator("#days-title")).to_have_text(f"{seed.VERIFIED}, {site.months[0].name}")
    expect(page.locator("#coverage-search")).to_have_value(seed.VERIFIED)
    expect(cell(page, seed.VERIFIED, month)).to_have_attribute("aria-selected", "true")
    expect(cell(page, seed.CHANGED, month)).to_have_count(0)
    page.go_back()
    expect(page.locator("#days")).to_have_count(0)


@pytest.mark.parametrize("letter", ["f", "m"])
def test_the_legend_counts_and_filters(admin: Visitor, letter: str):
    page = admin.open()
    key = page.locator(f'.legend [data-state="{letter}"]')
    shown = page.locator(f'#coverage-grid td.cell[data-status="{letter}"]')
    expect(key.locator("b")).to_have_text(str(shown.count()))
    key.click()
    expect(page.locator(f'#coverage-grid tbody tr:not(:has([data-status="{letter}"]))')).to_have_count(0)
    expect(page).to_have_url(re.compile(f"only={letter}"))
