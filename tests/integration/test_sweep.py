"""The sweep finds what changed at the source by its rowversion, and moves its mark with the rows."""

from __future__ import annotations

from datetime import date

import psycopg
import pytest
from psycopg import sql

from include.demo.changes import hard_delete, late_arrival, late_fix, move_date, void
from include.errors import ConnectionLost, LockHeld, TransientError
from include.replication import sweep as module
from include.replication.observe import Step
from include.replication.progress import Phase, Status
from include.replication.replicate import replicate
from include.replication.run import Report
from include.replication.sweep import Marks, read_marks, sweep
from include.windows import Window
from tests.integration.conftest import OCTOBER, Stage, Stages
from tests.integration.helpers import (
    CATALOG,
    SALES,
    Watch,
    assert_same_rows,
    doubled_keys,
    end_lock_session,
    load,
    load_all,
    one,
    progress_rows,
    replica_of,
    source_of,
    source_rows,
    staging_tables,
    warehouse_rows,
)
from tests.integration.test_reconcile import Change, change, counts, day
from tests.integration.test_reconcile_broken import end_source_sessions

THREE_WEEKS_AGO = day(10, 10)


def swept(stage: Stage, run_id: str = "sweep") -> Report:
    return sweep(stage.run(run_id), SALES, Watch())


def marks_of(stage: Stage) -> Marks | None:
    return read_marks(stage.warehouse.metadata(), SALES)


def highest_at_source(stage: Stage) -> bytes:
    with stage.connect_source() as connection:
        highest = connection.execute(
            sql.SQL('SELECT "UPDATE_TIMESTAMP" FROM {} ORDER BY 1 DESC LIMIT 1').format(source_of(SALES))
        ).fetchone()
    assert highest is not None
    return bytes(highest[0])


def highest_in_copy(stage: Stage) -> bytes:
    highest = stage.warehouse.highest_version(SALES)
    assert highest is not None
    return highest


def assert_nothing_to_sweep(stage: Stage) -> None:
    watch = Watch()
    report = sweep(stage.run("again"), SALES, watch)
    assert (report.unchanged, report.rows_read, counts(report)) == (True, 0, (0, 0, 0))
    assert Step.READING not in watch.steps


@pytest.mark.parametrize(
    ("change_of", "expected"),
    [
        pytest.param(lambda c: late_fix(c, SALES, THREE_WEEKS_AGO, 3, 1), (0, 3, 0), id="late update"),
        pytest.param(lambda c: void(c, SALES, THREE_WEEKS_AGO, 3, 1), (0, 3, 0), id="void"),
        pytest.param(lambda c: late_arrival(c, SALES, THREE_WEEKS_AGO, 3, 1), (3, 0, 0), id="late insert"),
        pytest.param(lambda c: move_date(c, SALES, OCTOBER, 3, 1, to=date(2025, 8, 9)), (0, 3, 0), id="moved"),
        pytest.param(
            lambda c: move_date(c, SALES, OCTOBER, 3, 1, to=date(2025, 12, 24)), (0, 3, 0), id="month without partition"
        ),
    ],
)
def test_a_change_of_any_date_is_found(stages: Stages, change_of: Change, expected: tuple[int, int, int]) -> None:
    stage = stages.loaded(SALES)
    change(stage, change_of)
    report = swept(stage)
    assert (report.status, report.unchanged, report.rows_read) == (Status.PUBLISHED, False, 3)
    assert counts(report) == expected
    assert_same_rows(stage, SALES)
    assert doubled_keys(stage, SALES) == []
    assert staging_tables(stage) == []
    assert_nothing_to_sweep(stage)


def test_rows_that_came_by_another_way_are_not_read_again(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    swept(stage)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 3, 1))
    load(stage.run("load"), SALES, OCTOBER)
    report = swept(stage, "second")
    assert (report.unchanged, report.rows_source, report.rows_unchanged, report.rows_read) == (True, 3, 3, 0)


def test_deletions_are_left_to_the_fix_check(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: hard_delete(c, SALES, OCTOBER, 3, 1))
    assert_nothing_to_sweep(stage)
    assert (warehouse_rows(stage, SALES) - source_rows(stage, SALES)).total() == 3


def test_the_marks_are_the_highest_versions_of_the_last_two_sweeps(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    marks = [highest_at_source(stage)]
    for number in range(3):
        change(stage, lambda c, seed=number: late_fix(c, SALES, OCTOBER, 2, seed))  # type: ignore[misc]
        swept(stage, f"sweep {number}")
        marks.append(highest_at_source(stage))
        assert marks_of(stage) == Marks(high=marks[-1], low=marks[-2])
    assert marks == sorted(set(marks))


def test_a_transaction_that_commits_after_a_sweep_is_found_by_the_next(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    with psycopg.connect(stage.server.dsn(stage.source_connection.database)) as late:
        query = sql.SQL('UPDATE {} SET "BILL_REMARK" = \'late commit\' WHERE "DATETIME__SALES_DATE" = %s')
        late_rows = late.execute(query.format(source_of(SALES)), (THREE_WEEKS_AGO.start,)).rowcount
        change(stage, lambda c: late_fix(c, SALES, day(10, 20), 2, 1))
        assert swept(stage).rows_read == 2
        late.commit()
    report = swept(stage, "second")
    assert report.rows_read == late_rows > 0
    assert_same_rows(stage, SALES)


def break_off() -> None:
    raise KeyError("broken off")


@pytest.mark.parametrize("step", [Step.COMPARING, Step.READING, Step.STAGED, Step.COMMITTING])
def test_a_sweep_that_breaks_off_moves_neither_rows_nor_mark(stages: Stages, step: Step) -> None:
    stage = stages.loaded(SALES)
    swept(stage)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 3, 1))
    marks, rows = marks_of(stage), warehouse_rows(stage, SALES)
    with pytest.raises(KeyError):
        sweep(stage.run("broken"), SALES, Watch(at={step: break_off}))
    assert (marks_of(stage), warehouse_rows(stage, SALES)) == (marks, rows)
    assert staging_tables(stage) == []
    assert progress_rows(stage, run_id="broken")[0]["status"] == "failed"
    assert counts(swept(stage, "next")) == (0, 3, 0)
    assert_same_rows(stage, SALES)


def test_a_first_sweep_that_breaks_off_leaves_the_mark_where_it_began(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    begin = highest_at_source(stage)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 3, 1))
    with pytest.raises(KeyError):
        sweep(stage.run("broken"), SALES, Watch(at={Step.COMMITTING: break_off}))
    assert marks_of(stage) == Marks(begin, begin)
    assert swept(stage).rows_read == 3


def test_a_source_that_is_lost_in_the_middle_is_tried_again(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 3, 1))
    with pytest.raises(TransientError):
        sweep(stage.run(), SALES, Watch(at={Step.READING: lambda: end_source_sessions(stage)}))
    assert staging_tables(stage) == []
    assert swept(stage).rows_read == 3
    assert_same_rows(stage, SALES)


def test_a_sweep_that_lost_its_lock_moves_nothing(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 3, 1))
    before, begin = warehouse_rows(stage, SALES), highest_in_copy(stage)
    watch = Watch(at={Step.STAGED: lambda: end_lock_session(stage, "loser")})
    with pytest.raises(ConnectionLost, match="nothing is published"):
        sweep(stage.run(holder="loser"), SALES, watch)
    assert warehouse_rows(stage, SALES) == before
    assert marks_of(stage) == Marks(begin, begin)


def test_an_empty_copy_is_not_swept(stage: Stage) -> None:
    report = swept(stage)
    assert (report.rows_source, report.rows_read, report.bytes_read) == (0, 0, 0)
    assert marks_of(stage) is None
    assert warehouse_rows(stage, SALES).total() == 0
    load_all(stage.run("load"), SALES)
    assert_nothing_to_sweep(stage)


@pytest.mark.parametrize("without", [{"rowversion": None}, {"key": ()}], ids=str)
def test_a_table_without_rowversion_or_key_is_left_alone(stages: Stages, without: dict[str, object]) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 3, 1))
    before = warehouse_rows(stage, SALES)
    report = sweep(stage.run("sweep"), SALES.model_copy(update=without), Watch())
    assert report.unchanged
    assert (warehouse_rows(stage, SALES), marks_of(stage)) == (before, None)


def test_many_rows_go_in_several_transactions_and_the_mark_with_the_last(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 2)
    stage = stages.loaded(SALES)
    begin = highest_in_copy(stage)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 5, 1))
    seen: list[Marks | None] = []
    watch = Watch(at={Step.PUBLISHED: lambda: seen.append(marks_of(stage))})
    report = sweep(stage.run("sweep"), SALES, watch)
    assert (report.rows_read, counts(report)) == (5, (0, 5, 0))
    first, end = Marks(begin, begin), Marks(highest_at_source(stage), begin)
    assert seen == [first, first, end]
    assert marks_of(stage) == end
    assert progress_rows(stage, phase="sweep")[0]["rows_updated"] == 5
    assert_same_rows(stage, SALES)


def test_of_several_transactions_those_before_the_failure_stay(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 2)
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 5, 1))

    def break_the_last() -> None:
        if watch.steps.count(Step.COMMITTING) == 3:
            break_off()

    watch = Watch(at={Step.COMMITTING: break_the_last})
    with pytest.raises(KeyError):
        sweep(stage.run("broken"), SALES, watch)
    assert (source_rows(stage, SALES) - warehouse_rows(stage, SALES)).total() == 1
    assert swept(stage).rows_read == 1
    assert_same_rows(stage, SALES)


def test_a_table_with_dates_as_text_is_swept_too(stages: Stages) -> None:
    table = CATALOG["APP_4_SALESQUANTITIES"]
    stage = stages.loaded(table)
    change(
        stage,
        lambda c: late_fix(c, table, OCTOBER, 2, 1),
        lambda c: move_date(c, table, Window.of_month(date(2025, 9, 1)), 1, 2, to=date(2025, 10, 31)),
    )
    assert sweep(stage.run("sweep"), table, Watch()).rows_updated == 3
    assert_same_rows(stage, table)


def test_a_sweep_and_a_load_keep_each_other_off(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 2, 1))

    def refused() -> None:
        with pytest.raises(LockHeld):
            load(stage.run("other"), SALES, Window.of_month(date(2025, 8, 1)))
        with pytest.raises(LockHeld):
            swept(stage, "other")

    def sweep_refused() -> None:
        with pytest.raises(LockHeld):
            swept(stage, "third")

    sweeping, loading = Watch(at={Step.STAGED: refused}), Watch(at={Step.STAGED: sweep_refused})
    sweep(stage.run("sweep"), SALES, sweeping)
    replicate(stage.run("load", force=True), SALES, OCTOBER, loading)
    assert (sweeping.steps[-1], loading.steps[-1]) == (Step.DONE, Step.DONE)
    assert_same_rows(stage, SALES)


def test_a_sweep_is_recorded(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    change(stage, lambda c: late_fix(c, SALES, OCTOBER, 2, 1))
    report = swept(stage, "run")
    (row,) = progress_rows(stage, run_id="run")
    assert (row["phase"], row["status"], row["window_name"]) == (Phase.SWEEP, "published", "changes")
    assert (row["from_date"], row["to_date"]) == (None, None)
    assert {name: row[name] for name in report.as_record()} == report.as_record()
    with stage.connect_warehouse() as connection:
        assert one(connection, "SELECT run_id FROM dbo.replica_watermarks WHERE table_name = 'APP_4_SALES'") == "run"


def test_the_copy_of_the_highest_row_is_where_the_first_sweep_begins(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    with stage.connect_warehouse() as connection:
        query = sql.SQL(
            'DELETE FROM {0} WHERE "UPDATE_TIMESTAMP" = (SELECT "UPDATE_TIMESTAMP" FROM {0} ORDER BY 1 DESC LIMIT 1)'
        )
        assert connection.execute(query.format(replica_of(SALES))).rowcount == 1
    assert swept(stage).rows_read == 1
    assert_same_rows(stage, SALES)
