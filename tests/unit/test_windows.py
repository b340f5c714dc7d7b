"""Windows and their arithmetic."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.windows import (
    UNDATED,
    Span,
    Undated,
    Window,
    merge,
    month_keys,
    months,
    parse_date,
    parse_span,
    subtract,
)

FIRST, LAST = date(1, 1, 1), date(9998, 12, 31)
OCTOBER = Window(date(2025, 10, 1), date(2025, 11, 1))

#: Few days, so that windows often touch, overlap and contain each other.
NEAR = st.integers(0, 40).map(lambda day: date(2023, 12, 10) + timedelta(days=day))


def windows(days: st.SearchStrategy[date]) -> st.SearchStrategy[Window]:
    return st.tuples(days, days).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: Window(min(pair), max(pair)))


def long_windows() -> st.SearchStrategy[Window]:
    starts = st.dates(FIRST, LAST - timedelta(days=1000))
    return st.builds(lambda start, days: Window(start, start + timedelta(days=days)), starts, st.integers(1, 1000))


def days_of(parts: list[Window]) -> list[date]:
    return [part.start + timedelta(days=day) for part in parts for day in range(part.days)]


@given(st.dates(FIRST, LAST), st.dates(FIRST, LAST))
def test_both_ends_of_inclusive_dates_are_in_the_window(one: date, other: date) -> None:
    first, last = min(one, other), max(one, other)
    window = Window.inclusive(first, last)
    assert window.start == first
    assert window.last_day == last
    assert window.days == (last - first).days + 1


@given(st.dates(FIRST, LAST))
def test_the_last_day_of_a_month_is_in_it(day: date) -> None:
    month = Window.of_month(day)
    assert month.start.day == 1
    assert (month.last_day + timedelta(days=1)).day == 1
    assert month.start <= day <= month.last_day
    assert month.is_month


@pytest.mark.parametrize(
    ("day", "last"),
    [
        (date(2024, 2, 1), date(2024, 2, 29)),
        (date(2025, 2, 28), date(2025, 2, 28)),
        (date(2025, 12, 31), date(2025, 12, 31)),
        (date(2025, 10, 15), date(2025, 10, 31)),
    ],
)
def test_a_month_ends_where_the_calendar_says(day: date, last: date) -> None:
    assert Window.of_month(day).last_day == last


@pytest.mark.parametrize("end", [date(2025, 10, 1), date(2025, 9, 30)])
def test_a_window_without_a_day_is_refused(end: date) -> None:
    with pytest.raises(ValueError, match="empty window"):
        Window(date(2025, 10, 1), end)


def test_inclusive_dates_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="empty window"):
        Window.inclusive(date(2025, 10, 2), date(2025, 9, 30))


@given(long_windows())
def test_a_window_is_read_back_from_its_text(window: Window) -> None:
    assert Window.parse(str(window)) == window


@given(st.one_of(long_windows(), st.just(UNDATED)))
def test_a_span_is_read_back_from_its_text(span: Span) -> None:
    assert parse_span(str(span)) == span


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-10-01",
        "2025-10-01/",
        "2025-10-01/2025-11-01/2025-12-01",
        "2025-10-01..2025-10-31",
        "2025-11-01/2025-10-01",
        "2025-10-01/2025-10-01",
        "20251001/20251101",
        "2025-10-01 / 2025-11-01",
        "2025-10-01/2025-11-31",
        "Undated",
    ],
)
def test_a_text_of_another_form_is_no_span(text: str) -> None:
    with pytest.raises(ValueError):
        parse_span(text)


@pytest.mark.parametrize(
    "text", ["2025-1-01", "01/10/2025", "20251001", "2025-W40-3", "2025-10-01T00:00", "2025-02-29", "2025-10-01\n", ""]
)
def test_a_date_is_written_in_one_way_only(text: str) -> None:
    with pytest.raises(ValueError, match="not a date") as refused:
        parse_date(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("window", "name"),
    [
        (OCTOBER, "2025-10"),
        (Window(date(2025, 12, 1), date(2026, 1, 1)), "2025-12"),
        (Window(date(2025, 10, 5), date(2025, 10, 6)), "2025-10-05"),
        (Window(date(2025, 10, 5), date(2025, 10, 21)), "2025-10-05..2025-10-20"),
        (Window(date(2025, 10, 1), date(2025, 10, 31)), "2025-10-01..2025-10-30"),
        (Window(date(2025, 10, 1), date(2025, 12, 1)), "2025-10-01..2025-11-30"),
        (Window(date(1, 10, 1), date(1, 11, 1)), "0001-10"),
    ],
)
def test_a_name_shows_what_people_type(window: Window, name: str) -> None:
    assert window.name == name


@given(st.lists(long_windows(), min_size=2, max_size=2, unique=True))
def test_two_windows_never_share_a_name(pair: list[Window]) -> None:
    assert pair[0].name != pair[1].name


@given(long_windows())
def test_months_are_the_window_cut_at_the_first_of_each_month(window: Window) -> None:
    parts = months(window)
    assert parts[0].start == window.start
    assert parts[-1].end == window.end
    assert [part.end for part in parts[:-1]] == [part.start for part in parts[1:]]
    assert all(part.start.day == 1 for part in parts[1:])
    assert all((part.start.year, part.start.month) == (part.last_day.year, part.last_day.month) for part in parts)


@given(long_windows())
def test_whole_months_stay_whole(window: Window) -> None:
    assert all(part.is_month for part in months(window)[1:-1])


@given(long_windows(), long_windows())
def test_windows_of_one_month_share_a_lock(one: Window, other: Window) -> None:
    touched = [{(part.start.year, part.start.month) for part in months(window)} for window in (one, other)]
    assert bool(set(month_keys(one)) & set(month_keys(other))) == bool(touched[0] & touched[1])


@given(long_windows())
def test_locks_are_taken_in_the_order_of_time(window: Window) -> None:
    keys = month_keys(window)
    assert keys == sorted(keys)
    assert len(keys) == len(set(keys)) == len(months(window))


@pytest.mark.parametrize(
    ("span", "keys"),
    [
        (OCTOBER, ["2025-10"]),
        (Window(date(2025, 10, 31), date(2025, 11, 2)), ["2025-10", "2025-11"]),
        (Window(date(1, 1, 1), date(1, 2, 1)), ["0001-01"]),
        (UNDATED, ["undated"]),
    ],
)
def test_a_span_locks_the_months_it_touches(span: Span, keys: list[str]) -> None:
    assert month_keys(span) == keys


@given(windows(NEAR), windows(NEAR))
def test_windows_overlap_where_they_share_a_day(one: Window, other: Window) -> None:
    assert one.overlaps(other) == bool(set(days_of([one])) & set(days_of([other])))


@given(st.lists(windows(NEAR), max_size=6))
def test_merging_keeps_the_days_in_as_few_windows_as_can_be(parts: list[Window]) -> None:
    merged = merge(parts)
    assert days_of(merged) == sorted(set(days_of(parts)))
    assert all(earlier.end < later.start for earlier, later in pairwise(merged))


@given(windows(NEAR), st.lists(windows(NEAR), max_size=6))
def test_what_is_left_and_what_is_done_cover_what_was_wanted(wanted: Window, done: list[Window]) -> None:
    left = subtract(wanted, done)
    assert days_of(left) == sorted(set(days_of([wanted])) - set(days_of(done)))
    assert not any(part.overlaps(window) for part in left for window in done)
    assert merge([*left, *done]) == merge([wanted, *done])


@given(windows(NEAR), st.lists(windows(NEAR), max_size=6))
def test_doing_what_is_left_leaves_nothing(wanted: Window, done: list[Window]) -> None:
    assert subtract(wanted, [*done, *subtract(wanted, done)]) == []


def test_a_month_of_which_one_day_was_done_is_not_done() -> None:
    assert subtract(OCTOBER, [Window.inclusive(date(2025, 10, 1), date(2025, 10, 1))]) == [
        Window.inclusive(date(2025, 10, 2), date(2025, 10, 31))
    ]


def test_all_undated_spans_are_the_same() -> None:
    assert Undated() == UNDATED
    assert str(UNDATED) == UNDATED.name == "undated"
