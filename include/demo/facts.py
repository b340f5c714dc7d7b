"""
What the rows of a table have to agree on with other rows: when, where, who, what, how much.

Facts are int64 arrays, one value a row, by name; ``NONE`` stands for NULL:

    id                              the key
    day, second                     days since 1970-01-01; seconds since midnight
    store, cashier, customer, product   index of the store, person, member or item
    sale, line, document, order     the key of the row of another table that is meant
    quantity, price, amount         in 1/10,000, as decimal(16,4) counts
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from zlib import crc32

import numpy as np
import numpy.typing as npt

from include.windows import Window

Ints = npt.NDArray[np.int64]
Facts = Mapping[str, Ints]

#: Not the least int64: that is a value that the source may hold.
NONE = int(np.iinfo(np.int64).min) + 1
UNIT = 10_000

#: Keys of reference tables are this plus the index; keys of a month start at year, month and eight zeros.
FIRST_ID = 1001

#: Monday to Sunday.
_WEEK = (0.85, 0.82, 0.88, 0.95, 1.15, 1.5, 1.35)
_LATE, _UNDATED = 0.003, 0.0005
_LEAST_UNDATED = 3
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Rows:
    """The rows of a table in one span; facts of a parent are gathered only for the part that is asked for."""

    own: Facts
    parent: Ints | None = None
    shared: Facts = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.own["id"])

    def part(self, start: int, end: int) -> dict[str, Ints]:
        """Return the facts of the rows ``start`` (inclusive) to ``end`` (exclusive)."""
        facts = {name: values[start:end] for name, values in self.own.items()}
        if self.parent is not None:
            above = self.parent[start:end]
            facts |= {name: values[above] for name, values in self.shared.items() if name not in facts}
        return facts


def random(seed: int, *names: object) -> np.random.Generator:
    """Return a generator that depends on nothing but the seed and the names."""
    return np.random.Generator(np.random.PCG64([seed, crc32("/".join(map(str, names)).encode())]))


def day_number(day: date) -> int:
    """Return the days since 1970-01-01."""
    return (day - _EPOCH).days


def month_ids(rng: np.random.Generator, month: Window, count: int) -> Ints:
    """Return growing keys with small gaps; those of a later month are larger, up to 33 million rows a month."""
    first = (month.start.year * 12 + month.start.month) * 10**8
    return first + np.cumsum(rng.integers(1, 4, count))


def moments(rng: np.random.Generator, month: Window, count: int) -> dict[str, Ints]:
    """
    Return ``day`` and ``second`` of rows in the order in which they reached the source.

    That is by time, but for a few that were synchronised hours or days late. The
    first and the last day of the month always have a row.
    """
    days = [month.start + timedelta(days=n) for n in range(month.days)]
    weights = np.array([_WEEK[day.weekday()] for day in days])
    day = rng.choice(month.days, size=count, p=weights / weights.sum()).astype(np.int64)
    second = _seconds(rng, count)
    by_time = np.lexsort((second, day))
    day, second = day[by_time], second[by_time]
    if count:
        day[0], day[-1] = 0, month.days - 1
    delay = np.where(rng.random(count) < _LATE, rng.exponential(86_400, count), 0).astype(np.int64)
    arrival = np.argsort(day * 86_400 + second + delay, kind="stable")
    return {"day": day_number(month.start) + day[arrival], "second": second[arrival]}


def forget_days(rng: np.random.Generator, day: Ints, months: int, least: int = _LEAST_UNDATED) -> None:
    """
    Take the date of about 0.05% of the rows, and of ``least`` or more over all the months.

    Rows of the first and the last day keep theirs, so that no month loses an end.
    """
    dated = day[day != NONE]
    if not len(dated):
        return
    able = np.flatnonzero((day != NONE) & (day != dated.min()) & (day != dated.max()))
    wanted = max(-(-least // months), round(len(day) * _UNDATED))
    day[rng.choice(able, min(wanted, len(able)), replace=False)] = NONE


def children(rng: np.random.Generator, parents: int, count: int) -> Ints:
    """Return the parent of each of ``count`` children in order; every parent has one if there are enough."""
    if count < parents:
        return np.sort(rng.choice(parents, count, replace=False)).astype(np.int64)
    return np.sort(np.concatenate([np.arange(parents), rng.integers(0, parents, count - parents)]))


def place_in_group(group: Ints) -> Ints:
    """Return for each of the sorted group numbers how many of the same group stand before it."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    lengths = np.diff(np.append(starts, len(group)))
    return np.arange(len(group)) - np.repeat(starts, lengths)


def people_and_places(rng: np.random.Generator, count: int, stores: int, customers: int) -> dict[str, Ints]:
    """Return store, cashier and customer of ``count`` rows; most customers are not members."""
    store = rng.integers(0, stores, count)
    customer = rng.integers(0, customers, count)
    customer[rng.random(count) < 0.7] = NONE
    return {"store": store, "cashier": store * 5 + rng.integers(0, 5, count), "customer": customer}


def price_of(product: Ints) -> Ints:
    """Return the price of products by their index: 0.50 to 50.40."""
    return (product * 7919 % 500 * 10 + 50) * (UNIT // 100)


def _seconds(rng: np.random.Generator, count: int) -> Ints:
    """Seconds of the day with peaks at lunch and dinner, within the hours a shop is open."""
    peak = rng.choice(np.array([46_800.0, 55_800.0, 69_600.0]), count, p=[0.4, 0.2, 0.4])
    return np.clip(peak + rng.normal(0, 6_000, count), 28_800, 86_399).astype(np.int64)
