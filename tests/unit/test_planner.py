"""The planner covers every day that no success holds, once, and runs nothing twice but the overlap and today."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from include.cli.app import app
from include.errors import BadRequest
from include.orders_sync.cases import planned_cases
from include.orders_sync.pipelines import Scope
from include.orders_sync.planner import Planned, Reason, Success, covered, plan, reach_past
from include.settings import Settings
from include.windows import Window, merge, subtract

CASES = Path(__file__).parent / "data" / "window_cases.json"
EXPECTED = {case["name"]: case["windows"] for case in json.loads(CASES.read_text())["cases"]}
TODAY, START = date(2026, 1, 11), date(2025, 12, 1)


def days(first: str, last: str) -> Window:
    return Window.inclusive(date.fromisoformat(first), date.fromisoformat(last))


def success(first: str, last: str, scope: Scope = Scope.FULL) -> Success:
    return Success(days(first, last), scope)


def planned(
    *successes: Success, today: date = TODAY, start: date = START, **options: Any
) -> list[tuple[str, str, str]]:
    return [
        (item.window.start.isoformat(), item.window.last_day.isoformat(), item.reason.value)
        for item in plan(today, start, successes, **options)
    ]


# the cases of the file


def test_every_case_of_the_file_is_planned_as_it_says() -> None:
    assert {case["name"]: case["windows"] for case in planned_cases(CASES, "Asia/Kolkata")} == EXPECTED


def test_the_command_prints_a_line_of_json_a_case_and_nothing_else() -> None:
    result = CliRunner().invoke(app, ["plan-orders", "--cases", str(CASES)])
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines == [{"name": name, "windows": windows} for name, windows in EXPECTED.items()]


@pytest.mark.parametrize(
    ("given_", "named"),
    [({"today": "2026-02-30", "start_date": "2026-01-01"}, "case odd: ValueError"), ({}, "case odd: KeyError")],
)
def test_a_case_that_cannot_be_read_is_named(tmp_path: Path, given_: dict[str, Any], named: str) -> None:
    file = tmp_path / "cases.json"
    file.write_text(json.dumps({"cases": [{"name": "odd", "given": given_}]}))
    with pytest.raises(BadRequest, match=named):
        list(planned_cases(file, "Asia/Kolkata"))


def test_a_file_that_is_none_of_cases_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="none\\.json is no file of cases"):
        list(planned_cases(tmp_path / "none.json", "Asia/Kolkata"))


@pytest.mark.parametrize(
    ("now_utc", "last"),
    [
        ("2026-01-13T18:00:00Z", "2026-01-13"),  # 23:30 in Kolkata
        ("2026-01-13T19:00:00Z", "2026-01-14"),  # 00:30 of the next day
    ],
)
def test_today_is_that_of_the_pipelines_timezone(tmp_path: Path, now_utc: str, last: str) -> None:
    file = tmp_path / "cases.json"
    given_ = {"start_date": "2026-01-10", "now_utc": now_utc}
    file.write_text(json.dumps([{"name": "clock", "given": given_}]))
    (case,) = planned_cases(file, Settings().pipeline_timezone)
    assert case["windows"] == [["2026-01-10", last]]


# rules one by one


@pytest.mark.parametrize(
    ("successes", "options", "expected"),
    [
        ([], {}, [("2025-12-01", "2026-01-11", "backfill")]),
        ([success("2025-12-01", "2026-01-10")], {}, [("2026-01-10", "2026-01-11", "overlap")]),
        ([success("2025-12-01", "2026-01-11")], {}, [("2026-01-11", "2026-01-11", "overlap")]),
        ([success("2025-12-01", "2026-01-11")], {"overlap_days": 0}, [("2026-01-11", "2026-01-11", "today")]),
        (
            [success("2025-12-01", "2026-01-11"), success("2026-01-11", "2026-01-11")],
            {"overlap_days": 0},
            [],
        ),
        (
            [success("2025-12-01", "2025-12-05"), success("2025-12-08", "2026-01-10")],
            {},
            [("2025-12-06", "2025-12-07", "gap"), ("2026-01-10", "2026-01-11", "overlap")],
        ),
        ([success("2025-11-01", "2025-11-20")], {}, [("2025-12-01", "2026-01-11", "backfill")]),
        (
            [success("2025-12-10", "2026-01-10")],
            {},
            [("2025-12-01", "2025-12-09", "gap"), ("2026-01-10", "2026-01-11", "overlap")],
        ),
        (
            [success("2025-12-01", "2026-01-10")],
            {"force": True, "window_days": 30},
            [("2025-12-01", "2025-12-30", "forced"), ("2025-12-31", "2026-01-11", "forced")],
        ),
        ([success("2025-12-01", "2026-01-20")], {}, [("2026-01-11", "2026-01-11", "overlap")]),
    ],
    ids=[
        "no success", "success to yesterday", "success to today", "no overlap: today once", "no overlap: today is done",
        "a hole", "successes before the start", "a start moved earlier", "force", "a success in the future",
    ],
)  # fmt: skip
def test_the_plan_of(successes: list[Success], options: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert planned(*successes, **options) == expected


def test_orders_alone_cover_no_day_and_together_with_sales_alone_they_do() -> None:
    orders, sales = (success("2025-12-01", "2026-01-10", scope) for scope in (Scope.ORDERS_ONLY, Scope.SALES_ONLY))
    assert planned(orders) == planned(sales) == [("2025-12-01", "2026-01-11", "backfill")]
    assert planned(orders, sales) == [("2026-01-10", "2026-01-11", "overlap")]


def test_a_start_in_the_future_has_no_plan() -> None:
    assert planned(start=TODAY + timedelta(days=1), force=True) == []


def test_a_success_that_reaches_past_today_is_told() -> None:
    future = success("2026-01-09", "2026-01-20")
    assert reach_past([success("2026-01-01", "2026-01-11"), future], TODAY) == [future.window]


@pytest.mark.parametrize(("option", "value"), [("window_days", 0), ("overlap_days", -1)])
def test_numbers_of_days_that_make_no_sense_are_refused(option: str, value: int) -> None:
    with pytest.raises(BadRequest, match=f"{option}: {value}"):
        planned(**{option: value})


# for any log

EPOCH = date(2024, 12, 1)
offsets = st.integers(0, 500)


@st.composite
def logs(draw: st.DrawFn) -> list[Success]:
    bounds = draw(st.lists(st.tuples(offsets, st.integers(0, 120), st.sampled_from(list(Scope))), max_size=12))
    return [
        Success(Window.inclusive(EPOCH + timedelta(days=first), EPOCH + timedelta(days=first + length)), scope)
        for first, length, scope in bounds
    ]


lengths, overlaps = st.integers(1, 120), st.integers(0, 150)
moments = st.tuples(offsets, offsets).map(lambda pair: tuple(EPOCH + timedelta(days=day) for day in pair))


def all_days(windows: list[Window]) -> list[date]:
    return [window.start + timedelta(days=n) for window in windows for n in range(window.days)]


@given(logs(), moments, lengths, overlaps, st.booleans())
def test_every_uncovered_day_is_planned_once_in_windows_of_the_asked_length(
    log: list[Success], bounds: tuple[date, date], length: int, overlap: int, force: bool
) -> None:
    today, start = bounds
    windows = [item.window for item in plan(today, start, log, window_days=length, overlap_days=overlap, force=force)]
    if start > today:
        assert windows == []
        return
    whole = Window.inclusive(start, today)
    found = all_days(windows)
    assert found == sorted(set(found))
    assert set(all_days(subtract(whole, covered(log, today)))) <= set(found) <= set(all_days([whole]))
    assert all(window.days <= length for window in windows)
    if force:
        assert found == all_days([whole])


@given(logs(), moments, lengths, overlaps)
def test_running_the_plan_leaves_nothing_but_overlap_and_today(
    log: list[Success], bounds: tuple[date, date], length: int, overlap: int
) -> None:
    today, start = bounds
    ran = [Success(item.window) for item in plan(today, start, log, window_days=length, overlap_days=overlap)]
    left = plan(today, start, [*log, *ran], window_days=length, overlap_days=overlap)
    assert {item.reason for item in left} <= {Reason.OVERLAP, Reason.TODAY}
    recent = today - timedelta(days=max(overlap - 1, 0))
    assert all(item.window.start >= max(start, recent) for item in left)


@given(moments, lengths, overlaps, offsets)
def test_a_history_without_holes_is_continued_in_chunks_from_the_overlap(
    bounds: tuple[date, date], length: int, overlap: int, done_days: int
) -> None:
    start, today = sorted(bounds)
    last = min(start + timedelta(days=done_days), today)
    log = [Success(Window.inclusive(start, last))]
    expected = []
    first = max(start, last - timedelta(days=overlap - 1))
    while first <= today:
        to = min(first + timedelta(days=length - 1), today)
        expected.append(Window.inclusive(first, to))
        first = to + timedelta(days=1)
    just_today = Window.inclusive(today, today)
    if not any(window.last_day == today for window in expected) and log[0].window != just_today:
        expected.append(just_today)
    assert [item.window for item in plan(today, start, log, window_days=length, overlap_days=overlap)] == expected


@given(logs(), moments, st.randoms())
def test_neither_the_order_of_the_log_nor_its_cuts_matter(
    log: list[Success], bounds: tuple[date, date], random: Any
) -> None:
    today, start = bounds
    shuffled = list(log)
    random.shuffle(shuffled)
    assert plan(today, start, shuffled) == plan(today, start, log)
    merged = [
        Success(window, scope) for scope in Scope for window in merge([s.window for s in log if s.scope is scope])
    ]
    assert plan(today, start, merged) == plan(today, start, log)


def test_a_clock_of_utc_does_not_decide() -> None:
    moment = datetime(2026, 1, 13, 19, 0, tzinfo=UTC)
    assert moment.astimezone(Settings().pipeline_zone).date() == date(2026, 1, 14)
    assert plan(date(2026, 1, 14), date(2026, 1, 14), []) == [Planned(days("2026-01-14", "2026-01-14"), Reason.TODAY)]
