"""A check whose source, warehouse or lock fails it in the middle, and what is kept off meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from include.demo.changes import hard_delete, late_arrival, late_fix
from include.engines.base import Level
from include.errors import ConnectionLost, CountMismatch, LockHeld, TransientError
from include.replication.observe import Step
from include.replication.prepare import prepare
from include.replication.progress import Status
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.windows import Window
from tests.integration.conftest import OCTOBER, Stage, Stages
from tests.integration.helpers import (
    SALES,
    Watch,
    assert_same_rows,
    end_lock_session,
    load,
    progress_rows,
    source_rows,
    spoil_inserts,
    staging_tables,
    warehouse_rows,
)
from tests.integration.test_reconcile import (
    DAY,
    OTHER_DAY,
    assert_nothing_to_do,
    change,
    check,
    counts,
    day,
    in_warehouse,
    moved,
)


@pytest.mark.parametrize("step", [Step.COMPARING, Step.STAGED])
def test_a_source_that_changes_during_the_check_is_followed_by_the_next(stages: Stages, step: Step) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))

    def meanwhile() -> None:
        change(stage, lambda c: hard_delete(c, SALES, DAY, 1, 7), lambda c: late_arrival(c, SALES, DAY, 1, 8))
        change(stage, lambda c: late_fix(c, SALES, DAY, 2, 9), moved(DAY, OTHER_DAY.start, 1))

    report = reconcile(stage.run(), SALES, DAY, Watch(at={step: meanwhile}))
    assert counts(report) == (0, 2, 0)
    assert source_rows(stage, SALES, DAY) != warehouse_rows(stage, SALES, DAY)
    check(stage)
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage)


def end_source_sessions(stage: Stage) -> None:
    query = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with stage.connect_source() as connection:
        assert {done for (done,) in connection.execute(query)} == {True}


@pytest.mark.parametrize("step", [Step.COMPARING, Step.READING])
def test_a_source_that_is_lost_in_the_middle_leaves_the_copy_as_it_was(stages: Stages, step: Step) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1), lambda c: hard_delete(c, SALES, DAY, 1, 2))
    before = warehouse_rows(stage, SALES)
    with pytest.raises(TransientError):
        reconcile(stage.run(), SALES, DAY, Watch(at={step: lambda: end_source_sessions(stage)}))
    assert warehouse_rows(stage, SALES) == before
    assert staging_tables(stage) == []
    assert progress_rows(stage, phase="fix")[0]["status"] == "failed"
    check(stage)
    assert_same_rows(stage, SALES)
    assert_nothing_to_do(stage)


@pytest.mark.parametrize("step", [step for step in Step if step not in (Step.WAITING, Step.CHECKED, Step.DONE)])
def test_a_check_that_breaks_off_leaves_the_old_rows_or_the_new(stages: Stages, step: Step) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1), lambda c: hard_delete(c, SALES, DAY, 1, 2))
    before = warehouse_rows(stage, SALES)

    def break_off() -> None:
        raise KeyError(step)

    with pytest.raises(KeyError):
        reconcile(stage.run(), SALES, DAY, Watch(at={step: break_off}))
    visible = step in (Step.PUBLISHED, Step.VERIFYING)
    assert warehouse_rows(stage, SALES) == (source_rows(stage, SALES) if visible else before)
    assert staging_tables(stage) == []
    (row,) = progress_rows(stage, phase="fix")
    assert (row["status"], row["published_at"] is not None) == ("failed", visible)
    check(stage)
    assert_same_rows(stage, SALES)


def test_a_check_that_lost_its_lock_repairs_nothing(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    before = warehouse_rows(stage, SALES)
    watch = Watch(at={Step.STAGED: lambda: end_lock_session(stage, "loser")})
    with pytest.raises(ConnectionLost, match=r"the lock of .* was lost, nothing is published"):
        reconcile(stage.run(holder="loser"), SALES, DAY, watch)
    assert warehouse_rows(stage, SALES) == before
    assert staging_tables(stage) == []
    check(stage)
    assert_same_rows(stage, SALES)


def held_off(work: Callable[[], object]) -> Watch:
    """Return a watch in whose middle other work on the table is refused."""

    def refused() -> None:
        with pytest.raises(LockHeld, match=r"com_5013_APP_4_SALES.* is locked by first"):
            work()

    return Watch(at={Step.STAGED: refused})


def test_a_month_that_is_loaded_keeps_the_check_off(stage: Stage) -> None:
    watch = held_off(lambda: check(stage, day(8, 12)))
    replicate(stage.run(holder="first"), SALES, OCTOBER, watch)
    assert Step.DONE in watch.steps
    assert progress_rows(stage, phase="fix") == []


@pytest.mark.parametrize("other", ["another month", "another check"])
def test_a_check_keeps_everything_else_off(stages: Stages, other: str) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    august = Window.of_month(date(2025, 8, 1))
    watch = held_off(
        (lambda: load(stage.run("other"), SALES, august))
        if other == "another month"
        else (lambda: check(stage, OTHER_DAY))
    )
    reconcile(stage.run(holder="first"), SALES, DAY, watch)
    assert Step.DONE in watch.steps
    assert_same_rows(stage, SALES)


def test_days_that_differ_after_the_repair_are_checked_once_more(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))

    def lose_the_day() -> None:
        if watch.steps.count(Step.VERIFYING) == 1:
            assert in_warehouse(stage, 'DELETE FROM {} WHERE "DATETIME__SALES_DATE" = %s', DAY.start) > 0

    watch = Watch(at={Step.VERIFYING: lose_the_day})
    report = reconcile(stage.run(), SALES, DAY, watch)
    rows = assert_same_rows(stage, SALES, DAY)
    assert (report.status, report.unchanged, counts(report)) == (Status.VERIFIED, False, (rows, 2, 0))
    assert progress_rows(stage, phase="fix")[0]["rows_inserted"] == rows


def test_a_warehouse_that_changes_values_is_called_a_mismatch(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    spoil_inserts(stage)
    watch = Watch()
    with pytest.raises(CountMismatch, match=r"APP_4_SALES: .* differ on 2025-10-15 after the repair, .* again"):
        reconcile(stage.run(), SALES, DAY, watch, level=Level.CHECKSUM)
    assert watch.steps.count(Step.READING) == 2
    assert progress_rows(stage, phase="fix")[0]["status"] == "failed"


@pytest.mark.parametrize("by", ["next check", "prepare"])
def test_what_a_killed_check_staged_is_cleared_away(stages: Stages, by: str) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    with stage.connect_warehouse() as connection:
        connection.execute('CREATE TABLE staging."com_5013_APP_4_SALES__changes" (of_a_dead_run int)')
    if by == "prepare":
        assert prepare(stage.run(), SALES)
    else:
        check(stage)
    assert staging_tables(stage) == []


def test_what_a_running_check_staged_is_not_cleared_away(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, DAY, 2, 1))
    watch = Watch(at={Step.STAGED: lambda: prepare(stage.run("other"), SALES)})
    assert counts(reconcile(stage.run(), SALES, DAY, watch)) == (0, 2, 0)
    assert_same_rows(stage, SALES)
