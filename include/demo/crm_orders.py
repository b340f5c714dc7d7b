"""
Orders of a store's day in the demo's CRMs, the same whenever they are asked for.

A store has 440 to 600 orders in 90 days; names are invented words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from random import Random

_FEWEST, _MOST, _PERIOD = 440, 600, 90
#: Days after the order on which a payment of it comes.
PAID_AFTER = (0, 0, 0, 2, 3, 5)
_SYLLABLES = ("ba", "ki", "lo", "mu", "ne", "ra", "sha", "ti", "vo", "zu")
_SERVICES = ("Wash & Fold", "Dry Cleaning", "Steam Press", "Shoe Care")
_STATUSES = ("Delivered", "Ready", "In Process", "Pending Pickup")
_MODES = ("Cash", "UPI", "Card", "Package")
_PHONES = (
    "{0}", "{0}", "{0}", "+91 {1} {2}", "0{0}", "91{0}", "{1}-{2}", "+91-{0}", "{1} {2} / home", "{1}", "NA", None,
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """An order, and what both CRMs tell of it; amounts in paise."""

    number: str
    at: datetime
    customer: str
    code: str
    phone: str | None
    gross: int
    discount: int
    payments: tuple[tuple[datetime, int, str], ...]
    pieces: int
    status: str
    service: str

    @property
    def tax(self) -> int:
        """18 percent, of even paise: half of it is CGST, half SGST."""
        return (self.gross - self.discount) * 9 // 100 * 2

    @property
    def net(self) -> int:
        """What is to pay."""
        return self.gross - self.discount + self.tax


@lru_cache(maxsize=50_000)
def orders(seed: int, store: str, day: date) -> tuple[Order, ...]:
    """Return the orders of a store's day."""
    rate = Random(f"{seed}/{store}").randint(_FEWEST, _MOST)
    today = day.toordinal()
    count = (today + 1) * rate // _PERIOD - today * rate // _PERIOD
    return tuple(sorted(_orders(seed, store, day, range(1, count + 1)), key=lambda order: order.at))


def late_order(seed: int, store: str, day: date, number: int) -> Order:
    """Return an order that is not among those of its day; numbers of such ones begin at 1."""
    return next(_orders(seed, store, day, range(50 + number, 51 + number)))


def _orders(seed: int, store: str, day: date, numbers: range) -> Iterator[Order]:
    for number in numbers:
        random = Random(f"{seed}/{store}/{day}/{number}")
        at = datetime.combine(day, time(9)) + timedelta(seconds=random.randrange(11 * 3600))
        gross = random.choice((random.randint(8_000, 90_000), random.randint(90_000, 14_000_000)))
        customer = random.randrange(400)
        order = Order(
            number=f"{store}-{day:%y%m%d}-{number:02}",
            at=at,
            customer=_words(Random(f"{seed}/{customer}"), 2),
            code=f"C{customer:04}",
            phone=_phone(Random(f"{seed}/{customer}/phone"), random),
            gross=gross,
            discount=random.choice((0, 0, gross // 10)),
            payments=(),
            pieces=random.randint(1, 24),
            status=random.choice(_STATUSES),
            service=random.choice(_SERVICES),
        )
        yield _paid(order, random)


def _paid(order: Order, random: Random) -> Order:
    """Pay the order: not at all, at once, in parts on some days, or in two parts within one second."""
    how = random.randrange(20)
    first = order.at + timedelta(days=random.choice(PAID_AFTER[:5]), seconds=random.randrange(600))
    half = order.net // 2
    mode = random.choice(_MODES)
    parts: tuple[tuple[datetime, int, str], ...] = ((first, order.net, mode),)
    if how == 0:
        parts = ()
    elif how in (1, 2):
        parts = ((first, half, mode), (order.at + timedelta(days=5, hours=1), order.net - half, random.choice(_MODES)))
    elif how == 3:
        parts = ((first, half, "Cash"), (first, order.net - half, random.choice(_MODES)))
    return replace(order, payments=parts)


def _words(random: Random, count: int) -> str:
    return " ".join("".join(random.choices(_SYLLABLES, k=random.randint(2, 3))).title() for _ in range(count))


def _phone(customer: Random, random: Random) -> str | None:
    digits = f"{customer.randint(6, 9)}{customer.randrange(10**9):09}"
    form = random.choice(_PHONES)
    return form.format(digits, digits[:5], digits[5:]) if form else None
