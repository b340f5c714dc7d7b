"""Killed by SIGKILL at any step, the warehouse holds the old window or the new one, and the next run finishes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars
import pytest

from include import locks
from include.demo.changes import hard_delete, late_arrival, late_fix, move_date
from include.replication.claims import lock_names
from include.replication.export import ExportTarget
from include.replication.observe import Step
from include.replication.prepare import prepare
from include.replication.reconcile import reconcile
from include.replication.sweep import read_marks, sweep
from include.settings import PROJECT_ROOT, Settings
from include.windows import CHANGES, UNDATED, Span, Window
from tests.integration.conftest import OCTOBER, Stage, Stages
from tests.integration.helpers import (
    ITEMS,
    Watch,
    assert_same_rows,
    doubled_keys,
    load,
    progress_rows,
    source_rows,
    staging_tables,
    warehouse_rows,
)

PART = Window.inclusive(date(2025, 10, 5), date(2025, 10, 20))
OTHER_PART = Window.inclusive(date(2025, 10, 21), date(2025, 10, 25))
SEPTEMBER = Window.of_month(date(2025, 9, 1))

#: Steps at which the process dies, and whether the new window is visible by then.
STEPS = [
    (Step.READING, False),
    (Step.STAGED, False),
    (Step.CHECKED, False),
    (Step.COMMITTING, False),
    (Step.PUBLISHED, True),
    (Step.VERIFYING, True),
]


@pytest.fixture(scope="module")
def victim() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.killed_run"],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def kill_at(
    victim: subprocess.Popen[str],
    stage: Stage,
    span: Span,
    step: Step,
    exports: Path | None = None,
    run_id: str = "dead",
    work: str = "load",
) -> None:
    rows = source_rows(stage, ITEMS, span).total() if work == "load" else 3
    order: dict[str, Any] = {
        "source": stage.server.uri(stage.source_connection.database),
        "warehouse": stage.server.uri(stage.warehouse_connection.database),
        "control": stage.server.uri(stage.control_connection.database),
        "table": ITEMS.name,
        "span": str(span),
        "step": step.value,
        "rows": rows // 3,
        "work": work,
        "run_id": run_id,
        "exports": str(exports) if exports else None,
    }
    assert victim.stdin is not None
    assert victim.stdout is not None
    victim.stdin.write(json.dumps(order) + "\n")
    victim.stdin.flush()
    assert int(victim.stdout.readline()) == -signal.SIGKILL


def change_source(stage: Stage) -> None:
    with stage.connect_source() as connection:
        late_fix(connection, ITEMS, PART, 5, 1)
        hard_delete(connection, ITEMS, PART, 5, 2)
        late_arrival(connection, ITEMS, PART, 8, 3)
        move_date(connection, ITEMS, SEPTEMBER, 5, 4, to=PART.start)


def next_run(stage: Stage, **options: Any) -> Any:
    return stage.run("next", settings=Settings(lock_wait=10), **options)


@pytest.mark.parametrize("earlier", [False, True], ids=["empty warehouse", "older version"])
@pytest.mark.parametrize("span", [OCTOBER, PART], ids=["month", "part"])
@pytest.mark.parametrize(("step", "visible"), STEPS, ids=[step.value for step, _ in STEPS])
def test_a_killed_run_leaves_the_old_window_or_the_new(
    stages: Stages, victim: subprocess.Popen[str], span: Window, step: Step, visible: bool, earlier: bool
) -> None:
    stage = stages.loaded(ITEMS, SEPTEMBER, OCTOBER) if earlier else stages.empty()
    if earlier:
        change_source(stage)
    before = warehouse_rows(stage, ITEMS)
    kill_at(victim, stage, span, step)

    with locks.hold(stage.control_connection, lock_names(ITEMS, span), holder="test", wait=5):
        if visible:
            assert warehouse_rows(stage, ITEMS, span) == source_rows(stage, ITEMS, span)
        else:
            assert warehouse_rows(stage, ITEMS) == before
    assert doubled_keys(stage, ITEMS) == []
    (dead,) = progress_rows(stage, run_id="dead")
    assert dead["status"] == ("published" if visible else "running")

    run = next_run(stage)
    assert prepare(run, ITEMS)
    (report,) = load(run, ITEMS, span)
    assert report.unchanged == visible
    assert_same_rows(stage, ITEMS, span)
    assert doubled_keys(stage, ITEMS) == []
    assert staging_tables(stage) == []
    (dead,) = progress_rows(stage, run_id="dead")
    assert (dead["status"], dead["error"]) == (("published", None) if visible else ("failed", "the process died"))
    assert [row["status"] for row in progress_rows(stage, run_id="next")] == ["verified"]
    if earlier:
        load(next_run(stage), ITEMS, SEPTEMBER, OCTOBER)
        for month in (SEPTEMBER, OCTOBER):
            assert_same_rows(stage, ITEMS, month)
        assert doubled_keys(stage, ITEMS) == []


@pytest.mark.parametrize("other", [SEPTEMBER, OTHER_PART, UNDATED], ids=["month", "part", "undated"])
def test_a_run_of_another_window_drops_the_dead_staging_table(
    stage: Stage, victim: subprocess.Popen[str], other: Span
) -> None:
    kill_at(victim, stage, PART, Step.CHECKED)
    assert staging_tables(stage) == ["com_5013_APP_4_SALESITEM__20251005_20251021"]
    run = next_run(stage)
    assert prepare(run, ITEMS)
    assert staging_tables(stage) == []
    load(run, ITEMS, other)
    assert_same_rows(stage, ITEMS, other)
    assert not warehouse_rows(stage, ITEMS, PART)


def test_a_month_loads_over_the_staging_table_of_a_dead_run(stage: Stage, victim: subprocess.Popen[str]) -> None:
    kill_at(victim, stage, OCTOBER, Step.CHECKED)
    (report,) = load(next_run(stage), ITEMS, OCTOBER)
    assert report.rows_read == assert_same_rows(stage, ITEMS, OCTOBER)
    assert staging_tables(stage) == []


def test_rows_without_a_date_survive_a_kill(stage: Stage, victim: subprocess.Popen[str]) -> None:
    kill_at(victim, stage, UNDATED, Step.COMMITTING)
    assert not warehouse_rows(stage, ITEMS)
    load(next_run(stage), ITEMS, UNDATED)
    assert_same_rows(stage, ITEMS, UNDATED)
    (dead,) = progress_rows(stage, run_id="dead")
    assert (dead["status"], dead["error"]) == ("failed", "the process died")


def test_dead_runs_add_up_to_nothing(stage: Stage, victim: subprocess.Popen[str]) -> None:
    for step in (Step.READING, Step.CHECKED, Step.STAGED, Step.COMMITTING, Step.PUBLISHED):
        kill_at(victim, stage, OCTOBER, step, run_id=f"dead {step.value}")
    load(next_run(stage), ITEMS, OCTOBER)
    assert_same_rows(stage, ITEMS, OCTOBER)
    assert doubled_keys(stage, ITEMS) == []
    assert staging_tables(stage) == []
    statuses = [row["status"] for row in progress_rows(stage)]
    assert statuses == ["failed"] * 4 + ["published", "verified"]


@pytest.mark.parametrize("earlier", [False, True], ids=["no file yet", "older file"])
@pytest.mark.parametrize("step", [Step.READING, Step.CHECKED, Step.VERIFYING], ids=lambda step: step.value)
def test_an_unfinished_export_is_not_taken_for_a_finished_one(
    stage: Stage, victim: subprocess.Popen[str], tmp_path: Path, step: Step, earlier: bool
) -> None:
    target = ExportTarget(str(tmp_path))
    file, folder = target.file(ITEMS, OCTOBER, "test"), tmp_path / ITEMS.name
    old_rows = 0
    if earlier:
        (report,) = load(stage.run("earlier", export=target), ITEMS, OCTOBER)
        old_rows = report.rows_read
        change_source(stage)
    kill_at(victim, stage, OCTOBER, step, exports=tmp_path)
    manifest = file.manifest()
    assert (manifest["rows"] if manifest else 0) == old_rows
    assert [path.name for path in folder.glob("[!.]*.parquet")] == (["APP_4_SALESITEM_2025-10.parquet"] * earlier)

    load(next_run(stage, export=target), ITEMS, OCTOBER)
    manifest = file.manifest()
    assert manifest is not None
    assert manifest["run_id"] == "next"
    assert polars.read_parquet(file.path).height == manifest["rows"] == assert_same_rows(stage, ITEMS, OCTOBER)
    assert sorted(path.name for path in folder.iterdir()) == [
        "APP_4_SALESITEM_2025-10.manifest.json",
        "APP_4_SALESITEM_2025-10.parquet",
    ]


#: Of a repair: no second look at counts, and the sweep does not compare again.
REPAIR_STEPS = [(Step.COMPARING, False), *(pair for pair in STEPS if pair[0] is not Step.CHECKED)]


@pytest.mark.parametrize(("step", "visible"), REPAIR_STEPS, ids=[step.value for step, _ in REPAIR_STEPS])
def test_a_killed_fix_check_leaves_the_old_rows_or_the_repaired(
    stages: Stages, victim: subprocess.Popen[str], step: Step, visible: bool
) -> None:
    stage = stages.loaded(ITEMS, SEPTEMBER, OCTOBER)
    change_source(stage)
    before = warehouse_rows(stage, ITEMS)
    kill_at(victim, stage, PART, step, work="fix")
    if visible:
        assert_same_rows(stage, ITEMS, PART)
    else:
        assert warehouse_rows(stage, ITEMS) == before
    report = reconcile(next_run(stage), ITEMS, PART, Watch())
    assert report.unchanged is visible
    assert_same_rows(stage, ITEMS, OCTOBER)
    assert_same_rows(stage, ITEMS, SEPTEMBER)
    assert doubled_keys(stage, ITEMS) == []
    assert [row["status"] for row in progress_rows(stage, run_id="dead")] == ["published" if visible else "failed"]
    prepare(next_run(stage), ITEMS)
    assert staging_tables(stage) == []


@pytest.mark.parametrize(("step", "visible"), REPAIR_STEPS[:-1], ids=[step.value for step, _ in REPAIR_STEPS[:-1]])
def test_a_killed_sweep_moves_its_mark_only_with_the_rows(
    stages: Stages, victim: subprocess.Popen[str], step: Step, visible: bool
) -> None:
    stage = stages.loaded(ITEMS, SEPTEMBER, OCTOBER)
    sweep(stage.run("first"), ITEMS, Watch())
    engine = stage.warehouse.metadata()
    marks, before = read_marks(engine, ITEMS), warehouse_rows(stage, ITEMS)
    with stage.connect_source() as connection:
        late_fix(connection, ITEMS, PART, 5, 1)
        late_arrival(connection, ITEMS, SEPTEMBER, 5, 3)
    kill_at(victim, stage, CHANGES, step, work="sweep")
    assert (read_marks(engine, ITEMS) != marks) is visible
    assert (warehouse_rows(stage, ITEMS) != before) is visible
    sweep(next_run(stage), ITEMS, Watch())
    assert_same_rows(stage, ITEMS, OCTOBER)
    assert_same_rows(stage, ITEMS, SEPTEMBER)
    assert doubled_keys(stage, ITEMS) == []
