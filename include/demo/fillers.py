"""
Columns that no other row depends on.

Their values are drawn once, into a pool of a few times the size of a batch; a
batch takes a slice of it that begins elsewhere for every column and batch, so
that a wide row costs little more than copying it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from include.catalog import SqlType
from include.demo.arrays import amounts, labels, numbers, texts
from include.demo.facts import NONE, UNIT, Ints, random
from include.demo.words import AWKWARD, POOLS, text_rule

#: Rows that are generated, encoded and sent at once.
BATCH = 10_000

_SPREAD = 3
_FIRST_EDGE, _EDGE_STEP, _EDGE_SPREAD = 2, 2, 19

_EDGES = {
    "tinyint": (0, 255, 127, 2),
    "int": (2**31 - 1, -(2**31), -1, 0),
    "bigint": (2**63 - 1, -(2**63), -1, 0),
}
#: Share of NULL and the values of decimals, in 1/10,000, by name.
_DECIMALS = tuple(
    (re.compile(pattern), null, tuple(round(value * UNIT) for value in values))
    for pattern, null, values in (
        ("EXC", 0.1, (1, 1, 1, 3.3125)),
        ("PERCENT|RATE|FACTOR", 0.1, (0, 0, 0, 6, 8, 10)),
        ("FOREIGN|EXTEND|ADDITIONAL|RESTRICT|EXEMPT|VAT|COMMIS|EXTERNAL", 0.75, (0,)),
        ("QUANT|QTY|INT_|TOTAL_RETURN|DELIVERED", 0.2, (0, 1, 1, 2, 3, 12)),
    )
)
_MONEY = tuple(cents * 100 for cents in (0, 0, 0, 0, 5, 10, 250, 990, 1290, 1590, 2350, 10_000, -500))


@dataclass(frozen=True)
class Pools:
    """Draws the pools of one table and says where a batch begins in them."""

    seed: int
    table: str
    rows: int

    def start(self, name: str, batch: int) -> int:
        """Return where the ``batch``-th batch begins in the pool of this name."""
        return batch * (crc32(name.encode()) | 1) % (self._span + 1)

    def filler(self, column: str, type_: SqlType) -> Any:
        """Return the pool of a column as an Arrow array of the column's type."""
        rng = random(self.seed, self.table, column)
        if type_.is_text:
            return self._texts(rng, column, type_)
        if type_.base == "decimal":
            return amounts(self._decimals(rng, column, type_), type_)
        return numbers(self._integers(rng, column, type_.base), type_)

    def offsets(self, stem: str, filled: float, longest: int, edges: tuple[int, ...]) -> Ints:
        """Return days to add to a row's own day; ``edges`` are dates of their own and are not added."""
        rng = random(self.seed, self.table, stem)
        days = rng.integers(0, longest + 1, self._size)
        days[rng.random(self._size) >= filled] = NONE
        return self._with_edges(stem, days, edges)

    def flags(self, name: str, share: float) -> Ints:
        """Return 1 in ``share`` of the rows, NULL in a few, else 0."""
        drawn = random(self.seed, self.table, name).random(self._size)
        return np.where(drawn < share, 1, np.where(drawn > 0.99, NONE, 0))

    @property
    def _span(self) -> int:
        return min(_SPREAD * BATCH, self.rows)

    @property
    def _size(self) -> int:
        return self._span + min(BATCH, self.rows)

    def _texts(self, rng: np.random.Generator, column: str, type_: SqlType) -> Any:
        rule = text_rule(column)
        words = (*POOLS[rule.pool], *(AWKWARD if rule.free else ()), "")
        index = rng.integers(0, len(words) - 1, self._size)
        drawn = rng.random(self._size)
        index[drawn >= rule.filled] = len(words) - 1
        index[drawn >= rule.filled + rule.empty] = NONE
        return labels(texts(words, type_), index)

    def _decimals(self, rng: np.random.Generator, column: str, type_: SqlType) -> Ints:
        null, values = next(((n, v) for pattern, n, v in _DECIMALS if pattern.search(column)), (0.15, _MONEY))
        drawn = np.array(values, np.int64)[rng.integers(0, len(values), self._size)]
        drawn[rng.random(self._size) < null] = NONE
        largest = 10 ** (min(type_.precision or 16, 16)) - 1
        return self._with_edges(column, drawn, (largest, -largest, 1, -1, 0))

    def _integers(self, rng: np.random.Generator, column: str, base: str) -> Ints:
        highest, null = (2, 0.25) if base == "tinyint" else (50, 0.6)
        if "EXTEND" in column:
            null = 0.9
        drawn = rng.integers(0, highest, self._size)
        drawn[rng.random(self._size) < null] = NONE
        return self._with_edges(column, drawn, _EDGES.get(base, ()))

    def _with_edges(self, name: str, values: Ints, edges: tuple[int, ...]) -> Ints:
        """Put extreme values into every second of some of the first rows, where the table is not tiny."""
        first = _FIRST_EDGE + crc32(name.encode()) % _EDGE_SPREAD
        if self.rows >= _FIRST_EDGE + _EDGE_SPREAD + _EDGE_STEP * len(edges):
            values[first : first + _EDGE_STEP * len(edges) : _EDGE_STEP] = edges
        return values
