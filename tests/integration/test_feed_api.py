"""Reports over HTTP, from a CRM that does not always behave."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from include.demo.crm import DemoCrm
from include.demo.crm_data import key_of
from include.demo.crm_server import PASSWORD
from include.errors import AccessDenied, FeedUnavailable, NotConfigured, ReportChanged, ReportUnusable
from include.orders_sync.crm import feed_of, parse_crm
from include.orders_sync.feeds.base import Download, Feed
from include.orders_sync.feeds.retrying import LONGEST_RETRY_AFTER, retry_after
from include.orders_sync.pipelines import Store, SyncGroup
from include.orders_sync.reports import REPORTS, TD_ORDERS, TD_SALES, UC_GST, Report
from include.windows import Window

SINCE = date(2025, 1, 1)
WINDOW = Window.inclusive(date(2025, 3, 1), date(2025, 5, 29))
WEEK = Window.inclusive(date(2025, 3, 1), date(2025, 3, 7))
STORE = Store("A123", "Invented", SyncGroup.TD, "C1", SINCE)


@pytest.fixture
def crm() -> Iterator[DemoCrm]:
    with DemoCrm(stores=["A123"], since=SINCE) as crm:
        yield crm


Feeds = Callable[..., Feed]


@pytest.fixture
def feed_with(crm: DemoCrm) -> Iterator[Feeds]:
    """Make feeds whose retries are quick."""
    feeds: list[Feed] = []

    def make(**extra: Any) -> Feed:
        connection = parse_crm("crm_td", crm.connection(**{"pause": 0.001, "attempts": 3, **extra}))
        feeds.append(feed_of(connection, ZoneInfo("Asia/Kolkata")))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()


@pytest.fixture
def feed(feed_with: Feeds) -> Feed:
    return feed_with()


def expected(crm: DemoCrm, report: Report, window: Window) -> list[tuple[str | None, ...]]:
    """The rows as text, as the frame has them."""
    return [
        tuple(None if (cell := row[key_of(header)]) is None else str(cell) for header in report.headers)
        for row in crm.rows(report, STORE.code, window)
    ]


def assert_whole(download: Download, crm: DemoCrm, report: Report = TD_ORDERS, window: Window = WINDOW) -> None:
    assert download.rows.columns == report.headers
    assert download.rows.rows() == expected(crm, report, window)
    assert download.rows.height > 0


def pages(crm: DemoCrm) -> list[tuple[int, int]]:
    return [(int(asked.params["page"]), int(asked.params["pageSize"])) for asked in crm.asked()]


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_report_comes_whole_without_its_totals_and_no_number_is_a_float(
    crm: DemoCrm, feed: Feed, report: Report
) -> None:
    crm.faults.page_size = 200
    assert_whole(feed.fetch(report, STORE, WINDOW), crm, report)
    assert 410 <= len(crm.rows(report, STORE.code, WINDOW)) <= 740


def test_a_session_logs_in_once_and_asks_in_pages(crm: DemoCrm, feed: Feed) -> None:
    crm.seed = next(seed for seed in range(99) if len(DemoCrm(seed).rows(TD_ORDERS, STORE.code, WINDOW)) > 500)
    for _ in range(2):
        assert_whole(feed.fetch(TD_ORDERS, STORE, WINDOW), crm)
    assert pages(crm) == [(1, 500), (2, 500)] * 2
    assert len(crm.asked("/login")) == 1
    assert crm.asked()[0].params == {
        "storeCode": "A123", "startDate": "2025-03-01", "endDate": "2025-05-29", "page": "1", "pageSize": "500",
    }  # fmt: skip


def test_a_window_of_which_the_source_says_that_it_is_empty_is_confirmed(crm: DemoCrm, feed: Feed) -> None:
    before = Window.inclusive(date(2024, 1, 1), date(2024, 1, 31))
    download = feed.fetch(TD_SALES, STORE, before)
    assert (download.rows.height, download.rows.columns, download.empty_confirmed) == (0, TD_SALES.headers, True)
    crm.faults.no_total = True
    assert not feed.fetch(TD_SALES, STORE, before).empty_confirmed


@pytest.mark.parametrize("no_total", [True, False])
def test_a_page_is_not_the_last_because_it_is_short(crm: DemoCrm, feed: Feed, no_total: bool) -> None:
    crm.faults.page_size, crm.faults.hide_size, crm.faults.no_total = 100, True, no_total
    assert_whole(feed.fetch(TD_ORDERS, STORE, WINDOW), crm)
    last = -(-len(crm.rows(TD_ORDERS, STORE.code, WINDOW)) // 100)
    assert pages(crm) == [(page, 500) for page in range(1, last + 1 + no_total)]


def test_pages_that_the_server_makes_smaller_are_counted_by_its_size(crm: DemoCrm, feed: Feed) -> None:
    crm.faults.page_size = 120
    assert_whole(feed.fetch(TD_ORDERS, STORE, WINDOW), crm)
    assert pages(crm)[:3] == [(1, 500), (2, 120), (3, 120)]


def test_pages_become_smaller_when_they_take_too_long_and_stay_so(crm: DemoCrm, feed_with: Feeds) -> None:
    feed = feed_with(timeout=0.2)
    crm.faults.delay, crm.faults.slow_from = 2.0, 250
    assert_whole(feed.fetch(TD_ORDERS, STORE, WINDOW), crm)
    assert pages(crm)[:4] == [(1, 500), (1, 250), (1, 100), (2, 100)]
    feed.fetch(TD_ORDERS, STORE, WEEK)
    assert pages(crm)[-1] == (1, 100)


def test_a_server_that_is_too_slow_for_the_smallest_page_is_unavailable(crm: DemoCrm, feed_with: Feeds) -> None:
    crm.faults.delay = 2.0
    with pytest.raises(FeedUnavailable, match=r"store A123: td_orders of .*not answered in time"):
        feed_with(timeout=0.1, attempts=2).fetch(TD_ORDERS, STORE, WINDOW)
    assert pages(crm) == [(1, 500), (1, 250), (1, 100), (1, 100)]


@pytest.mark.parametrize("fault", ["errors", "busy", "drops"])
def test_what_passes_is_waited_for_and_what_does_not_is_told(crm: DemoCrm, feed: Feed, fault: str) -> None:
    setattr(crm.faults, fault, 2)
    assert_whole(feed.fetch(TD_ORDERS, STORE, WEEK), crm, window=WEEK)
    setattr(crm.faults, fault, 3)
    with pytest.raises(FeedUnavailable, match=r"store A123: td_orders of 2025-03-01\.\.2025-03-07: crm_td: /"):
        feed.fetch(TD_ORDERS, STORE, WEEK)
    assert len(crm.asked()) == 6


@pytest.mark.parametrize("wait", ["1", lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)])
def test_a_server_that_says_when_to_come_again_is_not_asked_before(
    crm: DemoCrm, feed: Feed, wait: str | Callable[[], str]
) -> None:
    crm.faults.busy, crm.faults.retry_after = 1, wait if isinstance(wait, str) else wait()
    began = time.monotonic()
    feed.fetch(TD_ORDERS, STORE, WEEK)
    assert time.monotonic() - began >= 0.9


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("soon", None), ("7", 7), ("86400", LONGEST_RETRY_AFTER),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Fri, 31 Dec 2999 23:59:59 GMT", LONGEST_RETRY_AFTER)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_and_has_a_limit(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_a_server_that_is_not_there_is_unavailable(crm: DemoCrm, feed: Feed) -> None:
    crm.__exit__()
    with pytest.raises(FeedUnavailable, match="broke off"):
        feed.fetch(TD_ORDERS, STORE, WEEK)


SPOILT: list[dict[str, Any]] = [
    {"repeat": 2},
    {"stop": 2},
    {"stop": 1},
    {"change": 2},
]


@pytest.mark.parametrize("fault", SPOILT, ids=str)
def test_a_report_whose_pages_do_not_fit_is_read_again(crm: DemoCrm, feed: Feed, fault: dict[str, Any]) -> None:
    crm.faults.page_size = 200
    for name, value in {**fault, "times": 1}.items():
        setattr(crm.faults, name, value)
    assert_whole(feed.fetch(TD_ORDERS, STORE, WINDOW), crm)
    assert [page for page, _ in pages(crm)].count(1) == 2


@pytest.mark.parametrize("report", [TD_ORDERS, TD_SALES], ids=lambda report: report.code)
@pytest.mark.parametrize("fault", [{"overlap": 2, "times": 1}, {"repeat": 2, "edit": 2, "times": 2}], ids=str)
def test_a_row_that_comes_again_on_a_later_page_has_the_report_read_again(
    crm: DemoCrm, feed: Feed, report: Report, fault: dict[str, Any]
) -> None:
    crm.faults.page_size = 200
    for name, value in fault.items():
        setattr(crm.faults, name, value)
    assert_whole(feed.fetch(report, STORE, WINDOW), crm, report)
    assert [page for page, _ in pages(crm)].count(1) == 2


@pytest.mark.parametrize(
    ("report", "other"), [(TD_SALES, {}), (TD_ORDERS, {"name": "Bakilo"}), (UC_GST, {"customer_name": "Bakilo"})]
)
def test_what_a_report_has_twice_is_its_own_when_it_reads_the_same_again(
    crm: DemoCrm, feed: Feed, report: Report, other: dict[str, Any]
) -> None:
    last = crm.rows(report, STORE.code, WEEK)[-1]
    crm.faults.page_size = len(crm.rows(report, STORE.code, WEEK))
    crm.add(report, STORE.code, WEEK.last_day, {**last, **other})
    assert_whole(feed.fetch(report, STORE, WEEK), crm, report, WEEK)
    assert [page for page, _ in pages(crm)] == [1, 2, 1, 2]


def test_doubles_that_differ_with_each_reading_are_not_the_reports_own(crm: DemoCrm, feed: Feed) -> None:
    crm.faults.page_size, crm.faults.overlap, crm.faults.change = 200, 2, 1
    with pytest.raises(ReportChanged, match="rows of earlier pages came again: 1"):
        feed.fetch(TD_ORDERS, STORE, WINDOW)
    assert [page for page, _ in pages(crm)].count(1) == 4


def test_a_server_that_knows_no_pages_is_not_asked_for_ever(crm: DemoCrm, feed: Feed) -> None:
    before = Window.inclusive(date(2024, 1, 1), date(2024, 1, 1))
    crm.add(TD_SALES, STORE.code, before.start, crm.rows(TD_SALES, STORE.code, WEEK)[0])
    crm.faults.no_total, crm.faults.repeat = True, 2
    with pytest.raises(ReportChanged, match="page 2 repeats an earlier one"):
        feed.fetch(TD_SALES, STORE, before)


@pytest.mark.parametrize("fault", [*SPOILT, {"repeat": 2, "edit": 2}, {"wrong_total": 1}, {"wrong_total": -1}], ids=str)
def test_a_report_whose_pages_never_fit_is_given_up(crm: DemoCrm, feed: Feed, fault: dict[str, Any]) -> None:
    crm.faults.page_size = 200
    for name, value in fault.items():
        setattr(crm.faults, name, value)
    with pytest.raises(ReportChanged, match="store A123: td_orders of"):
        feed.fetch(TD_ORDERS, STORE, WINDOW)
    assert [page for page, _ in pages(crm)].count(1) == 4


def test_an_answer_of_another_window_is_not_taken(crm: DemoCrm, feed: Feed) -> None:
    crm.faults.window = ("2025-03-01", "2025-03-06")
    told = r"asked for 2025-03-01\.\.2025-03-07, the answer is of 2025-03-01\.\.2025-03-06"
    with pytest.raises(ReportUnusable, match=told):
        feed.fetch(TD_ORDERS, STORE, WEEK)
    assert len(crm.asked()) == 1


def test_a_token_that_expired_is_renewed_once(crm: DemoCrm, feed: Feed) -> None:
    crm.faults.page_size, crm.faults.expired = 200, 1
    assert_whole(feed.fetch(TD_ORDERS, STORE, WINDOW), crm)
    assert len(crm.asked("/login")) == 2
    crm.faults.expired = 2
    with pytest.raises(AccessDenied, match="crm_td: /reports/orders is refused to the login"):
        feed.fetch(TD_ORDERS, STORE, WINDOW)


def test_a_login_that_is_refused_is_not_tried_again(crm: DemoCrm, feed: Feed) -> None:
    crm.faults.refuse_logins = True
    with pytest.raises(AccessDenied, match=r"store A123.*crm_td: the login was refused"):
        feed.fetch(TD_ORDERS, STORE, WEEK)
    assert len(crm.asked("/")) == 1


def test_paths_are_those_of_the_connection(crm: DemoCrm, feed_with: Feeds) -> None:
    assert_whole(feed_with(paths={"td_orders": "/reports/gst"}).fetch(UC_GST, STORE, WEEK), crm, UC_GST, WEEK)
    with pytest.raises(ReportUnusable, match=r"/v2/orders answered 404; check .*`paths`"):
        feed_with(paths={"td_orders": "/v2/orders"}).fetch(TD_ORDERS, STORE, WEEK)
    with pytest.raises(NotConfigured, match=r"no login at /auth \(404\)"):
        feed_with(login_path="/auth").fetch(TD_ORDERS, STORE, WEEK)


def test_a_report_without_a_column_is_refused_by_its_name(crm: DemoCrm, feed_with: Feeds) -> None:
    with pytest.raises(ReportUnusable, match=r"store A123: td_sales of .*: no column .*'Payment Date'"):
        feed_with(paths={"td_sales": "/reports/gst"}, attempts=1).fetch(TD_SALES, STORE, WEEK)


def test_a_bad_row_is_a_row_and_a_field_may_be_left_out_of_some(crm: DemoCrm, feed: Feed) -> None:
    bad = {"customer_name": "Bakilo Mune", "payment_received": "1,00,000.00"}
    crm.add(TD_SALES, STORE.code, WEEK.last_day, bad)
    download = feed.fetch(TD_SALES, STORE, WEEK)
    assert download.rows.height == len(crm.rows(TD_SALES, STORE.code, WEEK))
    last = download.rows.row(-1, named=True)
    assert {name: cell for name, cell in last.items() if cell} == {
        "Customer Name": "Bakilo Mune", "Payment Received": "1,00,000.00",
    }  # fmt: skip


def test_what_is_late_comes_with_the_next_reading(crm: DemoCrm, feed: Feed) -> None:
    number = crm.add_late(STORE.code, WEEK.start, after=1)
    first = feed.fetch(TD_ORDERS, STORE, WEEK).rows
    changed = first["Order No."][0]
    crm.change(TD_ORDERS, STORE.code, changed, order_status="Cancelled")
    feed.fetch(UC_GST, STORE, WEEK)
    second = feed.fetch(TD_ORDERS, STORE, WEEK).rows
    assert set(second["Order No."]) - set(first["Order No."]) == {number}
    assert second.row(0, named=True)["Order Status"] == "Cancelled"


def test_messages_and_logs_hold_no_secret_and_no_row(
    crm: DemoCrm, feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    crm.faults.errors = crm.faults.expired = 1
    crm.faults.wrong_total = 1
    with caplog.at_level(logging.DEBUG), pytest.raises(ReportChanged) as told:
        feed.fetch(TD_ORDERS, STORE, WEEK)
    row = crm.rows(TD_ORDERS, STORE.code, WEEK)[0]
    for secret in (PASSWORD, "Bearer", row["name"], row["order_no"]):
        assert secret not in f"{told.value!r} {caplog.text}"


def test_the_demo_can_change_its_data_from_another_process(crm: DemoCrm, feed: Feed) -> None:
    with httpx.Client(base_url=crm.url, trust_env=False) as client:
        late = client.post("/demo/late", json={"store": "A123", "day": "2025-03-02"}).json()["number"]
        change = {"report": "td_orders", "store": "A123", "number": late, "values": {"order_status": "Lost"}}
        assert client.post("/demo/change", json=change).is_success
    rows = feed.fetch(TD_ORDERS, STORE, WEEK).rows
    assert [row["Order Status"] for row in rows.iter_rows(named=True) if row["Order No."] == late] == ["Lost"]
