"""Who the parent of whom is: the facts of every table for one month, or for one stretch of a reference table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from include.catalog import Catalog, Table
from include.demo.facts import (
    FIRST_ID,
    NONE,
    UNIT,
    Facts,
    Ints,
    Rows,
    children,
    day_number,
    forget_days,
    moments,
    month_ids,
    people_and_places,
    place_in_group,
    price_of,
    random,
)
from include.demo.volumes import rows_of
from include.windows import Window

#: As many undated rows as there are ways in which a text date cannot be read.
_UNREADABLE_FORMS = 4


@dataclass(frozen=True)
class Scene:
    """One month of the business; everything in it follows from these fields."""

    catalog: Catalog
    seed: int
    scale: float
    month: Window
    months: int

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator of one purpose in this month."""
        return random(self.seed, name, self.month)

    def count(self, name: str) -> int:
        """Return the rows of a table, in this month or in all."""
        return rows_of(self.catalog[name], self.scale)

    def people_and_places(self, rng: np.random.Generator, count: int) -> dict[str, Ints]:
        """Return facts that point into the reference tables."""
        return people_and_places(rng, count, self.count("LOCATION_DETAIL"), self.count("APP_4_CUSTOMER"))

    def goods(self, rng: np.random.Generator, count: int) -> dict[str, Ints]:
        """Return products with quantity, price and amount."""
        product = rng.integers(0, self.count("APP_4_ITEM"), count)
        quantity = np.where(rng.random(count) < 0.85, 1, rng.integers(2, 6, count))
        price = price_of(product)
        return {"product": product, "quantity": quantity * UNIT, "price": price, "amount": price * quantity}


def month_rows(scene: Scene, table: Table) -> Rows:
    """Return the facts of a window table in the month of the scene."""
    story = _STORIES.get(table.name)
    return story(scene) if story else _independent(scene, table)


def stretch_rows(scene: Scene, table: Table, start: int, end: int) -> Rows:
    """Return the facts of the rows ``start`` to ``end`` of a refresh table; dates lie in the 3 years before."""
    rng, count = random(scene.seed, table.name, start), end - start
    index = np.arange(start, end)
    last = day_number(scene.month.last_day)
    day = last - 1095 + (index * 1095) // max(1, rows_of(table, scene.scale)) - rng.integers(0, 30, count)
    own = {"id": FIRST_ID + index, "day": day, "second": rng.integers(0, 86_400, count)}
    own |= scene.people_and_places(rng, count) | scene.goods(rng, count)
    own |= dict.fromkeys(_OWN_INDEX.get(table.name, ()), index)
    return Rows(own)


_OWN_INDEX = {"APP_4_ITEM": ("product",), "APP_4_CUSTOMER": ("customer",), "LOCATION_DETAIL": ("store",)}


def _basket(scene: Scene) -> tuple[Ints, dict[str, Ints]]:
    """Return the sale (by its place in the month) and the goods of every item sold."""
    rng, count = scene.rng("basket"), scene.count("APP_4_SALESITEM")
    return children(rng, scene.count("APP_4_SALES"), count), scene.goods(rng, count)


def _sale_facts(scene: Scene) -> dict[str, Ints]:
    rng, count = scene.rng("sale"), scene.count("APP_4_SALES")
    facts = moments(rng, scene.month, count)
    forget_days(rng, facts["day"], scene.months)
    sale, goods = _basket(scene)
    totals = np.bincount(sale, weights=goods["amount"], minlength=count).astype(np.int64)
    return facts | scene.people_and_places(rng, count) | {"sale": month_ids(rng, scene.month, count), "amount": totals}


def _sales(scene: Scene) -> Rows:
    facts = _sale_facts(scene)
    return Rows(facts | {"id": facts["sale"]})


def _items(scene: Scene) -> Rows:
    sale, goods = _basket(scene)
    return Rows({"id": _item_ids(scene)} | goods | {"place": place_in_group(sale)}, sale, _sale_facts(scene))


def _item_ids(scene: Scene) -> Ints:
    return month_ids(scene.rng("item"), scene.month, scene.count("APP_4_SALESITEM"))


def _payments(scene: Scene) -> Rows:
    """One payment a sale, but 2% are unpaid and as many are split."""
    sales, rng, count = _sale_facts(scene), scene.rng("payment"), scene.count("APP_4_PAYMENT")
    total = len(sales["sale"])
    unpaid = rng.random(total) < 0.02
    unpaid[sales["day"] == NONE] = False
    paid = np.flatnonzero(~unpaid)[:count]
    payer = np.sort(np.concatenate([paid, rng.choice(paid, count - len(paid))]))
    payments = np.bincount(payer, minlength=total)[payer]
    share, rest = np.divmod(sales["amount"][payer], payments)
    amount = share + np.where(place_in_group(payer) == 0, rest, 0)
    return Rows({"id": month_ids(rng, scene.month, count), "amount": amount}, payer, sales)


def _voids(scene: Scene) -> Rows:
    """Items taken back at the till: of the same sale and day."""
    rng, items = scene.rng("void"), _items(scene)
    picked = children(rng, len(items), scene.count("APP_4_VOIDSALESITEM"))
    chosen = _gather(items, picked)
    own = {"id": month_ids(rng, scene.month, len(picked)), "line": chosen["id"]}
    day = chosen["day"].copy()
    forget_days(rng, day, scene.months)
    return Rows(own | {name: values for name, values in chosen.items() if name not in ("id", "day")} | {"day": day})


def _of_sales(scene: Scene, name: str) -> Rows:
    """Rows that each belong to a dated sale."""
    rng, sales = scene.rng(name), _sale_facts(scene)
    dated = np.flatnonzero(sales["day"] != NONE)
    count = scene.count(name)
    parent = dated[children(rng, len(dated), count)]
    day = sales["day"][parent].copy()
    forget_days(rng, day, scene.months)
    own = {"id": month_ids(rng, scene.month, count), "day": day, "referred": sales["sale"][parent]}
    return Rows(own, parent, sales)


def _note_items(scene: Scene) -> Rows:
    notes = _of_sales(scene, "APP_4_SALESCREDITNOTE")
    rng, count = scene.rng("note item"), scene.count("APP_4_SALESCREDITNOTEITEM")
    parent = children(rng, len(notes), count)
    shared = notes.part(0, len(notes))
    shared["document"] = shared.pop("id")
    return Rows({"id": month_ids(rng, scene.month, count)} | scene.goods(rng, count), parent, shared)


def _orders(scene: Scene) -> Rows:
    rows = _independent(scene, scene.catalog["APP_4_ORDER"])
    return Rows({**rows.own, "order": rows.own["id"]})


def _order_items(scene: Scene) -> Rows:
    orders, rng, count = _orders(scene).own, scene.rng("order item"), scene.count("APP_4_ORDERITEM")
    parent = children(rng, len(orders["id"]), count)
    day = np.where(orders["day"][parent] == NONE, day_number(scene.month.start), orders["day"][parent])
    day[rng.choice(count, _UNREADABLE_FORMS, replace=False)] = NONE
    own = {"id": month_ids(rng, scene.month, count), "day": day, "place": place_in_group(parent)}
    return Rows(own | scene.goods(rng, count), parent, {name: orders[name] for name in orders if name != "id"})


def _independent(scene: Scene, table: Table) -> Rows:
    rng, count = scene.rng(table.name), scene.count(table.name)
    own = {"id": month_ids(rng, scene.month, count)} | moments(rng, scene.month, count)
    if count and table.date_is_text:
        forget_days(rng, own["day"], 1, _UNREADABLE_FORMS)
    elif count:
        forget_days(rng, own["day"], scene.months)
    return Rows(own | scene.people_and_places(rng, count) | scene.goods(rng, count))


def _gather(rows: Rows, index: Ints) -> Facts:
    own = {name: values[index] for name, values in rows.own.items()}
    assert rows.parent is not None
    return {name: values[rows.parent[index]] for name, values in rows.shared.items() if name not in own} | own


_STORIES: dict[str, Callable[[Scene], Rows]] = {
    "APP_4_SALES": _sales,
    "APP_4_SALESITEM": _items,
    "APP_4_PAYMENT": _payments,
    "APP_4_VOIDSALESITEM": _voids,
    "APP_4_SALESCREDITNOTE": lambda scene: _of_sales(scene, "APP_4_SALESCREDITNOTE"),
    "APP_4_SALESCREDITNOTEITEM": _note_items,
    "APP_4_EPAYMENTLOG": lambda scene: _of_sales(scene, "APP_4_EPAYMENTLOG"),
    "APP_4_VOUCHER": lambda scene: _of_sales(scene, "APP_4_VOUCHER"),
    "APP_4_ORDER": _orders,
    "APP_4_ORDERITEM": _order_items,
}
