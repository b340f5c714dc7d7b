"""The keys of advisory locks."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include import catalog
from include.locks import LockSpace, lock_key
from include.replication.replicate import lock_names
from include.windows import UNDATED, Window


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("", 309448485),
        ("dbo.com_5013_APP_4_SALES 2025-10", 1237741545),
        ("Größe", -1222284378),
    ],
)
def test_a_key_is_the_same_in_every_process_and_version(name: str, key: int) -> None:
    assert lock_key(name) == key


@given(st.text())
def test_a_key_fits_into_the_server_s_integer(name: str) -> None:
    assert -(2**31) <= lock_key(name) < 2**31


def test_the_numbers_of_lock_spaces_are_unique_and_fit() -> None:
    assert list(LockSpace.__members__.values()) == list(LockSpace)
    assert all(-(2**31) <= space < 2**31 for space in LockSpace)


def test_the_windows_of_a_decade_have_keys_of_their_own() -> None:
    decade = Window(date(2020, 1, 1), date(2030, 1, 1))
    names = [name for table in catalog.load().group("sales") for name in lock_names(table, decade)]
    assert len(names) == 10 * 120
    assert len({lock_key(name) for name in names}) == len(names)


def test_runs_of_a_month_and_of_a_day_in_it_want_the_same_lock() -> None:
    table = catalog.load()["APP_4_SALES"]
    day = Window.inclusive(date(2025, 10, 31), date(2025, 10, 31))
    assert lock_names(table, day) == lock_names(table, Window.of_month(day.start))
    assert set(lock_names(table, UNDATED)).isdisjoint(lock_names(table, day))
