"""Digests of a span: what is summed, and which days differ."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.engines.base import DaySum, Digest
from include.replication.verify import Comparison, Verify

FIRST, SECOND, THIRD = (date(2025, 10, day) for day in (1, 2, 3))

day_sums = st.builds(DaySum, st.integers(1, 3), st.integers(-(2**70), 2**70))
days = st.dictionaries(st.sampled_from([FIRST, SECOND, THIRD, None]), day_sums)


def digest(found: dict[date | None, DaySum], method: str = "checksum") -> Digest:
    return Digest(method, found)


def test_days_that_differ_come_in_order_and_the_undated_last() -> None:
    source = digest({None: DaySum(1), THIRD: DaySum(2, 5), FIRST: DaySum(1, 1), SECOND: DaySum(4, 4)})
    copy = digest({FIRST: DaySum(1, 2), SECOND: DaySum(4, 4), THIRD: DaySum(1, 5)})
    assert source.differing(copy) == [FIRST, THIRD, None]


@given(days)
def test_equal_rows_differ_on_no_day(found: dict[date | None, DaySum]) -> None:
    assert digest(found).differing(digest(dict(reversed(found.items())))) == []


@given(days, days)
def test_both_sides_see_the_same_difference(one: dict[date | None, DaySum], other: dict[date | None, DaySum]) -> None:
    different = digest(one).differing(digest(other))
    assert different == digest(other).differing(digest(one))
    assert set(different) == {day for day in {*one, *other} if one.get(day) != other.get(day)}


def test_a_day_that_one_side_lacks_differs() -> None:
    assert digest({FIRST: DaySum(1, 0)}).differing(digest({})) == [FIRST]


def test_digests_of_two_methods_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="methods counts and checksum"):
        digest({}, "counts").differing(digest({}, "checksum"))


def test_rows_and_sum_are_those_of_all_days() -> None:
    found = digest({FIRST: DaySum(2, 10), SECOND: DaySum(3, 6), None: DaySum(1, -1)})
    assert found.rows == 6
    assert found.total == f"{15:016x}"


def test_nothing_sums_up_to_nothing() -> None:
    assert (digest({}).rows, digest({}).total) == (0, "0" * 16)


@given(days)
def test_a_sum_is_sixteen_hex_digits_whatever_the_server_s_sign(found: dict[date | None, DaySum]) -> None:
    total = digest(found).total
    assert re.fullmatch("[0-9a-f]{16}", total)
    assert (int(total, 16) - sum(day.sum for day in found.values())) % 2**64 == 0


def test_a_comparison_is_equal_where_no_day_differs() -> None:
    source, copy = digest({FIRST: DaySum(1, 1)}), digest({FIRST: DaySum(1, 2)})
    assert Comparison("SALES", "2025-10", source, source).equal
    assert not Comparison("SALES", "2025-10", source, copy).equal
    assert Comparison("SALES", "2025-10", source, copy).days == [FIRST]


@pytest.mark.parametrize(("verify", "level"), [("none", "counts"), ("counts", "counts"), ("checksum", "checksum")])
def test_each_way_to_verify_has_its_level(verify: str, level: str) -> None:
    assert Verify(verify).level == level
