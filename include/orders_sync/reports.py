"""
The reports of the CRMs: their columns as exported, and what becomes of each.

Headers and formats are those of the exports; the JSON API gives the same fields in snake_case.
Names are the columns of the staging and final tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the text of a field is read."""

    TEXT = "text"
    NUMBER = "number"
    """A decimal number, with thousands separators or without."""
    MOMENT = "moment"
    """A date with or without time of day, day first, in the pipeline's timezone."""
    DAY = "day"
    """A date without time of day, day first."""
    PHONE = "phone"


@dataclass(frozen=True)
class Field:
    """
    A column of a report.

    :param header: the column as exported.
    :param name: the column of our tables; None for one that is read but not kept.
    """

    header: str
    name: str | None
    kind: Kind = Kind.TEXT


@dataclass(frozen=True)
class Report:
    """
    A report of a CRM.

    :param code: its name in file names, counters and messages.
    :param staging: the table that holds what was pulled last for each store.
    :param target: the final table.
    :param number: the field with the order's number, and ``date`` the one with the key date; a row needs both.
    :param kept: columns that an empty field of the report does not empty: later steps fill them.
    :param statuses: columns that a later step moves on, so that only news from the report may replace them; the
        final table has beside each what the report said last.
    """

    code: str
    staging: str
    target: str
    number: str
    date: str
    fields: tuple[Field, ...]
    kept: tuple[str, ...]
    statuses: tuple[str, ...] = ()

    @property
    def columns(self) -> list[Field]:
        """The fields that are kept."""
        return [field for field in self.fields if field.name]

    @property
    def headers(self) -> list[str]:
        """The columns that an export has, in its order."""
        return [field.header for field in self.fields]


def reported(status: str) -> str:
    """Return the column with what the report said last of a status."""
    return f"{status}_reported"


_CUSTOMER = ("customer_name", "customer_address", "mobile_no", "customer_gstin")

TD_ORDERS = Report(
    code="td_orders",
    staging="stg_td_orders",
    target="orders",
    number="order_number",
    date="order_date",
    fields=(
        Field("Order Date / Time", "order_date", Kind.MOMENT),
        Field("Order No.", "order_number"),
        Field("Customer Code", "customer_code"),
        Field("Name", "customer_name"),
        Field("Address", "customer_address"),
        Field("Phone", "mobile_no", Kind.PHONE),
        Field("Preference", "preference"),
        Field("Due Date", "due_date", Kind.MOMENT),
        Field("Last Activity", "last_activity", Kind.MOMENT),
        Field("Pcs.", "pieces", Kind.NUMBER),
        Field("Weight", "weight", Kind.NUMBER),
        Field("Gross Amount", "gross_amount", Kind.NUMBER),
        Field("Discount", "discount_amount", Kind.NUMBER),
        Field("Tax", "tax_amount", Kind.NUMBER),
        Field("Net Amount", "net_amount", Kind.NUMBER),
        Field("Advance", "advance", Kind.NUMBER),
        Field("Paid", "paid", Kind.NUMBER),
        Field("Adjustment", "adjustment", Kind.NUMBER),
        Field("Balance", "balance", Kind.NUMBER),
        Field("Advance Received", "advance_received", Kind.NUMBER),
        Field("Advance Used", "advance_used", Kind.NUMBER),
        Field("Booked By", "booked_by"),
        Field("Workshop Note", "workshop_note"),
        Field("Order Note", "order_note"),
        Field("Home Delivery", "home_delivery"),
        Field("Area Location", "area_location"),
        Field("Garments Inspected By", "garments_inspected_by"),
        Field("Customer GSTIN", "customer_gstin"),
        Field("Registration Source", "registration_source"),
        Field("Order From POS", "order_from_pos"),
        Field("Package", "package"),
        Field("Package Type", "package_type"),
        Field("Package Name", "package_name"),
        Field("Feedback", "feedback"),
        Field("Tags", "tags"),
        Field("Comment", "comment"),
        Field("Primary Services", "primary_services"),
        Field("Top Up/Extra Service", "top_up_extra_service"),
        Field("Order Status", "order_status"),
        Field("Last Payment Activity", "last_payment_activity", Kind.MOMENT),
        Field("Package Payment Info", "package_payment_info"),
        Field("Coupon Code", "coupon_code"),
    ),
    kept=(*_CUSTOMER, "due_date"),
    statuses=("order_status",),
)

TD_SALES = Report(
    code="td_sales",
    staging="stg_td_sales",
    target="sales",
    number="order_number",
    date="payment_date",
    fields=(
        Field("Order Date", "order_date", Kind.DAY),
        Field("Payment Date", "payment_date", Kind.MOMENT),
        Field("Order Number", "order_number"),
        Field("Customer Code", "customer_code"),
        Field("Customer Name", "customer_name"),
        Field("Customer Address", "customer_address"),
        Field("Customer Mobile No.", "mobile_no", Kind.PHONE),
        Field("Payment Received", "payment_received", Kind.NUMBER),
        Field("Adjustments", "adjustments", Kind.NUMBER),
        Field("Balance", "balance", Kind.NUMBER),
        Field("Accept By", "accepted_by"),
        Field("Payment Mode", "payment_mode"),
        Field("Online TransactionID", "transaction_id"),
        Field("Payment Made At", "payment_made_at"),
        Field("Type", "payment_type"),
    ),
    kept=_CUSTOMER[:3],
)

UC_GST = Report(
    code="uc_gst",
    staging="stg_uc_gst",
    target="orders",
    number="order_number",
    date="order_date",
    fields=(
        Field("S.No.", None),
        Field("Booking ID", "order_number"),
        Field("Invoice No.", "invoice_number"),
        Field("Invoice Date", "order_date", Kind.MOMENT),
        Field("Customer Name", "customer_name"),
        Field("Customer Ph. No.", "mobile_no", Kind.PHONE),
        Field("Payment Status", "payment_status"),
        Field("Customer GSTIN", "customer_gstin"),
        Field("Place of Supply", "place_of_supply"),
        Field("Taxable Value", "gross_amount", Kind.NUMBER),
        Field("CGST", "cgst_amount", Kind.NUMBER),
        Field("SGST", "sgst_amount", Kind.NUMBER),
        Field("Total Invoice Value", "net_amount", Kind.NUMBER),
    ),
    kept=("customer_name", "mobile_no", "customer_gstin"),
    statuses=("payment_status",),
)

REPORTS = {report.code: report for report in (TD_ORDERS, TD_SALES, UC_GST)}
