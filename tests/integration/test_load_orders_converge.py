"""Whatever reports are loaded in whatever order, by whom and however broken off, the final tables end the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.connections import Connection
from include.engines.postgres.connect import connect
from include.errors import ConnectionLost, SchemaMismatch
from include.orders_sync.load import Loaded
from include.orders_sync.reports import TD_ORDERS, TD_SALES, UC_GST
from tests.integration.test_load_orders import Desk, Row, at, booking, control, desk, new_desk, order, payment, session

__all__ = ["control", "desk", "session"]

_property = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

#: What the CRM has: for each order (number, day) an amount and a name that may be missing.
facts = st.dictionaries(
    st.tuples(st.sampled_from(["T1", "T2", "T3"]), st.integers(0, 6)),
    st.tuples(st.integers(0, 3), st.sampled_from([None, "Asha", "Ravi"])),
    max_size=8,
)
Facts = dict[tuple[str, int], tuple[int, str | None]]
#: For each order and day the amounts of the payments of one second.
payments = st.dictionaries(
    st.tuples(st.sampled_from(["T1", "T2"]), st.integers(0, 6)),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    max_size=6,
)
Payments = dict[tuple[str, int], list[int]]


def orders_of(crm: Facts) -> list[Row]:
    return [order(number, day, Paid=str(paid), Name=name) for (number, day), (paid, name) in crm.items()]


def bookings_of(crm: Facts, days: range) -> list[Row]:
    return [
        booking(number, day, CGST=str(tax), Customer_Name=name)
        for (number, day), (tax, name) in crm.items()
        if day in days
    ]


def payments_of(crm: Payments, days: range) -> list[Row]:
    return [
        payment(number, day, Payment_Received=str(amount))
        for (number, day), amounts in crm.items()
        if day in days
        for amount in amounts
    ]


@_property
@given(st.lists(facts, min_size=1, max_size=4))
def test_orders_are_what_the_reports_said_last(session: psycopg.Connection[Any], crms: list[Facts]) -> None:
    one, expected = new_desk(session), dict[tuple[str, int], tuple[int, str | None]]()
    for crm in crms:
        for key, (paid, name) in crm.items():
            expected[key] = (paid, name or expected.get(key, (0, None))[1])
        one.load(TD_ORDERS, orders_of(crm))
    after = one.snapshot("orders")
    found = {(row["order_number"], row["order_date"]): (row["paid"], row["customer_name"]) for row in after}
    assert found == {(number, at(day)): values for (number, day), values in expected.items()}
    assert one.load(TD_ORDERS, orders_of(crms[-1]), "again").updated == 0
    assert one.snapshot("orders") == after


@_property
@given(facts, payments, st.integers(0, 5), st.integers(1, 6))
def test_overlapping_reports_end_the_same_in_either_order(
    session: psycopg.Connection[Any], crm: Facts, paid: Payments, start: int, end: int
) -> None:
    early, late = range(end + 1), range(start, 7)
    desks = new_desk(session), new_desk(session)
    for one, spans in zip(desks, ([early, late], [late, early]), strict=True):
        for span in spans:
            one.load(UC_GST, bookings_of(crm, span))
            one.load(TD_SALES, payments_of(paid, span))
        before = one.snapshot("orders"), one.snapshot("sales")
        for span in spans:
            assert one.load(UC_GST, bookings_of(crm, span), "again").updated == 0
            assert one.load(TD_SALES, payments_of(paid, span), "again").updated == 0
        assert (one.snapshot("orders"), one.snapshot("sales")) == before
    columns = ("order_number", "payment_date", "payment_no", "payment_received")
    covered = {day for span in (early, late) for day in span}
    for one in desks:
        assert one.rows("sales", *columns) == sorted(
            (number, at(day), place, Decimal(amount))
            for (number, day), amounts in paid.items()
            if day in covered
            for place, amount in enumerate(sorted(amounts), 1)
        )
        found = one.rows("orders", "order_number", "order_date", "tax_amount")
        assert found == sorted(
            (number, at(day).replace(hour=0, minute=0), Decimal(tax))
            for (number, day), (tax, _) in crm.items()
            if day in covered
        )


def test_stores_of_one_cost_center_do_not_lock_each_other_out(control: Connection, desk: Desk) -> None:
    rounds, together = 6, threading.Barrier(2, timeout=30)

    def run(store_code: str, numbers: range) -> list[Loaded]:
        with closing(connect(control, autocommit=True)) as session:
            mine, loaded = replace(desk, session=session, store_code=store_code), []
            for round_ in range(rounds):
                together.wait()
                loaded.append(mine.load(TD_ORDERS, [order(f"T{number:04d}", Paid=str(round_)) for number in numbers]))
            return loaded

    with ThreadPoolExecutor(max_workers=2) as pool:
        runs = [
            pool.submit(run, f"{desk.store_code}A", range(600)),
            pool.submit(run, f"{desk.store_code}B", range(899, 299, -1)),
        ]
        first, second = (done.result(60) for done in runs)
    assert first[0].inserted + second[0].inserted == 900
    assert desk.rows("orders", "order_number", "paid") == [
        (f"T{number:04d}", Decimal(rounds - 1)) for number in range(900)
    ]


def test_a_session_that_is_killed_leaves_nothing(control: Connection, desk: Desk) -> None:
    desk.load(TD_ORDERS, [order("T1", Paid="1")])
    before = desk.snapshot("orders"), desk.rows("stg_td_orders", "order_number", "run_id")

    def load_and_die(session: psycopg.Connection[Any]) -> None:
        doomed = replace(desk, session=session)
        with session.transaction():
            loaded = doomed.load(TD_ORDERS, [order("T1", Paid="2"), order("T2"), order(None)], "killed")
            assert loaded == Loaded(ingested=2, inserted=1, updated=1, dropped=1)
            desk.session.execute("SELECT pg_terminate_backend(%s, 5000)", [session.info.backend_pid])
            doomed.load(TD_ORDERS, [order("T3")], "killed")

    with (
        closing(connect(control, autocommit=True)) as session,
        pytest.raises(ConnectionLost, match=f"loading td_orders of store {desk.store_code}"),
    ):
        load_and_die(session)
    assert (desk.snapshot("orders"), desk.rows("stg_td_orders", "order_number", "run_id")) == before
    dropped = "SELECT FROM public.dropped_rows WHERE store_code = %s"
    assert desk.session.execute(dropped, [desk.store_code]).rowcount == 0


def test_an_error_names_the_report_and_rolls_all_of_it_back(desk: Desk) -> None:
    desk.load(TD_ORDERS, [order("T1")])
    desk.session.execute("ALTER TABLE public.orders RENAME COLUMN feedback TO opinion")
    try:
        with pytest.raises(SchemaMismatch, match=r"td_orders of store .*2025-10-01\.\.2025-10-07.*migrate"):
            desk.load(TD_ORDERS, [order("T2")])
    finally:
        desk.session.execute("ALTER TABLE public.orders RENAME COLUMN opinion TO feedback")
    assert desk.rows("stg_td_orders", "order_number") == [("T1",)]
