"""Two runs keep off each other's months, and a run that lost its lock publishes nothing."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest

from include.errors import ConnectionLost, LockHeld, TransientError
from include.locks import LockSpace, Name, hold, hold_any
from include.replication.claims import lock_names
from include.replication.observe import Step
from include.replication.replicate import Report, replicate
from include.settings import Settings
from include.windows import UNDATED, Span, Window
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import (
    SALES,
    Watch,
    assert_same_rows,
    connect_control,
    end_lock_session,
    load,
    one,
    progress_rows,
    staging_tables,
    warehouse_rows,
)

SEPTEMBER = Window.of_month(date(2025, 9, 1))
PART = Window.inclusive(date(2025, 10, 5), date(2025, 10, 20))
TIMEOUT = 60


class Paused:
    """A run of another thread that waits at a step until it is let go."""

    def __init__(self, stage: Stage, span: Span, step: Step, **options: Any) -> None:
        self._reached, self._go_on = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=1)
        watch = Watch(at={step: self._pause})
        self.report: Future[Report] = self._pool.submit(replicate, stage.run("paused", **options), SALES, span, watch)

    def _pause(self) -> None:
        self._reached.set()
        self._go_on.wait(TIMEOUT)

    def __enter__(self) -> Paused:
        assert self._reached.wait(TIMEOUT)
        return self

    def finish(self) -> Report:
        self._go_on.set()
        return self.report.result(TIMEOUT)

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        self._pool.shutdown()


def test_the_second_of_two_runs_waits_and_finds_the_window_unchanged(stage: Stage) -> None:
    with Paused(stage, OCTOBER, Step.STAGED) as first, ThreadPoolExecutor(max_workers=1) as pool:
        watch = Watch()
        run = stage.run("second", settings=Settings(lock_wait=TIMEOUT))
        second = pool.submit(replicate, run, SALES, OCTOBER, watch)
        assert not first.finish().unchanged
        assert second.result(TIMEOUT).unchanged
    assert Step.READING not in watch.steps
    assert second.result().seconds_waiting > 0
    (one_row, other_row) = progress_rows(stage)
    assert one_row["finished_at"] <= other_row["started_at"]
    assert_same_rows(stage, SALES, OCTOBER)


@pytest.mark.parametrize("wanted", [OCTOBER, PART], ids=["same month", "part of it"])
def test_a_run_that_may_not_wait_is_told_who_holds_the_lock(stage: Stage, wanted: Window) -> None:
    with Paused(stage, OCTOBER, Step.STAGED, holder="nightly run on host7") as first:
        with connect_control(stage) as connection:
            pid = one(
                connection, "SELECT pid FROM pg_stat_activity WHERE application_name = %s", "nightly run on host7"
            )
        with pytest.raises(LockHeld, match=rf"APP_4_SALES 2025-10 .*nightly run on host7 \(pid {pid}, since ") as told:
            load(stage.run("second"), SALES, wanted)
        assert isinstance(told.value, TransientError)
        assert progress_rows(stage, run_id="second") == []
        assert first.finish().status == "verified"


@pytest.mark.parametrize("other", [SEPTEMBER, UNDATED], ids=["another month", "undated"])
def test_other_windows_of_the_table_run_meanwhile(stage: Stage, other: Span) -> None:
    with Paused(stage, OCTOBER, Step.STAGED) as first:
        (report,) = load(stage.run("second"), SALES, other)
        assert report.rows_published == assert_same_rows(stage, SALES, other) > 0
        assert not warehouse_rows(stage, SALES, OCTOBER)
        first.finish()
    assert_same_rows(stage, SALES, OCTOBER)


def test_a_window_over_two_months_locks_both(stage: Stage) -> None:
    names = lock_names(SALES, Window.inclusive(SEPTEMBER.last_day, OCTOBER.start))
    with hold(stage.control_connection, names, holder="both", wait=0):
        for month in (SEPTEMBER, OCTOBER):
            with pytest.raises(LockHeld, match="locked by both"):
                load(stage.run(), SALES, month)


def test_a_lock_is_free_after_a_run_failed(stage: Stage) -> None:
    def fail() -> None:
        raise RuntimeError("an observer's own mistake")

    with pytest.raises(RuntimeError):
        replicate(stage.run("failing"), SALES, OCTOBER, Watch(at={Step.CHECKED: fail}))
    assert staging_tables(stage) == []
    (report,) = load(stage.run("second"), SALES, OCTOBER)
    assert report.status == "verified"


@pytest.mark.parametrize("span", [OCTOBER, PART], ids=["month", "part"])
def test_a_run_that_lost_its_lock_publishes_nothing(stage: Stage, span: Window) -> None:
    watch = Watch(at={Step.CHECKED: lambda: end_lock_session(stage, "about to lose")})
    with pytest.raises(ConnectionLost, match=r"the lock of .*APP_4_SALES 2025-10 was lost, nothing is published"):
        replicate(stage.run(holder="about to lose"), SALES, span, watch)
    assert Step.PUBLISHED not in watch.steps
    assert not warehouse_rows(stage, SALES)
    assert staging_tables(stage) == []
    (row,) = progress_rows(stage)
    assert (row["status"], row["published_at"]) == ("failed", None)
    (report,) = load(stage.run("next"), SALES, span)
    assert report.rows_published == assert_same_rows(stage, SALES, span)


def test_the_view_shows_who_holds_locks(stage: Stage) -> None:
    query = "SELECT lock_space, holder FROM retail_sync.lock_holders WHERE holder = 'somebody'"
    with connect_control(stage) as connection:
        assert connection.execute(query).fetchall() == []
        with hold(
            stage.control_connection,
            [Name(LockSpace.WINDOW, "a"), Name(LockSpace.WINDOW, "b")],
            holder="somebody",
            wait=0,
        ):
            assert connection.execute(query).fetchall() == [("window", "somebody")] * 2
            # another namespace, as a lock of somebody else's would have
            connection.execute("SELECT pg_advisory_lock(1, 1)")
            assert one(connection, "SELECT count(*) FROM retail_sync.lock_holders") == 2


def test_a_lock_of_another_database_is_no_lock_here(stage: Stage) -> None:
    with (
        hold(stage.warehouse_connection, [Name(LockSpace.WINDOW, "a")], holder="elsewhere", wait=0),
        hold(stage.control_connection, [Name(LockSpace.WINDOW, "a")], holder="here", wait=0) as lock,
    ):
        lock.assert_held()


def test_a_lock_is_free_the_moment_its_block_ends(stage: Stage) -> None:
    name = Name(LockSpace.WINDOW, "again and again")
    with connect_control(stage) as next_one:
        for round_number in range(50):
            with hold(stage.control_connection, [name], holder=f"round {round_number}", wait=0):
                pass
            assert one(next_one, "SELECT pg_try_advisory_lock(%s, %s)", *name.key), f"round {round_number}"
            next_one.execute("SELECT pg_advisory_unlock_all()")


def test_waiting_ends_when_the_time_is_up(stage: Stage) -> None:
    with (
        hold(stage.control_connection, [Name(LockSpace.WINDOW, "a")], holder="first", wait=0),
        pytest.raises(LockHeld, match="a is locked by first"),
        hold(
            stage.control_connection,
            [Name(LockSpace.WINDOW, "b"), Name(LockSpace.WINDOW, "a")],
            holder="second",
            wait=0.3,
        ),
    ):
        pass


TURNS = [Name(LockSpace.WORKER, turn) for turn in "ab"]


def test_of_several_locks_the_first_that_is_free_is_held_alone(stage: Stage) -> None:
    control = stage.control_connection
    with hold_any(control, TURNS, holder="first", wait=0) as first:
        assert first.names == ["a"]
        with hold_any(control, TURNS, holder="second", wait=0) as second:
            assert second.names == ["b"]
        with hold(control, TURNS[1:], holder="third", wait=0):
            pass


def test_whoever_waits_for_several_locks_gets_the_one_that_is_given_back_first(stage: Stage) -> None:
    control = stage.control_connection
    with hold(control, TURNS[:1], holder="long", wait=0), ThreadPoolExecutor(max_workers=1) as pool:

        def wait() -> list[str]:
            with hold_any(control, TURNS, holder="waiting", wait=TIMEOUT) as lock:
                return list(lock.names)

        with hold(control, TURNS[1:], holder="short", wait=0):
            names = pool.submit(wait)
            with connect_control(stage) as connection:
                while not one(connection, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waiting'"):
                    pass
        assert names.result(TIMEOUT) == ["b"]


def test_waiting_for_several_locks_ends_and_names_all_who_hold_them(stage: Stage) -> None:
    control = stage.control_connection
    with (
        hold(control, TURNS[:1], holder="first", wait=0),
        hold(control, TURNS[1:], holder="second", wait=0),
        pytest.raises(LockHeld, match=r"a is locked by first .*; b is locked by second"),
        hold_any(control, TURNS, holder="third", wait=0.2),
    ):
        pass
