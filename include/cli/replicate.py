"""``replicate``: the run without Airflow, with a bar for each table and month."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from include.catalog import Table
from include.cli import common
from include.replication.observe import Observer, Step
from include.replication.request import OnFailure
from include.replication.runner import Outcome, failures, run_request
from include.replication.verify import Verify
from include.windows import Span

_FAILED = 1


def replicate(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables with a date column.", show_default="the ten sales tables")
    ] = None,
    start_date: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")] = ...,  # type: ignore[assignment]
    end_date: Annotated[str, typer.Option(help="Last day, included, YYYY-MM-DD.")] = ...,  # type: ignore[assignment]
    max_workers: Annotated[int | None, typer.Option(min=1, help="Windows of a table at once.")] = None,
    verify: Annotated[Verify, typer.Option(help="How to compare what was published.")] = Verify.CHECKSUM,
    export: Annotated[bool, typer.Option("--export", help="Write Parquet files too.")] = False,
    on_failure: Annotated[OnFailure, typer.Option(help="What becomes of later tables.")] = OnFailure.CONTINUE,
    force: Annotated[bool, typer.Option("--force", help="Load also what is equal already.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each step.")] = False,
) -> None:
    """Replace the days from --start-date to --end-date in the warehouse by the source's rows."""
    config = common.settings()
    common.log_to_console(verbose)
    values = {
        "start_date": start_date,
        "end_date": end_date,
        "tables": tables or [],
        "export": export,
        "verify": verify.value,
        "on_failure": on_failure.value,
        "force": force,
    }
    request = common.read_values(config, values)
    run = common.new_run(config, request)
    common.console.print(f"run {run.id}: {len(request.tables)} tables, {start_date} to {end_date}")
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TextColumn("{task.fields[rows]:>12,} rows"),
        TimeElapsedColumn(),
        console=common.console,
    ) as progress:
        observe = _observing(progress, len(Step) - 1)
        outcomes = run_request(run, request, max_workers or config.max_workers, observe)
    _show(outcomes)
    if failures(outcomes):
        raise typer.Exit(_FAILED)


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


def _observing(progress: Progress, steps: int) -> Callable[[Table, Span], Observer]:
    def observe(table: Table, span: Span) -> Observer:
        task = progress.add_task(f"{table.name} {span.name}", total=steps, state="", rows=0)
        return _Bar(progress, task, list(Step))

    return observe


def _show(outcomes: Sequence[Outcome]) -> None:
    grid = Grid("table", "window", "state", *(_right(name) for name in ("rows", "seconds", "rows/s")))
    for outcome in outcomes:
        report = outcome.report
        if report is None:
            state = (
                f"[red]failed[/] {escape(str(outcome.error))}"
                if outcome.error
                else "[yellow]not exposed by the source[/]"
            )
            grid.add_row(outcome.table, outcome.window or "", state)
            continue
        rate = f"{report.rows_read / report.seconds:,.0f}" if report.rows_read and report.seconds else ""
        state = "unchanged" if report.unchanged else report.status.value
        grid.add_row(
            *(outcome.table, outcome.window, state),
            *(f"{report.rows_published:,}", f"{report.seconds:.1f}", rate),
        )
    common.console.print(grid)


def _right(name: str) -> Any:
    from rich.table import Column

    return Column(name, justify="right")
