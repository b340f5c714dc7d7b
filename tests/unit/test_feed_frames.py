"""Reports as text: which column is which, what is no row of data, and how dates are read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.demo.crm_data import key_of
from include.errors import ReportUnusable
from include.orders_sync.dates import moment
from include.orders_sync.feeds.frames import text_frame, without_summaries
from include.orders_sync.reports import REPORTS, TD_ORDERS, TD_SALES, UC_GST, Report


def row(report: Report, **values: Any) -> dict[str, Any]:
    """A row by the names of our columns; `serial` is the one that is not kept."""
    return {field.header: values.get(field.name or "serial") for field in report.fields}


def is_data(report: Report, record: dict[str, Any]) -> bool:
    return without_summaries(report, text_frame(report, [record])).height == 1


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_headers_and_fields_of_the_api_are_the_same_columns(report: Report) -> None:
    exported = {header: header for header in report.headers}
    api = {key_of(header): header for header in reversed(report.headers)}
    for record in (exported, api):
        frame = text_frame(report, [record])
        assert (frame.columns, list(frame.row(0))) == (report.headers, report.headers)
        assert set(frame.dtypes) == {pl.String}


@pytest.mark.parametrize("name", ["online_transaction_id", "online_transactionid", "Online  Transaction-ID "])
def test_names_are_compared_by_letters_and_digits(name: str) -> None:
    record = row(TD_SALES) | {name: " T1 "}
    del record["Online TransactionID"]
    assert text_frame(TD_SALES, [record])["Online TransactionID"].to_list() == ["T1"]


def test_missing_columns_are_named_and_further_ones_ignored() -> None:
    record = row(UC_GST) | {"Remarks": "x"}
    assert text_frame(UC_GST, [record]).columns == UC_GST.headers
    del record["CGST"], record["Customer Ph. No."]
    for rows in ([record], pl.DataFrame([record]), pl.DataFrame([record]).clear()):
        with pytest.raises(ReportUnusable, match=r"no column 'Customer Ph\. No\.', 'CGST'"):
            text_frame(UC_GST, rows)


def test_what_only_some_records_have_is_null_in_the_others() -> None:
    lacking = {header: "x" for header in UC_GST.headers if header != "CGST"}
    assert text_frame(UC_GST, [lacking, row(UC_GST, cgst_amount="9")])["CGST"].to_list() == [None, "9"]
    assert text_frame(UC_GST, []).columns == UC_GST.headers


def test_cells_are_trimmed_and_blank_ones_null() -> None:
    cells = ["  a b\t", "", " \u00a0", None, True, ["x", "y"]]
    frame = text_frame(UC_GST, [row(UC_GST, customer_name=cell) for cell in cells])
    assert frame["Customer Name"].to_list() == ["a b", None, None, None, "true", '["x", "y"]']


PAID_AT, FOOTER = "01 Feb 2026 10:00:00 AM", "Generated on 01/02/2026 10:00 by admin"


@pytest.mark.parametrize(
    ("report", "values"),
    [
        (TD_SALES, {}),
        (TD_SALES, {"order_date": "Total", "payment_received": "1,23,456.00"}),
        (TD_SALES, {"order_number": "Grand Total", "payment_received": "₹ 1,234.00", "balance": "-"}),
        (TD_SALES, {"order_number": "45", "customer_name": "Total", "payment_received": "(12.00)"}),
        (TD_SALES, {"payment_received": "12", "adjustments": "0", "balance": "-3.5"}),
        (TD_SALES, {"payment_date": "No. of payments: 45", "payment_received": "12"}),
        (TD_SALES, {"customer_name": "45 payments", "payment_received": "12"}),
        (TD_SALES, {"payment_date": "01 Feb 2026", "order_number": "Total", "payment_received": "12"}),
        (TD_SALES, {"payment_date": FOOTER}),
        (TD_SALES, {"order_number": FOOTER}),
        (TD_ORDERS, {"order_date": "Summary", "order_number": "12", "pieces": "45", "weight": "3.5"}),
        (UC_GST, {"gross_amount": "1,000.00", "net_amount": "1,180.00"}),
        (UC_GST, {"serial": "Sub Total", "net_amount": "1,180.00"}),
        (UC_GST, {"serial": FOOTER}),
        *((report, {field.name or "serial": field.header for field in report.fields}) for report in REPORTS.values()),
    ],
)
def test_totals_footers_blank_rows_and_repeated_headers_are_no_data(report: Report, values: dict[str, str]) -> None:
    assert not is_data(report, row(report, **values))


@pytest.mark.parametrize(
    ("report", "values"),
    [
        (TD_SALES, {"order_number": "7", "payment_date": PAID_AT, "customer_name": "Total Gym"}),
        (TD_SALES, {"customer_name": "Bakilo", "payment_received": "12"}),
        (TD_SALES, {"mobile_no": "9876543210", "payment_received": "12"}),
        (TD_SALES, {"customer_code": "123", "payment_received": "12"}),
        (TD_SALES, {"order_number": "45", "payment_received": "12"}),
        (TD_SALES, {"payment_date": "01 Feb 2026", "payment_received": "12"}),
        (TD_SALES, {"payment_date": "yesterday", "payment_received": "12"}),
        (TD_SALES, {"order_number": "A1-45"}),
        (TD_SALES, {"payment_date": "01 Feb 2026"}),
        (UC_GST, {"serial": "7", "net_amount": "1,180.00"}),
    ],
)
def test_a_row_that_tells_more_is_data_even_if_it_is_a_bad_one(report: Report, values: dict[str, str]) -> None:
    assert is_data(report, row(report, **values))


def read(*texts: str | None) -> list[datetime | None]:
    return pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(moment("text"))["text"].to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("01 Feb 2026 09:05:07 AM", datetime(2026, 2, 1, 9, 5, 7)),
        ("1 feb 2026  12:05 am", datetime(2026, 2, 1, 0, 5)),
        ("01 Feb 2026 12:00 PM", datetime(2026, 2, 1, 12)),
        ("03 Feb 2026", datetime(2026, 2, 3)),
        ("03/02/2026", datetime(2026, 2, 3)),
        (" 03/02/2026 23:59 ", datetime(2026, 2, 3, 23, 59)),
        ("03/02/2026 9:05PM", datetime(2026, 2, 3, 21, 5)),
        ("03-02-2026 01:02:03 PM", datetime(2026, 2, 3, 13, 2, 3)),
        ("2026-02-03", datetime(2026, 2, 3)),
        ("2026-02-03T04:05", datetime(2026, 2, 3, 4, 5)),
        ("2026-02-03 04:05:06.25", datetime(2026, 2, 3, 4, 5, 6, 250_000)),
        ("29 Feb 2024", datetime(2024, 2, 29)),
    ],
)
def test_dates_are_read_day_first(text: str, expected: datetime) -> None:
    assert read(text) == [expected]


@pytest.mark.parametrize(
    "text",
    ["02/13/2026", "30/02/2026", "1/2/2026", "01/02/26", "Feb 1 2026", "01 Sept 2026", "01 Foo 2026", "46054", "", "-",
     "03/02/2026 24:00", "03/02/2026 13:00 PM", "03/02/2026 by admin", "2026-02-03T04:05:06Z",
     "\u0660\u0661/02/2026", None],
)  # fmt: skip
def test_what_is_no_such_date_is_null(text: str | None) -> None:
    assert read(text) == [None]


@given(st.datetimes(datetime(1900, 1, 1), datetime(2999, 12, 31)))
def test_every_format_reads_the_same_moment(at: datetime) -> None:
    at = at.replace(microsecond=0)
    formats = ("%d %b %Y %I:%M:%S %p", "%d/%m/%Y %H:%M:%S", "%d-%m-%Y %I:%M:%S %p", "%Y-%m-%dT%H:%M:%S")
    assert read(*(at.strftime(form) for form in formats)) == [at] * len(formats)
