"""How each column of a table is made, by its name and type."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from include.catalog import SqlType, Table
from include.demo import arrays
from include.demo.facts import FIRST_ID, NONE, Facts, Ints
from include.demo.fillers import Pools
from include.demo.words import PEOPLE, POOLS, PRODUCTS


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of one table: their facts, and the batch's number within the table."""

    facts: Facts
    number: int

    def __len__(self) -> int:
        return len(self.facts["id"])


Maker = Callable[[Batch], Any]

#: Columns that hold a fact, where the table has it. ``product.code`` is text of the product.
_FACTS = {
    "sale": "SALES_NO INVOICE_ID SALESNUMBER",
    "referred": "REF_SALES_ID SALES_ID",
    "line": "SALESITEM_ID",
    "document": "DOCUMENT_ID",
    "order": "ORDER_ID",
    "place": "ITEMINDEX ITEM_INDEX",
    "product.id": "ITEM_ID ITEMID",
    "product.code": "ITEM_CODE",
    "product.name": "ITEM_NAME",
    "customer.id": "CUSTOMER_ID CLIENT_ID CUSTOMERID",
    "customer.name": "CUSTOMER_NAME CUSTOMERNAME",
    "store.code": "SALE_LOCATION SALES_LOCATION LOCATION_ID LOCATIONID BRANCH_ID BRANCHID",
    "cashier.name": "CASHIER SALES_PERSON RECEIVED_BY VOID_PERSON ORDER_PERSON ISSUE_BY CREATED_BY",
    "quantity": "INT_QUANTITY DOUBLE_QUANTITY VOID_QUANTITY QUANTITY DOUBLE_SOLD_QTY",
    "price": "DOUBLE_PRICE DOUBLE_SALE_PRICE DOUBLE_ENTER_PRICE DOUBLE_ORDER_PRICE",
    "amount": "DOUBLE_TOTAL_AMOUNT DOUBLE_NET_AMOUNT DOUBLE_PAID_AMOUNT DOUBLE_SUB_TOTAL DOUBLE_AMOUNT "
    "VOID_AMOUNT AMOUNT DOUBLE_SOLD_AMOUNT DOUBLE_TENDERED DOUBLE_TENDERED_AMOUNT",
}
_FACT_OF = {column: fact for fact, columns in _FACTS.items() for column in columns.split()}
#: A reference table is named by its own columns.
_OWN_NAMES = {"LOCATION_DETAIL": {"ID": "store.code"}}
_MONEY_FACTS = {"quantity", "price", "amount"}
_LABELS = {
    "product.code": tuple(f"SKU{n:06}" for n in range(100_000)),
    "product.name": PRODUCTS,
    "customer.name": PEOPLE,
    "store.code": POOLS["stores"],
    "cashier.name": PEOPLE,
}

#: Dates on which the row itself happened; every other date is some days off, or missing.
_OWN_DAYS = re.compile(
    "(NOW_)?(DATE|TIME|DATETIME)|DATE_CREATED|DATE_OF_CREATION|(TRANSACTION_?|VOID_|(SALES|ORDER)ITEMSAVED_)DATETIME|"
    "(SALES|BUSINESS|VOUCHER|ORDER|RECORD|CREATE|CREATION|LAST_UPDATE|SAVED|OPENING|CLOSING)_?(DATE|TIME|DATETIME)"
)
#: Share of rows that have such a date, and how many days off it is at most.
_OTHER_DAYS = (
    (re.compile("SETTLE|COMPLETE"), 0.95, 1),
    (re.compile("EXPIR|DATEEND|_TO$"), 0.3, 365),
    (re.compile("CANCEL"), 0.01, 3),
)
_SOME_DAYS = (0.06, 30)
_SOFT_DELETED = 0.003
#: Days further off than any offset are dates of their own.
_FARTHEST = 5_000
#: What stands in a text date that is none; NULL for the first.
_UNREADABLE = (None, "", "31/02/2025", "n/a")


def makers(table: Table, pools: Pools) -> dict[str, Maker]:
    """Return how to make each column of a batch, in the order of the table; ``rowversion`` is a fact."""
    return {name: _maker(table, pools, name, type_) for name, type_ in table.columns.items()}


def _maker(table: Table, pools: Pools, name: str, type_: SqlType) -> Maker:
    if name == table.rowversion:
        return lambda batch: arrays.rowversions(batch.facts["rowversion"])
    if name in table.key:
        return lambda batch: arrays.numbers(batch.facts["id"], type_)
    if name == table.soft_delete:
        pool = arrays.numbers(pools.flags(name, _SOFT_DELETED), type_)
        return _slices(pools, name, pool)
    if name == table.date and table.date_is_text:
        return lambda batch: _unreadable_for_none(arrays.date_texts(batch.facts["day"]), batch.facts["day"])
    if _is_year_part(name):
        return _year_part(name, type_)
    if kind := _temporal_kind(table, name, type_):
        return _temporal(table, pools, name, kind)
    return _fact_or_filler(table, pools, name, type_)


def _fact_or_filler(table: Table, pools: Pools, name: str, type_: SqlType) -> Maker:
    filler = _slices(pools, name, pools.filler(name, type_))
    form = _OWN_NAMES.get(table.name, {}).get(name) or _FACT_OF.get(name)
    if not form:
        return filler
    fact = form.partition(".")[0]
    made = _fact(form, fact, type_)
    return lambda batch: made(batch) if fact in batch.facts else filler(batch)


def _fact(form: str, fact: str, type_: SqlType) -> Maker:
    if fact in _MONEY_FACTS:
        return lambda batch: arrays.amounts(batch.facts[fact], type_)
    if form in _LABELS:
        words = arrays.texts(_LABELS[form], type_)
        return lambda batch: arrays.labels(words, _modulo(batch.facts[fact], len(words)))
    if form.endswith(".id"):
        return lambda batch: arrays.numbers(_plus(batch.facts[fact], FIRST_ID), type_)
    return lambda batch: arrays.numbers(batch.facts[fact], type_)


def _slices(pools: Pools, name: str, pool: Any) -> Maker:
    return lambda batch: pool.slice(pools.start(name, batch.number), len(batch))


def _temporal_kind(table: Table, name: str, type_: SqlType) -> str | None:
    if type_.is_temporal:
        return type_.base
    if not type_.is_text:
        return None
    if name.startswith("TIME__") or f"TIME__{name}" in table.columns:
        return "time text"
    if f"DATETIME__{name}" not in table.columns and not re.search("(DATE|TIME|DATESTART|DATEEND|DATE_CREATED)$", name):
        return None
    if name.endswith("DATETIME"):
        return "datetime text"
    return "time text" if name.endswith("TIME") else "date text"


def _temporal(table: Table, pools: Pools, name: str, kind: str) -> Maker:
    day = _day_of(table, pools, name, kind)
    if kind == "date":
        return lambda batch: arrays.dates(day(batch))
    if kind == "date text":
        return lambda batch: arrays.date_texts(day(batch))
    made = {
        "datetime": arrays.datetimes,
        "time text": arrays.time_texts,
        "datetime text": arrays.datetime_texts,
    }[kind]
    return lambda batch: made(day(batch), batch.facts["second"])


def _day_of(table: Table, pools: Pools, name: str, kind: str) -> Callable[[Batch], Ints]:
    """The twins of a moment (CANCEL_DATE, DATETIME__CANCEL_DATE, TIME__CANCEL_TIME) share one day."""
    event = name.removeprefix("DATETIME__").removeprefix("DATETIMEUTC_").removeprefix("TIME__")
    if name == table.date or _OWN_DAYS.fullmatch(event):
        return lambda batch: batch.facts["day"]
    stem = re.sub("_?(DATE|TIME|DATETIME)$", "", event)
    found = ((filled, longest) for pattern, filled, longest in _OTHER_DAYS if pattern.search(event))
    filled, longest = next(found, _SOME_DAYS)
    first = arrays.FIRST_DATETIME if kind == "datetime" else arrays.FIRST_DATE
    pool = pools.offsets(stem, filled, longest, (first, arrays.LAST_DATE))

    def day(batch: Batch) -> Ints:
        start = pools.start(stem, batch.number)
        offset = pool[start : start + len(batch)]
        return np.where(np.abs(offset) > _FARTHEST, offset, _plus(batch.facts["day"], offset))

    return day


def _unreadable_for_none(texts: Any, day: Ints) -> Any:
    lost = np.flatnonzero(day == NONE)
    values = texts.to_pylist() if len(lost) else []
    for turn, place in enumerate(lost):
        values[place] = _UNREADABLE[turn % len(_UNREADABLE)]
    return pa.array(values, pa.string()) if len(lost) else texts


def _is_year_part(name: str) -> bool:
    return name in ("SDAY", "SMONTH", "SYEAR") or name.startswith("SRV_YYYY__")


def _year_part(name: str, type_: SqlType) -> Maker:
    def part(batch: Batch) -> Any:
        day = batch.facts["day"]
        dates = np.where(day == NONE, 0, day).astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        if name == "SDAY":
            value = (dates - months).astype(np.int64) + 1
        elif name == "SMONTH":
            value = months.astype(np.int64) % 12 + 1
        else:
            value = months.astype(np.int64) // 12 + 1970
        return arrays.numbers(np.where(day == NONE, NONE, value), type_)

    return part


def _plus(values: Ints, more: Ints | int) -> Ints:
    return np.where((values == NONE) | (np.asarray(more) == NONE), NONE, values + more)


def _modulo(values: Ints, length: int) -> Ints:
    return np.where(values == NONE, NONE, values % length)
