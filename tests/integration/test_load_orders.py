"""The final tables hold what the reports said last, whatever is loaded again, and what later steps filled stays."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import psycopg
import pytest
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from include.connections import Connection, parse
from include.demo.postgres import EmbeddedPostgres
from include.engines.postgres.connect import connect
from include.orders_sync.ingest import ingest
from include.orders_sync.load import Loaded, load
from include.orders_sync.reports import TD_ORDERS, TD_SALES, UC_GST, Report
from include.windows import Window
from tests.integration.conftest import fresh_database

KOLKATA = ZoneInfo("Asia/Kolkata")
FIRST = date(2025, 10, 1)
WEEK = Window.inclusive(FIRST, date(2025, 10, 7))

Row = dict[str, str | None]
Snapshot = list[dict[str, Any]]

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Desk:
    """A store of its own in the control database, and a session to load its reports with."""

    session: psycopg.Connection[Any]
    pipeline_id: int
    store_code: str
    cost_center: str

    def load(self, report: Report, rows: Sequence[Row], run_id: str = "run", window: Window = WEEK) -> Loaded:
        frame = pl.DataFrame(rows, schema=dict.fromkeys(report.headers, pl.String))
        ingested = ingest(report, frame, KOLKATA, window)
        with self.transaction():
            return load(
                self.session,
                report,
                ingested,
                pipeline_id=self.pipeline_id,
                store_code=self.store_code,
                cost_center=self.cost_center,
                run_id=run_id,
                window=window,
            )

    def transaction(self) -> AbstractContextManager[object]:
        """Begin a transaction, or stay in the one that there is."""
        is_idle = self.session.info.transaction_status is TransactionStatus.IDLE
        return self.session.transaction() if is_idle else nullcontext()

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        chosen = sql.SQL(", ").join(map(sql.Identifier, columns))
        query = sql.SQL("SELECT {} FROM {} WHERE cost_center = %s ORDER BY {}")
        found = self.session.execute(query.format(chosen, sql.Identifier("public", table), chosen), [self.cost_center])
        return found.fetchall()

    def snapshot(self, table: str) -> Snapshot:
        """Return all there is of the rows, also which transaction wrote them."""
        with self.session.cursor(row_factory=dict_row) as cursor:
            query = sql.SQL("SELECT xmin::text AS writer, * FROM {} WHERE cost_center = %s ORDER BY id")
            return cursor.execute(query.format(sql.Identifier("public", table)), [self.cost_center]).fetchall()

    def change(self, statement: str) -> None:
        """Do what a later step does to the orders."""
        self.session.execute(
            f"UPDATE public.orders SET {statement} WHERE cost_center = %s".encode(), [self.cost_center]
        )


@pytest.fixture(scope="module")
def control(server: EmbeddedPostgres, templates: dict[str, str]) -> Connection:
    return parse("control", server.uri(fresh_database(server, "orders", templates["control"])))


@pytest.fixture(scope="module")
def session(control: Connection) -> Iterator[psycopg.Connection[Any]]:
    with closing(connect(control, autocommit=True)) as session:
        yield session


def new_desk(session: psycopg.Connection[Any]) -> Desk:
    number = next(_numbers)
    row = session.execute("SELECT id FROM public.pipelines WHERE code = 'td_orders_sync'").fetchone()
    assert row is not None
    return Desk(session, row[0], f"S{number}", f"C{number}")


@pytest.fixture
def desk(session: psycopg.Connection[Any]) -> Desk:
    return new_desk(session)


def at(day: int, second: int = 0) -> datetime:
    return datetime(2025, 10, 1, 14, 15, tzinfo=KOLKATA) + timedelta(days=day, seconds=second)


def written(moment: datetime) -> str:
    return moment.strftime("%d %b %Y %I:%M:%S %p")


def order(number: str | None = "T1", day: int = 0, **texts: str | None) -> Row:
    """Return a row of the report of TD's orders; words of a header have underscores between them."""
    values = {header.replace("_", " "): text for header, text in texts.items()}
    return {"Order No.": number, "Order Date / Time": written(at(day)), **values}


def payment(number: str = "T1", day: int = 0, second: int = 0, **texts: str | None) -> Row:
    values = {header.replace("_", " "): text for header, text in texts.items()}
    return {"Order Number": number, "Payment Date": written(at(day, second)), **values}


def booking(number: str = "U1", day: int = 0, **texts: str | None) -> Row:
    values = {header.replace("_", " "): text for header, text in texts.items()}
    return {"Booking ID": number, "Invoice Date": f"{at(day):%d/%m/%Y}", **values}


def test_an_order_is_in_the_table_with_its_types(desk: Desk) -> None:
    rows = [
        order(Name="Asha", Phone="+91 98765 43210", Weight="3.255", Net_Amount="₹1,23,456.50", Due_Date="05/10/2025")
    ]
    assert desk.load(TD_ORDERS, rows, "first") == Loaded(ingested=1, inserted=1, updated=0, dropped=0)
    (row,) = desk.snapshot("orders")
    assert {name: row[name] for name in ("run_id", "store_code", "order_number", "customer_name", "mobile_no")} == {
        "run_id": "first",
        "store_code": desk.store_code,
        "order_number": "T1",
        "customer_name": "Asha",
        "mobile_no": "9876543210",
    }
    assert (row["weight"], row["net_amount"]) == (Decimal("3.255"), Decimal("123456.50"))
    assert row["order_date"] == datetime(2025, 10, 1, 8, 45, tzinfo=UTC)
    assert row["due_date"] == datetime(2025, 10, 4, 18, 30, tzinfo=UTC)


def test_a_booking_is_in_the_same_table(desk: Desk) -> None:
    desk.load(UC_GST, [booking(Taxable_Value="100", CGST="9", SGST="9.5", Payment_Status="Paid")])
    columns = ("order_number", "gross_amount", "tax_amount", "payment_status", "due_date")
    assert desk.rows("orders", *columns) == [("U1", Decimal(100), Decimal("18.5"), "Paid", None)]


def test_text_of_any_kind_arrives_as_it_is(desk: Desk) -> None:
    note = 'a\tb\n\\.\n\\N "q", \\x ₹ 🧺'
    desk.load(TD_ORDERS, [order(Order_Note=note, Comment="\\N", Tags="\0")])
    assert desk.rows("orders", "order_note", "comment", "tags") == [(note, "\\N", None)]


@pytest.mark.parametrize(
    ("report", "rows"),
    [
        (TD_ORDERS, [order(Phone="12", Order_Status="Ready"), order("T2", Net_Amount="5")]),
        (TD_SALES, [payment(Payment_Received="5"), payment(Payment_Received="5"), payment(second=1)]),
        (UC_GST, [booking(CGST="1"), booking("U2")]),
    ],
    ids=["td_orders", "td_sales", "uc_gst"],
)
def test_loading_a_report_again_changes_nothing(desk: Desk, report: Report, rows: list[Row]) -> None:
    desk.load(report, rows, "first")
    before = desk.snapshot(report.target)
    again = desk.load(report, list(reversed(rows)), "second")
    assert again == Loaded(ingested=len(rows), inserted=0, updated=0, dropped=0)
    assert desk.snapshot(report.target) == before


def test_only_what_differs_is_written_under_the_new_run(desk: Desk) -> None:
    desk.load(TD_ORDERS, [order("T1", Paid="1"), order("T2", Paid="1")], "first")
    before = {row["order_number"]: row for row in desk.snapshot("orders")}
    loaded = desk.load(TD_ORDERS, [order("T1", Paid="1"), order("T2", Paid="2"), order("T3")], "second")
    assert loaded == Loaded(ingested=3, inserted=1, updated=1, dropped=0)
    after = {row["order_number"]: row for row in desk.snapshot("orders")}
    assert after["T1"] == before["T1"]
    assert (after["T2"]["run_id"], after["T2"]["paid"]) == ("second", 2)
    assert (after["T2"]["id"], after["T2"]["created_at"]) == (before["T2"]["id"], before["T2"]["created_at"])
    assert after["T2"]["updated_at"] > before["T2"]["updated_at"]


def test_what_later_steps_filled_survives(desk: Desk) -> None:
    desk.session.execute("ALTER TABLE public.orders ADD COLUMN IF NOT EXISTS delivered_by text")
    desk.load(TD_ORDERS, [order(Paid="1")])
    desk.change(
        "enrichment = '{\"area\": 7}', created_at = '2020-01-01+00', delivered_by = 'Ravi', payment_status = 'Paid'"
    )
    assert desk.load(TD_ORDERS, [order(Paid="2")]).updated == 1
    columns = ("enrichment", "created_at", "delivered_by", "payment_status", "paid")
    assert desk.rows("orders", *columns) == [
        ({"area": 7}, datetime(2020, 1, 1, tzinfo=UTC), "Ravi", "Paid", Decimal(2))
    ]


def test_an_empty_field_empties_only_what_later_steps_do_not_fill(desk: Desk) -> None:
    desk.load(TD_ORDERS, [order(Name="Asha", Phone="9876543210", Order_Status="Ready", Order_Note="fold")])
    desk.load(TD_ORDERS, [order(Name=None, Phone="12", Order_Status=None, Order_Note=None)])
    columns = ("customer_name", "mobile_no", "order_status", "order_note", "remarks")
    assert desk.rows("orders", *columns) == [("Asha", "9876543210", "Ready", None, "phone unusable")]
    before = desk.snapshot("orders")
    assert desk.load(TD_ORDERS, [order(Phone="12")], "again").updated == 0
    assert desk.snapshot("orders") == before


STATUSES = pytest.mark.parametrize(
    ("report", "row", "header", "status"),
    [(TD_ORDERS, order(), "Order Status", "order_status"), (UC_GST, booking(), "Payment Status", "payment_status")],
    ids=["td_orders", "uc_gst"],
)


@STATUSES
def test_a_status_of_a_later_step_stays_until_the_report_has_news(
    desk: Desk, report: Report, row: Row, header: str, status: str
) -> None:
    def load(text: str | None) -> int:
        return desk.load(report, [{**row, header: text}]).updated

    def found() -> tuple[Any, ...]:
        (values,) = desk.rows("orders", status, f"{status}_reported")
        return values

    load("Open")
    assert found() == ("Open", "Open")
    desk.change(f"{status} = 'Later'")
    before = desk.snapshot("orders")
    assert (load("Open"), load(None)) == (0, 0)
    assert desk.snapshot("orders") == before
    assert load("Closed") == 1
    assert found() == ("Closed", "Closed")
    desk.change(f"{status} = NULL")
    assert load("Closed") == 0
    assert load("Open") == 1
    assert found() == ("Open", "Open")


@STATUSES
@pytest.mark.parametrize(("present", "kept"), [("'Later'", "Later"), ("NULL", "Open")])
def test_a_status_whose_origin_is_unknown_stays(
    desk: Desk, report: Report, row: Row, header: str, status: str, present: str, kept: str
) -> None:
    desk.load(report, [{**row, header: "Open"}])
    desk.change(f"{status} = {present}, {status}_reported = NULL")
    assert desk.load(report, [{**row, header: "Open"}]).updated == 1
    assert desk.rows("orders", status, f"{status}_reported") == [(kept, "Open")]
    before = desk.snapshot("orders")
    assert desk.load(report, [{**row, header: "Open"}]).updated == 0
    assert desk.snapshot("orders") == before


def test_a_missing_due_date_is_three_days_later_until_there_is_one(desk: Desk) -> None:
    def due() -> datetime:
        ((found,),) = desk.rows("orders", "due_date")
        return found

    desk.load(TD_ORDERS, [order()])
    assert due() == at(3)
    assert desk.rows("stg_td_orders", "due_date") == [(None,)]
    assert desk.load(TD_ORDERS, [order()], "again").updated == 0
    assert desk.load(TD_ORDERS, [order(Due_Date=written(at(5)))]).updated == 1
    assert desk.load(TD_ORDERS, [order()], "again").updated == 0
    assert due() == at(5)
    desk.load(TD_ORDERS, [order(Due_Date=written(at(3)))])
    assert due() == at(3)


def test_dropped_rows_are_kept_once_with_reason_and_hash(desk: Desk) -> None:
    rows = [order(), order(None, Name="Åsa"), order(Tags="x")]
    assert desk.load(TD_ORDERS, rows, "first") == Loaded(ingested=1, inserted=1, updated=0, dropped=2)
    assert desk.load(TD_ORDERS, [order("T9"), *rows], "second").dropped == 2
    found = desk.session.execute(
        "SELECT run_id, report, from_date, to_date, row_number, reason, content, content_hash"
        " FROM public.dropped_rows WHERE store_code = %s ORDER BY row_number",
        [desk.store_code],
    ).fetchall()
    assert [row[:6] for row in found] == [
        ("first", "td_orders", FIRST, date(2025, 10, 7), 1, "duplicate of row 3"),
        ("first", "td_orders", FIRST, date(2025, 10, 7), 2, "no Order No."),
    ]
    for *_, content, content_hash in found:
        text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        assert content_hash == hashlib.sha256(text.encode()).hexdigest()
    assert found[1][6]["Name"] == "Åsa"


@pytest.mark.parametrize(("gone", "left"), [("1", "2"), ("2", "1")])
def test_a_payment_that_was_taken_back_is_gone_and_the_other_is_there_once(desk: Desk, gone: str, left: str) -> None:
    desk.load(TD_SALES, [payment(Payment_Received=gone), payment(Payment_Received=left)])
    assert desk.load(TD_SALES, [payment(Payment_Received=left)]).updated > 0
    assert desk.rows("sales", "payment_no", "payment_received") == [(1, Decimal(left))]
    assert desk.load(TD_SALES, [payment(Payment_Received=left)]).updated == 0


def test_payments_of_other_seconds_stay_when_a_report_lacks_them(desk: Desk) -> None:
    desk.load(TD_SALES, [payment(Payment_Received="1")])
    desk.load(TD_SALES, [payment(Payment_Received="2", Payment_Date="02 Oct 2025 02:15:00 PM")])
    assert len(desk.rows("sales", "payment_no")) == 2


def test_staging_holds_the_last_report_of_each_store(desk: Desk) -> None:
    neighbour = replace(desk, store_code=f"{desk.store_code}N")
    neighbour.load(TD_ORDERS, [order("T1")])
    desk.load(TD_ORDERS, [order("T2"), order("T3")])
    desk.load(TD_ORDERS, [order("T4")])
    columns = ("store_code", "order_number")
    assert desk.rows("stg_td_orders", *columns) == [(desk.store_code, "T4"), (neighbour.store_code, "T1")]


def test_of_two_stores_of_a_cost_center_the_last_has_the_order(desk: Desk) -> None:
    neighbour = replace(desk, store_code=f"{desk.store_code}N")
    desk.load(TD_ORDERS, [order()])
    assert neighbour.load(TD_ORDERS, [order()]).updated == 1
    assert desk.rows("orders", "store_code") == [(neighbour.store_code,)]
