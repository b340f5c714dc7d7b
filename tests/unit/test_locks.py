"""The keys of advisory locks."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include import catalog
from include.locks import LockSpace, lock_key
from include.replication.claims import lock_names
from include.replication.progress import Phase
from include.windows import CHANGES, UNDATED, WHOLE, Window


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
    names = {name for table in catalog.load().group("sales") for name in lock_names(table, decade)}
    assert len(names) == 10 * (120 + 1)
    assert len({name.key for name in names}) == len(names)


def test_runs_of_a_month_and_of_a_day_in_it_want_the_same_lock() -> None:
    table = catalog.load()["APP_4_SALES"]
    day = Window.inclusive(date(2025, 10, 31), date(2025, 10, 31))
    assert lock_names(table, day) == lock_names(table, Window.of_month(day.start))
    both = set(lock_names(table, UNDATED)) & set(lock_names(table, day))
    assert [(name.space, name.shared) for name in both] == [(LockSpace.TABLE, True)]


def test_what_touches_rows_of_any_month_wants_the_table_for_itself() -> None:
    sales, items = catalog.load()["APP_4_SALES"], catalog.load()["APP_4_ITEM"]
    day = Window.inclusive(date(2025, 10, 31), date(2025, 10, 31))
    alone = [
        lock_names(sales, day, Phase.FIX),
        lock_names(sales, CHANGES, Phase.SWEEP),
        lock_names(items, WHOLE),
        lock_names(items, day),
    ]
    assert [[(name.space, name.shared) for name in names] for names in alone] == [[(LockSpace.TABLE, False)]] * 4
