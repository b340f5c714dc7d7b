"""Reports out of a folder: which file speaks for which day, and what a spreadsheet makes of cells."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import xlsxwriter

from include.demo.crm import DemoCrm, write_report
from include.demo.crm_data import key_of
from include.errors import NotConfigured, ReportUnusable
from include.orders_sync.dates import moment
from include.orders_sync.feeds.files import FilesFeed
from include.orders_sync.feeds.frames import header_of
from include.orders_sync.ingest import ingest
from include.orders_sync.pipelines import Store, SyncGroup
from include.orders_sync.reports import REPORTS, TD_ORDERS, TD_SALES, UC_GST, Report
from include.windows import Window

ZONE = ZoneInfo("Asia/Kolkata")
STORE = Store("A123", "Invented", SyncGroup.TD, "C1", date(2025, 1, 1))


def days(first: int, last: int) -> Window:
    """Days of March 2025."""
    return Window.inclusive(date(2025, 3, first), date(2025, 3, last))


@pytest.fixture
def crm() -> DemoCrm:
    return DemoCrm()


@pytest.fixture
def feed(tmp_path: Path) -> FilesFeed:
    return FilesFeed(str(tmp_path), ZONE)


def texts(crm: DemoCrm, report: Report, window: Window) -> list[tuple[str | None, ...]]:
    return [
        tuple(None if (cell := row[key_of(header)]) is None else str(cell) for header in report.headers)
        for row in crm.rows(report, STORE.code, window)
    ]


def written_at(path: Path, at: datetime) -> None:
    os.utime(path, (at.timestamp(), at.timestamp()))


Write = Callable[..., Path]


@pytest.fixture
def export(crm: DemoCrm, tmp_path: Path) -> Write:
    def write(window: Window, at: datetime | None = None, report: Report = TD_ORDERS, suffix: str = "csv") -> Path:
        path = write_report(crm, report, STORE.code, window, tmp_path, suffix)
        if at:
            written_at(path, at)
        return path

    return write


def csv(path: Path, report: Report, *rows: dict[str, Any]) -> Path:
    """Write rows by the names of our columns."""
    cells = {field.header: [row.get(field.name or "") for row in rows] for field in report.fields}
    pl.DataFrame(cells, schema=dict.fromkeys(report.headers, pl.String)).write_csv(path)
    return path


@pytest.mark.parametrize("suffix", ["xlsx", "csv"])
@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_report_comes_whole_without_total_and_footer(
    crm: DemoCrm, feed: FilesFeed, export: Write, report: Report, suffix: str
) -> None:
    export(days(1, 31), report=report, suffix=suffix)
    assert feed.fetch(report, STORE, days(1, 31)).rows.rows() == texts(crm, report, days(1, 31))


def test_a_folder_may_be_the_url_of_a_store(crm: DemoCrm, tmp_path: Path, export: Write) -> None:
    export(days(1, 3))
    found = FilesFeed(tmp_path.as_uri(), ZONE).fetch(TD_ORDERS, STORE, days(1, 3)).rows
    assert found.rows() == texts(crm, TD_ORDERS, days(1, 3))


def test_a_longer_file_gives_the_days_that_are_asked_for(crm: DemoCrm, feed: FilesFeed, export: Write) -> None:
    export(days(1, 31), report=TD_SALES)
    assert feed.fetch(TD_SALES, STORE, days(10, 12)).rows.rows() == texts(crm, TD_SALES, days(10, 12))


def test_files_that_overlap_give_each_day_once(crm: DemoCrm, feed: FilesFeed, export: Write) -> None:
    for window in (days(1, 12), days(10, 20), days(18, 31)):
        export(window, report=TD_SALES)
    found = feed.fetch(TD_SALES, STORE, days(5, 25)).rows
    assert sorted(found.rows(), key=str) == sorted(texts(crm, TD_SALES, days(5, 25)), key=str)


def test_a_days_rows_are_those_of_the_newest_file_unless_one_has_exactly_the_window(
    crm: DemoCrm, feed: FilesFeed, export: Write
) -> None:
    april = [datetime(2025, 4, day, 12, tzinfo=ZONE) for day in (1, 2, 3)]
    for at, status in zip(april, ("first", "second", "third"), strict=True):
        for row in crm.rows(TD_ORDERS, STORE.code, days(1, 31)):
            crm.change(TD_ORDERS, STORE.code, row["order_no"], order_status=status)
        export({"first": days(5, 10), "second": days(1, 31), "third": days(8, 9)}[status], at)

    def statuses(window: Window) -> dict[int, set[str]]:
        rows = feed.fetch(TD_ORDERS, STORE, window).rows
        day = moment(header_of(TD_ORDERS, TD_ORDERS.date)).dt.day()
        return {int(key[0]): set(part["Order Status"]) for key, part in rows.group_by(day)}  # type: ignore[call-overload]

    assert statuses(days(7, 9)) == {7: {"second"}, 8: {"third"}, 9: {"third"}}
    assert statuses(days(5, 10)) == {day: {"first"} for day in range(5, 11)}


def test_a_file_does_not_speak_for_days_after_it_was_written(crm: DemoCrm, feed: FilesFeed, export: Write) -> None:
    # 00:30 of the 6th in Kolkata is still the 5th in UTC
    export(days(1, 31), datetime(2025, 3, 6, 0, 30, tzinfo=ZONE))
    assert feed.fetch(TD_ORDERS, STORE, days(1, 6)).rows.rows() == texts(crm, TD_ORDERS, days(1, 6))
    with pytest.raises(ReportUnusable, match=r"store A123: td_orders: no file for 2025-03-07\.\.2025-03-31; export"):
        feed.fetch(TD_ORDERS, STORE, days(1, 31))


def test_days_that_no_file_has_are_named_with_the_file_that_is_expected(feed: FilesFeed, export: Write) -> None:
    export(days(1, 5))
    export(days(9, 9))
    told = r"no file for 2025-03-06\.\.2025-03-08, 2025-03-10; export it as A123_td_orders_20250306_20250308\.xlsx"
    with pytest.raises(ReportUnusable, match=told):
        feed.fetch(TD_ORDERS, STORE, days(1, 10))


def test_files_of_others_and_other_files_are_left_alone(tmp_path: Path, feed: FilesFeed) -> None:
    for name in (
        "A1234_td_orders_20250301_20250301.csv",
        "B_A123_td_orders_20250301_20250301.csv",
        "A123_td_sales_20250301_20250301.csv",
        "A123_td_orders_20250301_20250301.csv.part",
        "~$A123_td_orders_20250301_20250301.xlsx",
        "A123_td_orders_20250301_20250231.csv",
        "A123_td_orders_20250302_20250301.csv",
    ):
        (tmp_path / name).write_text("not to be read")
    with pytest.raises(ReportUnusable, match="no file for 2025-03-01"):
        feed.fetch(TD_ORDERS, STORE, days(1, 1))


def test_a_row_without_a_date_comes_once(tmp_path: Path, feed: FilesFeed) -> None:
    undated = {"order_number": "7", "payment_received": "5"}
    other = {"order_number": "8", "payment_date": "yesterday"}
    for window, rows in ((days(1, 5), [undated, undated]), (days(4, 9), [undated, other])):
        dated = {"order_number": "1", "payment_date": "04 Mar 2025 10:00:00 AM"}
        csv(tmp_path / f"A123_td_sales_{window.start:%Y%m%d}_{window.last_day:%Y%m%d}.csv", TD_SALES, dated, *rows)
    written_at(tmp_path / "A123_td_sales_20250304_20250309.csv", datetime(2025, 4, 1, tzinfo=ZONE))
    found = feed.fetch(TD_SALES, STORE, days(1, 9)).rows
    assert sorted(found["Order Number"]) == ["1", "7", "7", "8"]


def test_a_row_without_a_date_makes_no_window_fail(tmp_path: Path, feed: FilesFeed) -> None:
    rows = [
        {"order_number": number, "order_date": day, "customer_name": "Bakilo"}
        for number, day in (("1", "05/03/2025"), ("2", None), ("3", "31/02/2025"))
    ]
    csv(tmp_path / "A123_uc_gst_20250301_20250331.csv", UC_GST, *rows)

    def dropped(window: Window) -> tuple[bool, int, list[str]]:
        download = feed.fetch(UC_GST, STORE, window)
        found = ingest(UC_GST, download.rows, ZONE, window)
        return download.empty_confirmed, found.rows.height, [row.reason for row in found.dropped]

    assert dropped(days(10, 12)) == (True, 0, ["no Invoice Date"])
    assert dropped(days(1, 31)) == (False, 1, ["no Invoice Date", "Invoice Date unreadable"])


def test_a_file_whose_dates_are_all_unreadable_is_refused(tmp_path: Path, feed: FilesFeed) -> None:
    rows = [{"order_number": "1", "order_date": day, "customer_name": "Bakilo"} for day in ("03.05.2025", None)]
    csv(tmp_path / "A123_uc_gst_20250301_20250331.csv", UC_GST, *rows)
    download = feed.fetch(UC_GST, STORE, days(10, 12))
    assert not download.empty_confirmed
    with pytest.raises(ReportUnusable, match="not the one asked for"):
        ingest(UC_GST, download.rows, ZONE, days(10, 12))


@pytest.mark.parametrize("rows", [[], [{"order_number": "Total", "payment_received": "0.00"}]], ids=["none", "total"])
def test_a_file_without_rows_confirms_that_there_are_none(
    tmp_path: Path, feed: FilesFeed, rows: list[dict[str, str]]
) -> None:
    csv(tmp_path / "A123_td_sales_20250301_20250302.csv", TD_SALES, *rows)
    download = feed.fetch(TD_SALES, STORE, days(1, 2))
    assert (download.rows.height, download.rows.columns, download.empty_confirmed) == (0, TD_SALES.headers, True)


def test_a_file_of_other_days_than_its_name_tells_confirms_nothing(tmp_path: Path, feed: FilesFeed) -> None:
    april = {"order_number": "1", "payment_date": "04 Apr 2025 10:00:00 AM"}
    csv(tmp_path / "A123_td_sales_20250301_20250302.csv", TD_SALES, april)
    with pytest.raises(ReportUnusable, match=r"A123_td_sales_20250301_20250302\.csv: .*is it named rightly"):
        feed.fetch(TD_SALES, STORE, days(1, 2))


def empty_spreadsheet(path: Path) -> None:
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet()


def half_spreadsheet(path: Path) -> None:
    write_report(DemoCrm(), UC_GST, STORE.code, days(1, 1), path.parent)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("suffix", "spoil", "told"),
    [
        ("xlsx", empty_spreadsheet, "empty"),
        ("xlsx", Path.touch, "whole .xlsx"),
        ("xlsx", half_spreadsheet, "whole .xlsx"),
        ("csv", Path.touch, "empty"),
        ("csv", lambda path: path.write_bytes(b"S.No.,Booking ID\n\xff,1\n"), "UTF-8"),
        ("csv", lambda path: path.write_text("S.No.\n1,2,3\n"), "no longer than the first"),
        ("csv", lambda path: csv(path, UC_GST).write_text("1,ABC,INV-1\n"), "no column 'S.No.'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, feed: FilesFeed, suffix: str, spoil: Callable[[Path], Any], told: str
) -> None:
    spoil(tmp_path / f"A123_uc_gst_20250301_20250301.{suffix}")
    with pytest.raises(ReportUnusable) as refused:
        feed.fetch(UC_GST, STORE, days(1, 1))
    assert f"store A123: uc_gst of 2025-03-01: A123_uc_gst_20250301_20250301.{suffix}: " in str(refused.value)
    assert told in str(refused.value)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="extra `path`"):
        FilesFeed(str(tmp_path / "nowhere"), ZONE).fetch(TD_ORDERS, STORE, days(1, 1))
    with pytest.raises(NotConfigured, match="extra `path`"):
        FilesFeed("nowhere://x", ZONE).fetch(TD_ORDERS, STORE, days(1, 1))


def test_cells_of_a_spreadsheet_are_text_whatever_they_were(tmp_path: Path, feed: FilesFeed) -> None:
    typed: dict[str, Any] = {
        "Order Date": date(2025, 2, 28),
        "Payment Date": datetime(2025, 3, 1, 21, 5, 7),
        "Order Number": 1045,
        "Customer Mobile No.": 9876543210,
        "Payment Received": 1234.5,
        "Balance": 0.1,
    }
    rows = {header: [typed.get(header)] for header in TD_SALES.headers}
    pl.DataFrame(rows).write_excel(tmp_path / "A123_td_sales_20250301_20250301.xlsx")
    found = feed.fetch(TD_SALES, STORE, days(1, 1)).rows.row(0, named=True)
    assert {header: cell for header, cell in found.items() if cell} == {
        "Order Date": "2025-02-28 00:00:00",
        "Payment Date": "2025-03-01 21:05:07",
        "Order Number": "1045",
        "Customer Mobile No.": "9876543210",
        "Payment Received": "1234.5",
        "Balance": "0.1",
    }
