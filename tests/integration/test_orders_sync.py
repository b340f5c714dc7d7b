"""The orders sync pulls what is missing or due, says so in the log, and never doubles or loses a row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import pairwise
from typing import Any

import pytest

from include.demo.postgres import EmbeddedPostgres
from include.errors import BadRequest, FeedUnavailable, ReportUnusable
from include.locks import LockSpace, Name, hold
from include.orders_sync import engine
from include.orders_sync.pipelines import PROFILER, TD, UC, Store
from include.orders_sync.planner import Planned
from include.orders_sync.reports import Report
from include.orders_sync.sync import Result, SyncRun, sync_store
from include.windows import Window
from tests.integration.orders import START, TODAY, WHOLE, Desk, days_before, open_desk


@pytest.fixture
def desk(server: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[Desk]:
    with open_desk(server, templates, START) as desk:
        yield desk


class Failing:
    """Fails reports of a window, so many times; the window is named by its first day."""

    def __init__(self, report: str, *firsts: date, times: int = 1000, error: type[Exception] = ReportUnusable) -> None:
        self.report, self.firsts, self.times, self.error = report, firsts, times, error

    def __call__(self, report: Report, store: Store, window: Window) -> None:
        if report.code == self.report and (not self.firsts or window.start in self.firsts) and self.times > 0:
            self.times -= 1
            raise self.error(f"{report.code} of {window.name} is not to be had")


# runs and reruns


def test_a_first_run_fills_every_store_and_a_second_changes_nothing(desk: Desk) -> None:
    desk.store("A1"), desk.store("B1", "UC")
    first = desk.profile(window_days=15)
    assert (first.status, len(first.windows)) == ("success", 6)
    desk.assert_complete("A1"), desk.assert_complete("B1", "UC")
    before = desk.contents()
    second = desk.profile(window_days=15)
    assert [(w.store_code, w.from_date, w.reason, w.status) for w in second.windows] == [
        ("A1", str(TODAY), "overlap", "success"),
        ("B1", str(TODAY), "overlap", "success"),
    ]
    assert desk.contents() == before
    assert not second.changed


def test_the_log_says_what_was_pulled_and_how_many_rows(desk: Desk) -> None:
    desk.store("A1"), desk.store("B1", "UC")
    desk.profile()
    (td,), (uc,) = desk.log("A1"), desk.log("B1")
    assert (td["status"], td["attempt_no"], td["error_message"], td["run_env"]) == ("success", 1, None, "test")
    assert all((td["orders_pulled_at"], td["sales_pulled_at"], uc["orders_pulled_at"]))
    assert (uc["status"], uc["sales_pulled_at"], uc["sales_downloaded"]) == ("success", None, None)
    orders = len(desk.crm.rows(TD.orders, "A1", WHOLE))
    assert (td["orders_downloaded"], td["orders_ingested"], td["orders_inserted"]) == (orders, orders, orders)
    assert (td["orders_updated"], td["orders_dropped"], td["cost_center"]) == (0, 0, "CA1")


def test_the_run_is_recorded_with_every_window(desk: Desk) -> None:
    desk.store("A1")
    summary = desk.profile(window_days=30)
    (row,) = desk.ask("SELECT * FROM public.pipeline_run_summaries")
    assert (row["pipeline_name"], row["overall_status"], row["report_date"]) == (PROFILER, "success", TODAY)
    assert row["summary_text"] == summary.text == "td_orders_sync: 2 success, 0 partial, 0 failed, 0 skipped, 0 not run"
    assert [w["status"] for w in row["metrics"]["windows"]] == ["success"] * 2
    assert row["started_at"] <= row["finished_at"]


def test_a_run_without_work_is_a_success_and_says_so(desk: Desk) -> None:
    desk.store("A1", start=None)
    (
        desk.store("A2", is_active=False),
        desk.store("A3", sync_orders_flag=False),
        desk.store("A4", start=date(2026, 2, 1)),
    )
    summary = desk.profile()
    assert (summary.status, summary.text, summary.changed) == ("success", "nothing to do", False)


def test_orders_that_come_late_are_found_by_the_overlap(desk: Desk) -> None:
    desk.store("A1")
    desk.profile()
    desk.crm.add_late("A1", days_before(2))
    summary = desk.profile(overlap_days=3)
    assert summary.changed
    assert summary.totals["orders_inserted"] == 1
    desk.assert_complete()


# what fails


def test_without_sales_a_window_is_partial_and_filled_by_the_next_run(desk: Desk) -> None:
    desk.store("A1")
    desk.before = Failing("td_sales")
    summary = desk.profile()
    (row,) = desk.log()
    assert (summary.status, row["status"], row["sales_pulled_at"]) == ("partial", "partial", None)
    assert row["orders_pulled_at"] is not None
    assert "td_sales of 2025-12-01..2026-01-11 is not to be had" in row["error_message"]
    desk.before = Failing("none")
    assert desk.profile().status == "success"
    desk.assert_complete()


def test_without_orders_a_window_is_failed_and_its_sales_are_not_asked_for(desk: Desk) -> None:
    desk.store("A1")
    desk.before = Failing("td_orders")
    assert desk.profile().status == "failed"
    (row,) = desk.log()
    assert (row["status"], row["orders_pulled_at"], row["sales_pulled_at"]) == ("failed", None, None)
    assert desk.crm.asked() == []


def test_a_failed_window_stops_the_later_ones_but_not_todays_nor_other_stores(desk: Desk) -> None:
    desk.store("A1"), desk.store("A2")
    second = date(2025, 12, 11)

    def before(report: Report, store: Store, window: Window) -> None:
        if store.code == "A1" and window.start == second:
            raise ReportUnusable("not to be had")

    desk.before = before
    summary = desk.profile(window_days=10)
    of_first = [(w.from_date, w.status, w.stopped_by) for w in summary.windows if w.store_code == "A1"]
    assert of_first == [
        ("2025-12-01", "success", None),
        ("2025-12-11", "failed", None),
        ("2025-12-21", "not_run", "2025-12-11..2025-12-20"),
        ("2025-12-31", "not_run", "2025-12-11..2025-12-20"),
        ("2026-01-10", "success", None),
    ]
    assert {w.status for w in summary.windows if w.store_code == "A2"} == {"success"}
    desk.before = Failing("none")
    again = desk.profile(window_days=10)
    assert [(w.from_date, w.to_date) for w in again.windows if w.store_code == "A1"] == [
        ("2025-12-11", "2025-12-20"),
        ("2025-12-21", "2025-12-30"),
        ("2025-12-31", "2026-01-09"),
        ("2026-01-11", "2026-01-11"),
    ]
    desk.assert_complete("A1"), desk.assert_complete("A2")


def test_today_waits_for_the_refresh_of_days_of_success(desk: Desk) -> None:
    desk.store("A1", start=days_before(3))
    desk.profile(window_days=1)
    desk.crm.add_late("A1", TODAY)
    tomorrow = days_before(-1)
    desk.before = Failing("td_orders", TODAY)
    failed = desk.profile(today=tomorrow, window_days=1)
    assert [(w.from_date, w.reason, w.status) for w in failed.windows] == [
        (str(TODAY), "overlap", "failed"),
        (str(tomorrow), "today", "not_run"),
    ]
    desk.before = Failing("none")
    again = desk.profile(today=tomorrow, window_days=1)
    assert [(w.from_date, w.status) for w in again.windows] == [(str(TODAY), "success"), (str(tomorrow), "success")]
    desk.assert_complete(window=Window.inclusive(days_before(3), tomorrow))


def test_what_passes_is_tried_again_in_the_same_run_and_the_error_is_cleared(desk: Desk) -> None:
    desk.store("A1")
    desk.before = Failing("td_sales", times=1, error=FeedUnavailable)
    summary = desk.profile()
    assert summary.status == "success"
    (row,) = desk.log()
    assert (row["status"], row["attempt_no"], row["error_message"]) == ("success", 2, None)
    orders = len(desk.crm.rows(TD.orders, "A1", WHOLE))
    assert (row["orders_downloaded"], row["orders_inserted"], row["orders_updated"]) == (orders, orders, 0)
    assert summary.changed


def test_an_attempt_that_fails_does_not_show_what_an_earlier_one_downloaded(desk: Desk) -> None:
    desk.store("A1")
    desk.profile("again")
    desk.before = Failing("td_orders")
    desk.profile("again", force=True)
    (row,) = [row for row in desk.log() if row["from_date"] == START]
    assert (row["status"], row["orders_downloaded"], row["sales_dropped"]) == ("failed", None, None)
    assert row["orders_inserted"] > 0


def test_attempts_end(desk: Desk) -> None:
    desk.store("A1")
    desk.before = Failing("td_orders", error=FeedUnavailable)
    assert desk.profile().status == "failed"
    (row,) = desk.log()
    assert (row["attempt_no"], row["status"]) == (desk.settings.retries + 1, "failed")


def test_a_crm_that_is_ill_for_a_moment_is_asked_again(desk: Desk) -> None:
    desk.store("A1")
    desk.crm.faults.errors = 1
    assert desk.profile().status == "success"
    desk.assert_complete()


def test_an_empty_window_is_a_success_only_if_the_crm_says_so(desk: Desk) -> None:
    desk.store("A1", start=date(2025, 6, 1))
    summary = desk.sync(TD, "A1", from_date="2025-06-01", to_date="2025-06-30")
    assert summary.status == "success"
    desk.crm.faults.no_total = True
    summary = desk.sync(TD, "A1", from_date="2025-07-01", to_date="2025-07-31")
    assert summary.status == "failed"
    assert "no rows, and the source does not say that the window is empty" in str(summary.windows[0].error)


def test_a_crm_that_answers_another_window_covers_nothing(desk: Desk) -> None:
    desk.store("A1")
    desk.crm.faults.window = ("2025-01-01", "2025-01-31")
    summary = desk.profile()
    assert summary.status == "failed"
    assert desk.ask("SELECT 1 FROM public.orders") == []


@pytest.mark.parametrize(
    ("values", "message"),
    [({"cost_center": None}, "store A1 has no cost_center in store_master")],
)
def test_what_a_store_lacks_is_in_the_log(desk: Desk, values: dict[str, Any], message: str) -> None:
    desk.store("A1", **values)
    summary = desk.profile(window_days=20)
    assert [w.status for w in summary.windows] == ["failed", "not_run", "not_run"]
    assert message in desk.log()[0]["error_message"]


# refused


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ZZ", "no store 'ZZ' in store_master"),
        ("A2", "store A2 is not active"),
        ("a1", "no store 'a1'"),
        ("B1", "store B1 is of sync_group UC, not of TD"),
    ],
)
def test_the_profiler_refuses_a_store_that_it_does_not_look_at(desk: Desk, code: str, message: str) -> None:
    desk.store("A1"), desk.store("A2", is_active=False), desk.store("B1", "UC")
    with pytest.raises(BadRequest, match=message):
        desk.profile(store_code=code, sync_group="TD")
    assert desk.ask("SELECT 1 FROM public.pipeline_run_summaries") == []


def test_a_pipeline_refuses_a_store_of_the_other_crm(desk: Desk) -> None:
    desk.store("B1", "UC")
    with pytest.raises(BadRequest, match="store B1 is of sync_group UC, not of TD"):
        desk.sync(TD, "B1")
    assert desk.ask("SELECT 1 FROM public.pipeline_run_summaries") == []


# by hand


def test_orders_alone_and_sales_alone_cover_the_days_only_together(desk: Desk) -> None:
    desk.store("A1")
    days = {"from_date": str(START), "to_date": str(TODAY)}
    desk.sync(TD, "A1", orders_only=True, **days)
    (row,) = desk.log()
    assert (row["status"], row["sales_pulled_at"]) == ("success", None)
    planned = [(w.from_date, w.reason) for w in desk.profile("whole run").windows]
    assert planned == [(str(START), "backfill")]
    desk.ask("DELETE FROM public.orders_sync_log WHERE run_id = 'whole run'")
    desk.sync(TD, "A1", sales_only=True, **days)
    assert [w.reason for w in desk.profile().windows] == ["overlap"]
    desk.assert_complete()


def test_a_pipeline_by_hand_pulls_the_named_days_and_the_profiler_fills_the_rest(desk: Desk) -> None:
    desk.store("B1", "UC")
    assert desk.sync(UC, "B1", from_date="2025-12-20", to_date="2025-12-25").status == "success"
    assert desk.windows("B1") == [("2025-12-20", "2025-12-25", "success")]
    desk.profile()
    assert desk.windows("B1")[1:] == [("2025-12-01", "2025-12-19", "success"), ("2025-12-25", "2026-01-11", "success")]
    desk.assert_complete("B1", "UC")


# several runs


def test_two_profilers_at_once_never_work_on_one_store_together(desk: Desk) -> None:
    for number in range(4):
        desk.store(f"A{number}")
    desk.crm.faults.delay = 0.05
    with ThreadPoolExecutor(2) as pool:
        summaries = list(pool.map(lambda run_id: desk.profile(run_id, window_days=15), ("one", "two")))
    assert {summary.status for summary in summaries} == {"success"}
    for number in range(4):
        rows = sorted(desk.log(f"A{number}"), key=lambda row: row["created_at"])
        assert all(row["updated_at"] <= later["created_at"] for row, later in pairwise(rows))
        done = [(row["from_date"], row["to_date"]) for row in rows if row["to_date"] < TODAY]
        assert len(done) == len(set(done)), "a window was pulled twice"
        desk.assert_complete(f"A{number}")


def test_a_store_that_another_run_holds_is_skipped_and_no_failure(desk: Desk) -> None:
    desk.store("A1"), desk.store("A2")
    desk.settings = desk.settings.model_copy(update={"crm_lock_wait": 0.0})
    with hold(desk.control, [Name(LockSpace.STORE, "A1")], holder="somebody", wait=0):
        summary = desk.profile()
    assert [(w.store_code, w.status) for w in summary.windows] == [("A1", "skipped"), ("A2", "success")]
    assert "A1 is locked by somebody" in str(summary.windows[0].error)
    assert summary.status == "success"


def test_by_hand_a_store_that_another_run_holds_is_a_failure(desk: Desk) -> None:
    desk.store("A1")
    desk.settings = desk.settings.model_copy(update={"crm_lock_wait": 0.0})
    with hold(desk.control, [Name(LockSpace.STORE, "A1")], holder="somebody", wait=0):
        summary = desk.sync(TD, "A1")
    assert (summary.status, [w.status for w in summary.windows]) == ("failed", ["failed"])
    assert "A1 is locked by somebody" in summary.text


def test_a_window_that_another_run_did_meanwhile_is_skipped_whatever_becomes_of_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store("A1", start=days_before(19))

    def sync_late(run: SyncRun, store: Store, planned: list[Planned], told: Any) -> list[Result]:
        if run.id == "planned first":
            window = planned[0].window
            desk.sync(TD, "A1", from_date=str(window.start), to_date=str(window.last_day))
        return sync_store(run, store, planned, told)

    monkeypatch.setattr(engine, "sync_store", sync_late)
    desk.before = Failing("td_sales", days_before(9))
    summary = desk.profile("planned first", window_days=10)
    assert [w.status for w in summary.windows] == ["skipped", "partial"]
    assert (summary.windows[0].error, summary.status) == ("done by another run meanwhile", "partial")


def test_different_stores_run_side_by_side(desk: Desk) -> None:
    desk.store("A1"), desk.store("A2")
    both = threading.Barrier(2, timeout=20)
    waited: set[str] = set()

    def before(report: Report, store: Store, window: Window) -> None:
        if store.code not in waited:
            waited.add(store.code)
            both.wait()

    desk.before = before
    assert desk.profile(max_workers=2).status == "success"


def test_max_workers_caps_the_stores_at_once(desk: Desk) -> None:
    for number in range(3):
        desk.store(f"A{number}")
    desk.profile(max_workers=1)
    rows = desk.ask("SELECT store_code, created_at, updated_at FROM public.orders_sync_log ORDER BY created_at")
    assert all(row["updated_at"] <= later["created_at"] for row, later in pairwise(rows))
