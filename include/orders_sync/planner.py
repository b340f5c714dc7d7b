"""
Which windows a store needs: pure, from the day, the store and its log.

Coverage decides, not the equality of windows: a day is done when a success holds it. So a
window that failed between two others is found and filled, and another window size runs
nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from include.errors import BadRequest
from include.orders_sync.pipelines import Scope
from include.windows import Window, merge, subtract

WINDOW_DAYS, OVERLAP_DAYS = 90, 1


class Reason(StrEnum):
    """Why a window is planned."""

    BACKFILL = "backfill"
    """Days after the last success, or all of them before the first."""
    GAP = "gap"
    """Days before the last success that no success holds."""
    OVERLAP = "overlap"
    """The most recent days of success, for what the CRM got late."""
    TODAY = "today"
    """Today alone."""
    FORCED = "forced"


@dataclass(frozen=True, order=True, slots=True)
class Planned:
    """A window to run, and why."""

    window: Window
    reason: Reason


@dataclass(frozen=True, slots=True)
class Success:
    """A success in the log: days that are done, for the reports that its run was asked for."""

    window: Window
    scope: Scope = Scope.FULL


def plan(
    today: date,
    start_date: date,
    successes: Iterable[Success],
    *,
    window_days: int = WINDOW_DAYS,
    overlap_days: int = OVERLAP_DAYS,
    force: bool = False,
) -> list[Planned]:
    """
    Return the windows that a store needs, oldest first; together they hold each day at most once.

    :param today: the present day in the pipeline's timezone; no window ends after it.
    :param start_date: the store's first day.
    :param successes: the successes of the store and pipeline, in any order, also overlapping ones.
    :param window_days: how long a window may be.
    :param overlap_days: how many of the most recent days of success run again.
    :param force: plan every day, whatever the log says.
    :raises BadRequest: for a window without days, or an overlap below zero.
    """
    if window_days < 1:
        raise BadRequest(f"window_days: {window_days} is no length, give 1 or more")
    if overlap_days < 0:
        raise BadRequest(f"overlap_days: {overlap_days} is no number of days, give 0 or more")
    if start_date > today:
        return []
    whole = Window.inclusive(start_date, today)
    if force:
        return [Planned(window, Reason.FORCED) for window in _cut([whole], window_days)]
    successes = list(successes)
    done = covered(successes, today)
    holes = subtract(whole, done)
    overlap = _overlap(done, whole, overlap_days)
    windows = _cut(merge([*holes, *overlap]), window_days)
    last = done[-1].end if done else start_date
    planned = [Planned(window, _reason(window, today, holes, overlap, last)) for window in windows]
    just_today = Window.inclusive(today, today)
    if not any(window.end == just_today.end for window in windows) and just_today not in _exactly(successes):
        planned.append(Planned(just_today, Reason.TODAY))
    return planned


def covered(successes: Iterable[Success], today: date) -> list[Window]:
    """
    Return the days of success, in order; a success that reaches past today counts up to today.

    Orders alone do not cover a day, nor sales alone; both together do.
    """
    windows: dict[Scope, list[Window]] = {scope: [] for scope in Scope}
    for success in successes:
        if success.window.start <= today:
            end = min(success.window.end, today + timedelta(days=1))
            windows[success.scope].append(Window(success.window.start, end))
    both = _common(merge(windows[Scope.ORDERS_ONLY]), merge(windows[Scope.SALES_ONLY]))
    return merge([*windows[Scope.FULL], *both])


def reach_past(successes: Iterable[Success], today: date) -> list[Window]:
    """Return the windows of success that end after today: a clock or a timezone was wrong once."""
    return [success.window for success in successes if success.window.last_day > today]


def chunks(window: Window, window_days: int) -> list[Window]:
    """Cut a window into parts of ``window_days``, the last as long as what is left."""
    return _cut([window], window_days)


def _overlap(done: list[Window], whole: Window, overlap_days: int) -> list[Window]:
    """Return the most recent days of success that run again, and those after them up to today."""
    if not done:
        return []
    start = max(whole.start, done[-1].end - timedelta(days=overlap_days))
    return [Window(start, whole.end)] if start < whole.end else []


def _cut(windows: Iterable[Window], days: int) -> list[Window]:
    return list(_cut_each(windows, timedelta(days=days)))


def _cut_each(windows: Iterable[Window], length: timedelta) -> Iterator[Window]:
    for window in windows:
        start = window.start
        while start < window.end:
            yield Window(start, min(start + length, window.end))
            start += length


def _common(some: list[Window], others: list[Window]) -> list[Window]:
    """Return the days that both have."""
    return [
        Window(max(one.start, other.start), min(one.end, other.end))
        for one in some
        for other in others
        if one.overlaps(other)
    ]


def _reason(window: Window, today: date, holes: list[Window], overlap: list[Window], last: date) -> Reason:
    if any(window.overlaps(hole) and max(window.start, hole.start) < last for hole in holes):
        return Reason.GAP
    if any(window.overlaps(part) and max(window.start, part.start) < last for part in overlap):
        return Reason.OVERLAP
    return Reason.TODAY if window == Window.inclusive(today, today) else Reason.BACKFILL


def _exactly(successes: Iterable[Success]) -> set[Window]:
    return {success.window for success in successes if success.scope is Scope.FULL}
