"""A run is closed with what really became of it: one that died, that lost a session, or that is begun anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from include.demo.postgres import EmbeddedPostgres
from include.engines.postgres.connect import connect
from include.errors import LockHeld, ReportUnusable
from include.locks import LockSpace, Name, hold
from include.orders_sync import closing
from include.orders_sync.pipelines import PROFILER, TD, UC, Store
from include.orders_sync.reports import Report
from include.orders_sync.runs import AIRFLOW, COMMAND, Head, open_run
from include.windows import Window
from retail_sync.operators import orders as operators
from tests.integration.orders import START, TODAY, Desk, open_desk

TIMEOUT = 20


@pytest.fixture
def desk(server: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[Desk]:
    with open_desk(server, templates, START) as desk:
        yield desk


def run_row(desk: Desk, run_id: str) -> dict[str, Any]:
    (row,) = desk.ask("SELECT * FROM public.pipeline_run_summaries WHERE run_id = %s", run_id)
    return row


def refuse(report: Report, store: Store, window: Window) -> None:
    raise ReportUnusable("not to be had")


# runs that never ended


def begin(desk: Desk, run_id: str, launcher: str, deployment: str) -> None:
    """Begin a run that calls itself as nobody else does, after closing those that died."""
    head = Head(PROFILER, run_id, f"only {run_id}", TODAY, launcher, deployment, {})
    with connect(desk.control, autocommit=True) as session:
        closing.close_dead_runs(session, head)
        open_run(session, head)


@pytest.mark.parametrize(
    ("launcher", "next_launcher", "next_deployment", "closed"),
    [
        (COMMAND, COMMAND, "here", True),
        (COMMAND, AIRFLOW, "elsewhere", True),
        (AIRFLOW, AIRFLOW, "here", True),
        (AIRFLOW, AIRFLOW, "elsewhere", False),
        (AIRFLOW, COMMAND, "here", False),
    ],
)
def test_a_run_that_died_is_closed_whatever_it_called_itself(
    desk: Desk, launcher: str, next_launcher: str, next_deployment: str, closed: bool
) -> None:
    begin(desk, "dead", launcher, "here")
    begin(desk, "next", next_launcher, next_deployment)
    row = run_row(desk, "dead")
    expected = ("failed", "it never ended: its process died; closed by run next") if closed else ("running", None)
    assert (row["overall_status"], row["summary_text"]) == expected


def test_a_run_of_the_command_line_that_lives_is_left_alone(desk: Desk) -> None:
    with hold(desk.control, [Name(LockSpace.RUN, "alive")], holder="alive", wait=0):
        begin(desk, "alive", COMMAND, "here")
        begin(desk, "next", COMMAND, "here")
    assert run_row(desk, "alive")["overall_status"] == "running"


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(desk, "ending", COMMAND, "here")

    def end_and_look(session: Any, name: Name) -> None:
        desk.ask("UPDATE public.pipeline_run_summaries SET overall_status = 'success' WHERE run_id = %s", name.name)

    monkeypatch.setattr(closing, "holder_of", end_and_look)
    begin(desk, "next", COMMAND, "here")
    assert run_row(desk, "ending")["overall_status"] == "success"


def test_a_run_whose_own_session_is_lost_goes_on_and_says_how_it_ended(desk: Desk) -> None:
    desk.store("A1", start=TODAY)

    def lose(report: Report, store: Store, window: Window) -> None:
        desk.ask("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE classid = %s", int(LockSpace.RUN))
        begin(desk, "next", COMMAND, "here")

    desk.before = lose
    assert desk.profile("orphan").status == "success"
    row = run_row(desk, "orphan")
    assert (row["overall_status"], row["metrics"]["windows"][0]["status"]) == ("success", "success")
    assert row["summary_text"] == "td_orders_sync: 1 success, 0 partial, 0 failed, 0 skipped, 0 not run"


# runs that are begun anew, as a clear does


def test_a_run_that_is_planned_anew_refreshes_again_and_keeps_what_it_did_before(desk: Desk) -> None:
    desk.store("A1")
    desk.before = refuse
    desk.profile("cleared")
    desk.before = lambda *_: None
    desk.profile("other")
    late = desk.crm.add_late("A1", TODAY)
    again = desk.profile("cleared")
    assert [(w.from_date, w.reason, w.status) for w in again.windows] == [
        (str(START), "earlier", "skipped"),
        (str(TODAY), "overlap", "success"),
    ]
    assert again.status == "success"
    later = desk.crm.add_late("A1", TODAY)
    once_more = desk.profile("cleared")
    assert [w.attempt_no for w in once_more.windows] == [1, 2]
    found = {row["order_number"] for row in desk.ask("SELECT order_number FROM public.orders")}
    assert {late, later} <= found


# under Airflow


@pytest.fixture
def airflow_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    """Operators that work on the desk, in a run of this id."""
    monkeypatch.setattr(operators.OrdersOperator, "sync_run_id", lambda *_: "run")
    monkeypatch.setattr(operators.OrdersOperator, "control", lambda *_: desk.control)
    monkeypatch.setattr(operators.OrdersOperator, "holder", lambda *_: "task")
    return "run"


def close(monkeypatch: pytest.MonkeyPatch, *failed: str) -> dict[str, Any]:
    """Close the run where these tasks failed; return the message that is left."""
    monkeypatch.setattr(operators, "failed_tasks", lambda _: list(failed))
    messages: list[dict[str, Any]] = []
    context = {"ti": SimpleNamespace(xcom_push=lambda *, key, value: messages.append(value))}
    try:
        operators.CloseSyncOperator(task_id="close").execute(context)
    except operators.AirflowFailException:
        assert messages[0]["status"] == "failed"
    return messages[0]


def test_a_pipeline_that_could_not_be_planned_does_not_hide_what_the_other_did(
    desk: Desk, airflow_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store("B1", "UC", start=TODAY), desk.store("B2", "UC", start=TODAY)
    desk.profile(airflow_run, sync_group="UC")
    desk.ask("UPDATE public.orders_sync_log SET status = 'running' WHERE store_code = 'B2'")
    message = close(monkeypatch, "td.plan")
    row = run_row(desk, airflow_run)
    assert (row["overall_status"], row["summary_text"]) == ("failed", message["text"])
    assert message["text"].splitlines()[:2] == [
        "the run could not be planned, see the log of td.plan",
        "uc_orders_sync: 1 success, 0 partial, 1 failed, 0 skipped, 0 not run",
    ]
    assert [window["store_code"] for window in row["metrics"]["windows"]] == ["B1", "B2"]
    assert desk.windows("B2") == [(str(TODAY), str(TODAY), "failed")]
    desk.ask("TRUNCATE public.pipeline_run_summaries CASCADE")
    assert close(monkeypatch, "open")["text"] == "the run could not be planned, see the log of open"


def test_a_store_that_was_skipped_once_is_not_skipped_for_good(
    desk: Desk, airflow_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store("A1", start=TODAY)
    desk.settings = desk.settings.model_copy(update={"crm_lock_wait": 0.0})
    run = desk.run(airflow_run)
    task = operators.SyncStoreOperator(task_id="store", pipeline=TD.code, stores=["A1"], title="A1")
    with hold(desk.control, [Name(LockSpace.STORE, "A1")], holder="somebody", wait=0):
        desk.profile(airflow_run)
        assert close(monkeypatch)["status"] == "success"
        # cleared, and none of its tries comes to an end
        with pytest.raises(LockHeld):
            task._sync({"ti": SimpleNamespace(try_number=2, max_tries=3)}, run, "A1")
    assert close(monkeypatch)["status"] == "failed"


def test_stores_of_both_crms_take_any_free_turn_up_to_max_workers(
    desk: Desk, airflow_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, at_once, most = threading.Barrier(2, timeout=TIMEOUT), [], []

    def sync(_: Any, __: Any, ___: Any, code: str) -> list[str]:
        at_once.append(code)
        most.append(len(at_once))
        together.wait()
        at_once.remove(code)
        return []

    monkeypatch.setattr(operators.SyncStoreOperator, "_open_run", lambda *_: desk.run(airflow_run))
    monkeypatch.setattr(operators.SyncStoreOperator, "_sync", sync)

    def task(code: str, pipeline: str, index: int) -> Callable[[], Any]:
        operator = operators.SyncStoreOperator(task_id=code, pipeline=pipeline, stores=[code], title=code)
        context = {"ti": SimpleNamespace(map_index=index), "params": {"max_workers": 2}}
        return lambda: operator.execute(context)

    tasks = [task("A1", TD.code, 0), task("B1", UC.code, 0), task("A3", TD.code, 2), task("B3", UC.code, 2)]
    with ThreadPoolExecutor(len(tasks)) as pool:
        for future in [pool.submit(work) for work in tasks]:
            future.result(TIMEOUT)
    assert max(most) == 2
