"""A progress bar for each window, and the grid of what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.table import Table as Grid

from include.catalog import Table
from include.cli import common
from include.replication.observe import Observer, Step
from include.replication.progress import Phase
from include.replication.runner import Observe, Outcome
from include.windows import Span


@contextmanager
def bars() -> Iterator[Observe]:
    """Show a bar for each window that the block begins to observe."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TextColumn("{task.fields[rows]:>12,} rows"),
        TimeElapsedColumn(),
        console=common.console,
    ) as progress:
        yield _observing(progress, len(Step) - 1)


def show(outcomes: Sequence[Outcome]) -> None:
    """Print a line for each window."""
    repaired = any(outcome.phase is not Phase.LOAD for outcome in outcomes)
    columns = ["rows", "seconds", "rows/s", *(["inserted", "updated", "deleted"] if repaired else [])]
    grid = Grid("table", "window", "state", *(Column(name, justify="right") for name in columns))
    for outcome in outcomes:
        report = outcome.report
        window = f"{outcome.window or ''}{'' if outcome.phase is Phase.LOAD else f' {outcome.phase.value}'}"
        if report is None:
            state = (
                f"[red]failed[/] {escape(str(outcome.error))}"
                if outcome.error
                else "[yellow]not exposed by the source[/]"
            )
            grid.add_row(outcome.table, window, state)
            continue
        rate = f"{report.rows_read / report.seconds:,.0f}" if report.rows_read and report.seconds else ""
        state = "unchanged" if report.unchanged else report.status.value
        changes = (report.rows_inserted, report.rows_updated, report.rows_deleted)
        grid.add_row(
            *(outcome.table, window, state),
            *(f"{report.rows_published:,}", f"{report.seconds:.1f}", rate),
            *([_count(change) for change in changes] if repaired else []),
        )
    common.console.print(grid)


@dataclass
class _Bar:
    """The bar of one window: a stretch a step."""

    progress: Progress
    task: TaskID
    steps: Sequence[Step]

    def step(self, step: Step) -> None:
        self.progress.update(self.task, completed=self.steps.index(step), state=step.value)

    def rows(self, rows: int, size: int) -> None:  # noqa: ARG002 (an Observer is told both)
        self.progress.update(self.task, rows=rows)


def _observing(progress: Progress, steps: int) -> Observe:
    def observe(table: Table, span: Span) -> Observer:
        task = progress.add_task(f"{table.name} {span.name}", total=steps, state="", rows=0)
        return _Bar(progress, task, list(Step))

    return observe


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"
