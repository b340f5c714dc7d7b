"""What the demo's CRMs tell of orders and payments: the rows of their reports, in their formats."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from include.demo.crm_orders import PAID_AFTER, Order, orders
from include.orders_sync.reports import TD_ORDERS, TD_SALES, UC_GST, Kind, Report

Record = dict[str, Any]


@lru_cache
def key_of(header: str) -> str:
    """Return a header as the API has it: ``Order Date / Time`` is ``order_date_time``."""
    return re.sub("[^a-z0-9]+", "_", header.lower()).strip("_")


def records(seed: int, report: Report, store: str, day: date, since: date) -> list[Record]:
    """Return a day of a report of a store that opened on ``since``."""
    if report is not TD_SALES:
        return [record_of(report, order) for order in orders(seed, store, day)] if day >= since else []
    earlier = (day - timedelta(days=back) for back in range(max(PAID_AFTER), -1, -1))
    placed = (order for ordered in earlier if ordered >= since for order in orders(seed, store, ordered))
    return [record for order in placed for at, record in payments_of(order) if at == day]


def record_of(report: Report, order: Order) -> Record:
    """Return an order as the report of orders of either CRM has it."""
    return _td_order(report, order) if report is TD_ORDERS else _uc_invoice(report, order)


def payments_of(order: Order) -> list[tuple[date, Record]]:
    """Return the payments of an order, each with its day."""
    return [(at.date(), _td_payment(TD_SALES, order, number)) for number, (at, _, _) in enumerate(order.payments)]


def total_of(report: Report, rows: list[Record]) -> Record:
    """Return the row of totals over some rows; TD writes "Total" in the first column, UC leaves it blank."""
    numbers = {key_of(field.header) for field in report.fields if field.kind is Kind.NUMBER}
    total: Record = {
        key: f"{sum((_decimal(row.get(key)) for row in rows), Decimal()):,.2f}" if key in numbers else None
        for key in map(key_of, report.headers)
    }
    return total if report is UC_GST else {**total, key_of(report.headers[0]): "Total"}


def _td_order(report: Report, order: Order) -> Record:
    paid = sum(amount for _, amount, _ in order.payments)
    last = max((at for at, _, _ in order.payments), default=None)
    return _record(
        report,
        {
            "order_date": _moment(order.at),
            "order_number": order.number,
            **_customer(order),
            "due_date": f"{order.at + timedelta(days=4):%d %b %Y}" if order.pieces % 3 else None,
            "last_activity": _moment(last or order.at),
            "pieces": order.pieces,
            "weight": round(order.pieces * 0.35, 2) if order.service == "Wash & Fold" else None,
            "gross_amount": _amount(order.gross),
            "discount_amount": _amount(order.discount),
            "tax_amount": _amount(order.tax),
            "net_amount": _amount(order.net),
            "advance": 0,
            "paid": _amount(paid),
            "adjustment": 0,
            "balance": _amount(order.net - paid),
            "booked_by": "counter",
            "home_delivery": "Yes" if order.pieces % 2 else "No",
            "registration_source": "Walk In",
            "order_from_pos": "Yes",
            "primary_services": order.service,
            "order_status": order.status,
            "last_payment_activity": _moment(last) if last else None,
        },
    )


def _td_payment(report: Report, order: Order, number: int) -> Record:
    at, amount, mode = order.payments[number]
    return _record(
        report,
        {
            "order_date": f"{order.at:%d %b %Y}",
            "payment_date": _moment(at),
            "order_number": order.number,
            **_customer(order),
            "payment_received": _amount(amount),
            "adjustments": 0,
            "balance": _amount(order.net - sum(paid for _, paid, _ in order.payments[: number + 1])),
            "accepted_by": "counter",
            "payment_mode": mode,
            "transaction_id": f"T{order.number.replace('-', '')}{at:%H%M%S}" if mode == "UPI" else None,
            "payment_made_at": "Store",
            "payment_type": "Order",
        },
    )


def _uc_invoice(report: Report, order: Order) -> Record:
    return _record(
        report,
        {
            "order_number": order.number,
            "invoice_number": f"INV-{order.number}",
            "order_date": f"{order.at:%d/%m/%Y}",
            **_customer(order),
            "payment_status": "Paid" if order.payments else "Unpaid",
            "place_of_supply": "29-Karnataka",
            "gross_amount": _amount(order.gross - order.discount),
            "cgst_amount": _amount(order.tax // 2),
            "sgst_amount": _amount(order.tax // 2),
            "net_amount": _amount(order.net),
        },
    )


def _customer(order: Order) -> Record:
    return {
        "customer_code": order.code,
        "customer_name": order.customer,
        "customer_address": f"{order.pieces} {order.customer.split()[0]} Street",
        "mobile_no": order.phone,
    }


def _record(report: Report, values: Record) -> Record:
    return {key_of(field.header): values.get(field.name or "") for field in report.fields}


def _moment(at: datetime) -> str:
    return f"{at:%d %b %Y %I:%M:%S %p}"


def _amount(paise: int) -> str | float:
    """Return an amount as the CRM has it: small ones are numbers, large ones text with India's separators."""
    if paise < 100_000:
        return paise / 100
    rupees, rest = divmod(paise, 100)
    lakhs = re.sub(r"(?<=\d)(?=(?:\d\d)+$)", ",", str(rupees)[:-3])
    return f"{lakhs},{str(rupees)[-3:]}.{rest:02}"


def _decimal(amount: Any) -> Decimal:
    return Decimal(str(amount or 0).replace(",", ""))
