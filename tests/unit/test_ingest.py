"""What a report's texts become, what is dropped, and why."""

from __future__ import annotations

import logging
import random
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.errors import ReportUnusable
from include.orders_sync import clean, tables
from include.orders_sync.feeds.frames import header_of
from include.orders_sync.ingest import Ingested, ingest
from include.orders_sync.reports import REPORTS, TD_ORDERS, TD_SALES, UC_GST, Report
from include.windows import Window

KOLKATA = ZoneInfo("Asia/Kolkata")
OCTOBER = Window(date(2025, 10, 1), date(2025, 11, 1))

KEYS: dict[str, dict[str, str | None]] = {
    "td_orders": {"Order No.": "T1", "Order Date / Time": "05 Oct 2025 02:15:00 PM"},
    "td_sales": {"Order Number": "T1", "Payment Date": "05 Oct 2025 02:15:00 PM"},
    "uc_gst": {"Booking ID": "U1", "Invoice Date": "05/10/2025"},
}


def read(report: Report, *rows: dict[str, str | None], zone: ZoneInfo = KOLKATA, window: Window = OCTOBER) -> Ingested:
    """Ingest rows that have a key where they do not say otherwise."""
    schema = dict.fromkeys(report.headers, pl.String)
    frame = pl.DataFrame([dict.fromkeys(schema) | KEYS[report.code] | row for row in rows], schema=schema)
    return ingest(report, frame, zone, window)


def value(report: Report, header: str, text: str | None, **options: Any) -> tuple[Any, str | None]:
    """Return what becomes of a text, and the remark."""
    (row,) = read(report, {header: text}, **options).rows.to_dicts()
    (name,) = (field.name for field in report.columns if field.header == header)
    return row[name or ""], row["remarks"]


@pytest.mark.parametrize("report", REPORTS.values(), ids=list(REPORTS))
def test_the_rows_have_the_columns_of_the_staging_table(report: Report) -> None:
    staged = [column.name for column in tables.staging[report.staging].columns]
    origin = {"store_code", "cost_center", "run_id"}
    for rows in (read(report, {}).rows, read(report).rows):
        assert rows.columns == [name for name in staged if name not in origin]


def test_values_have_the_types_of_the_tables() -> None:
    orders, sales = read(TD_ORDERS, {}).rows.schema, read(TD_SALES, {}).rows.schema
    assert orders["weight"] == pl.Decimal(14, 3)
    assert orders["net_amount"] == pl.Decimal(14, 2)
    assert orders["order_date"] == pl.Datetime("us", "Asia/Kolkata")
    assert sales["order_date"] == pl.Date
    assert sales["payment_no"] == pl.Int16


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", "12"),
        ("1,234.5", "1234.5"),
        ("1,23,456.00", "123456"),
        ("12,34,56,789.01", "123456789.01"),
        ("1,234,567", "1234567"),
        ("₹1,250.50", "1250.5"),
        ("₹ 1,250.50", "1250.5"),
        ("Rs. 99", "99"),
        ("Rs 99", "99"),
        ("-12.50", "-12.5"),
        ("(12.50)", "-12.5"),
        ("(₹1,250.50)", "-1250.5"),
        ("12.50-", "-12.5"),
        ("₹-12.50", "-12.5"),
        ("-₹12.50", "-12.5"),
        ("\N{MINUS SIGN}12.50", "-12.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("0.005", "0.01"),
        ("-0.005", "-0.01"),
        ("0.00499999", "0"),
        ("1.005", "1.01"),
        ("-2.842170943040401e-14", "0"),
        ("1E-05", "0"),
        ("999999999999.99", "999999999999.99"),
        ("9007199254740.93", None),
        ("900719925474.93", "900719925474.93"),
        ("999999999999.995", None),
        ("1000000000000", None),
        ("1,23", None),
        ("12,5", None),
        ("1,2345", None),
        (",123", None),
        ("12 50", None),
        ("12.5.0", None),
        ("--5", None),
        ("(-5)", None),
        ("(5", None),
        ("1.2E3", None),
        ("5e-4", None),
        ("-", None),
        (".", None),
        ("nan", None),
        ("١٢", None),
        ("12 kg", None),
        ("0x10", None),
    ],
)
def test_numbers_are_read_exactly_or_not_at_all(text: str, expected: str | None) -> None:
    amount, remark = value(TD_ORDERS, "Net Amount", text)
    assert amount == (Decimal(expected) if expected is not None else None)
    assert remark == (None if expected is not None else "Net Amount unreadable")


def test_a_weight_has_three_decimals() -> None:
    assert value(TD_ORDERS, "Weight", "1.2345") == (Decimal("1.235"), None)


@given(st.decimals("-99999999999", "99999999999", places=6, allow_nan=False, allow_infinity=False))
def test_a_number_is_rounded_as_people_do(number: Decimal) -> None:
    texts = pl.DataFrame({"text": [f"{number:f}", f"{number:,f}"]})
    rounded = number.quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert texts.select(clean.number("text", 2)).to_series().to_list() == [rounded, rounded]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9876543210", "9876543210"),
        (" 98765 43210 ", "9876543210"),
        ("98765-43210", "9876543210"),
        ("(98765) 432.10", "9876543210"),
        ("+919876543210", "9876543210"),
        ("+91 98765 43210", "9876543210"),
        ("(+91) 98765-43210", "9876543210"),
        ("\u202a+91\N{NO-BREAK SPACE}98765\N{NON-BREAKING HYPHEN}43210\u202c", "9876543210"),
        ("00919876543210", "9876543210"),
        ("919876543210", "9876543210"),
        ("09876543210", "9876543210"),
        ("9176543210", "9176543210"),
        ("Mob: 9876543210 (home)", "9876543210"),
        ("9876543210.0", "9876543210"),
        ("919876543210.0", "9876543210"),
        ("9.87654321E9", "9876543210"),
        ("9.876543211e+09", "9876543211"),
        ("9.1987654321E11", "9876543210"),
        ("9876543210/9123456789", "9876543210"),
        ("12345 / 9123456789", "9123456789"),
        ("98765, +91 91234 56789", "9123456789"),
        ("9876543210 / 11", "9876543210"),
        ("9876543210 9123456789", None),
        ("98765/43210", None),
        ("987654321", None),
        ("98765432101", None),
        ("98765.0", None),
        ("98765.00000", None),
        ("0123456789", None),
        ("00123456789", None),
        ("910123456789", None),
        ("9999999999", None),
        ("+91 9999999999", None),
        ("0000000000", None),
        ("9.88E+09", None),
        ("9.19877E+11", None),
        ("+65 8123 4567", None),
        ("+9198765432", None),
        ("+14155552671", None),
        ("987654321 ext 5", None),
        ("9176543210 ext 12", None),
        ("98765O3210", None),
        ("९८७६५४३२१०", None),
        ("n/a", None),
    ],
)
def test_a_phone_has_ten_digits_or_is_not_kept(text: str, expected: str | None) -> None:
    assert value(TD_ORDERS, "Phone", text) == (expected, None if expected else "phone unusable")


@given(st.text("0123456789+-/,. ()Ee", max_size=20))
def test_a_phone_is_never_invented(text: str) -> None:
    phone = pl.DataFrame({"text": [text]}).select(clean.phone("text")).item()
    assert phone is None or (len(phone) == 10 and phone in "".join(filter(str.isdigit, text)) + "0")


def test_moments_are_those_of_the_zone() -> None:
    moment, _ = value(TD_ORDERS, "Order Date / Time", "05 Oct 2025 11:45:10 PM")
    assert moment == datetime(2025, 10, 5, 18, 15, 10, tzinfo=UTC)
    assert value(TD_SALES, "Order Date", "05 Oct 2025") == (date(2025, 10, 5), None)
    assert value(UC_GST, "Invoice Date", "05/10/2025")[0] == datetime(2025, 10, 4, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 Mar 2025 02:30:00 AM", datetime(2025, 3, 30, 1, 30, tzinfo=UTC)),
        ("26 Oct 2025 02:30:00 AM", datetime(2025, 10, 26, 0, 30, tzinfo=UTC)),
    ],
)
def test_hours_that_a_clock_skips_or_shows_twice_are_read_as_python_does(text: str, expected: datetime) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moment, remark = value(TD_ORDERS, "Due Date", text, zone=berlin)
    assert (moment.astimezone(UTC), remark) == (expected, None)
    assert expected == datetime.strptime(text, "%d %b %Y %I:%M:%S %p").replace(tzinfo=berlin).astimezone(UTC)


@pytest.mark.parametrize("text", ["31 Feb 2025", "2025-13-01", "soon", "01 Jan 0001", "10/25/2025"])
def test_a_date_that_is_none_is_left_out_with_a_remark(text: str) -> None:
    assert value(TD_ORDERS, "Due Date", text) == (None, "Due Date unreadable")
    assert value(TD_SALES, "Order Date", text) == (None, "Order Date unreadable")


def test_a_remark_names_each_field_and_no_value() -> None:
    (row,) = read(TD_ORDERS, {"Phone": "12345", "Weight": "heavy", "Due Date": "soon"}).rows.to_dicts()
    assert row["remarks"] == "phone unusable; Due Date unreadable; Weight unreadable"


def test_texts_lose_nul_and_the_white_space_around_them() -> None:
    rows = read(TD_ORDERS, {"Name": " A\0sha\n", "Comment": "\0", "Tags": "  ", "Order No.": " T1 "}).rows
    assert rows.select("customer_name", "comment", "tags", "order_number").row(0) == ("Asha", None, None, "T1")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"Order No.": None}, "no Order No."),
        ({"Order No.": " \0"}, "no Order No."),
        ({"Order No.": "T" * 65}, "Order No. longer than 64 characters"),
        ({"Order Date / Time": None}, "no Order Date / Time"),
        ({"Order Date / Time": "31 Feb 2025"}, "Order Date / Time unreadable"),
        ({"Order No.": None, "Order Date / Time": None}, "no Order No.; no Order Date / Time"),
    ],
)
def test_a_row_without_a_key_is_dropped_with_its_reason(row: dict[str, str | None], reason: str) -> None:
    result = read(TD_ORDERS, {"Order No.": "₹" * 64}, {**row, "Name": "Asha\0"}, {"Order No.": "T3"})
    (dropped,) = result.dropped
    assert (dropped.row_number, dropped.reason) == (2, reason)
    assert list(dropped.content) == TD_ORDERS.headers
    assert dropped.content["Name"] == "Asha"
    assert result.rows["row_number"].to_list() == [1, 3]


def test_what_is_dropped_does_not_depend_on_its_place() -> None:
    one, other = (read(UC_GST, {}, {"Booking ID": None, "S.No.": number}).dropped[0] for number in ("2", "7"))
    assert one.content == other.content


def test_of_one_order_the_row_of_the_last_activity_is_kept() -> None:
    at = "{:02d} Oct 2025 10:00:00 AM".format
    rows = [{"Last Activity": at(7)}, {"Last Activity": at(9)}, {"Last Activity": None}, {"Order No.": "T2"}]
    result = read(TD_ORDERS, *rows, {"Last Activity": at(8)})
    assert result.rows["row_number"].to_list() == [2, 4]
    assert [(row.row_number, row.reason) for row in result.dropped] == [
        (number, "duplicate of row 2") for number in (1, 3, 5)
    ]


def test_of_one_booking_the_last_row_is_kept() -> None:
    result = read(UC_GST, {}, {"Invoice Date": "06/10/2025"}, {"Invoice No.": "I2"})
    assert result.rows["row_number"].to_list() == [2, 3]
    assert [(row.row_number, row.reason) for row in result.dropped] == [(1, "duplicate of row 3")]


@pytest.mark.parametrize(
    ("central", "state", "tax"),
    [("9.50", "9.25", "18.75"), ("9.50", None, "9.50"), (None, "9.25", "9.25"), (None, None, None), ("x", "1", "1")],
)
def test_tax_is_cgst_plus_sgst(central: str | None, state: str | None, tax: str | None) -> None:
    (row,) = read(UC_GST, {"CGST": central, "SGST": state}).rows.to_dicts()
    assert row["tax_amount"] == (Decimal(tax) if tax else None)


def test_payments_of_one_second_are_numbered_by_what_they_are() -> None:
    payments: list[dict[str, str | None]] = [
        {"Online TransactionID": "A", "Payment Received": "10"},
        {"Online TransactionID": "A", "Payment Received": "9"},
        {"Online TransactionID": None, "Type": "Advance"},
        {"Online TransactionID": None, "Type": "Advance"},
        {"Order Number": "T2"},
        {"Payment Date": "05 Oct 2025 02:15:01 PM"},
    ]
    values = ["order_number", "payment_date", "payment_no", "transaction_id", "payment_received", "payment_type"]
    expected = read(TD_SALES, *payments).rows.select(values).sort(values)
    assert expected["payment_no"].to_list() == [1, 2, 3, 4, 1, 1]
    assert expected["payment_received"].to_list()[2:4] == [9, 10]
    for seed in range(5):
        shuffled = random.Random(seed).sample(payments, len(payments))
        assert read(TD_SALES, *shuffled).rows.select(values).sort(values).equals(expected)


@pytest.mark.parametrize("day", ["30 Sep 2025 11:59:59 PM", "01 Nov 2025", "soon"])
def test_a_report_of_other_days_is_refused(day: str) -> None:
    with pytest.raises(ReportUnusable, match=r"td_orders .*2025-10.* not the one asked for"):
        read(TD_ORDERS, {"Order Date / Time": day}, {"Order Date / Time": None})


@pytest.mark.parametrize("report", REPORTS.values(), ids=list(REPORTS))
def test_rows_without_a_date_do_not_make_a_report_one_of_other_days(report: Report) -> None:
    header = header_of(report, report.date)
    result = read(report, {header: None}, {header: " "})
    assert result.rows.height == 0
    assert [row.reason for row in result.dropped] == [f"no {header}"] * 2


def test_the_days_of_a_window_are_those_of_the_zone() -> None:
    first, last = "01 Oct 2025 12:00:00 AM", "31 Oct 2025 11:59:59 PM"
    for day in (first, last):
        assert read(TD_ORDERS, {"Order Date / Time": day}).rows.height == 1


def test_a_few_rows_of_other_days_are_kept_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = [{"Order No.": f"T{day}", "Order Date / Time": f"{day:02d} Nov 2025"} for day in (1, 2)]
        result = read(TD_ORDERS, {}, *rows, {"Order Date / Time": None})
    assert result.rows.height == 3
    assert [record.getMessage() for record in caplog.records] == ["td_orders of 2025-10: 2 rows are of other days"]


def test_an_empty_report_is_one(caplog: pytest.LogCaptureFixture) -> None:
    result = read(TD_ORDERS)
    assert (result.rows.height, result.dropped, caplog.records) == (0, [], [])


def test_a_large_report_keeps_all_its_rows() -> None:
    count, start = 20_000, datetime(2025, 10, 1)
    rows = read(
        TD_SALES,
        *(
            {
                "Order Number": f"T{number}",
                "Payment Date": (start + timedelta(seconds=number)).strftime("%d %b %Y %I:%M:%S %p"),
                "Payment Received": f"{number % 90 + 1},000.50",
            }
            for number in range(count)
        ),
    ).rows
    assert rows["order_number"].n_unique() == count
    assert rows["payment_received"].sum() == sum(
        Decimal(number % 90 + 1) * 1000 + Decimal("0.5") for number in range(count)
    )
