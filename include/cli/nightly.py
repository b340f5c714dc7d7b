"""``nightly`` and ``refresh``: the nightly run and the reference tables without Airflow."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from include import catalog
from include.cli import common
from include.cli.bars import bars, show
from include.replication.history import RunRecord, RunType
from include.replication.nightly import MOST_FIX_DAYS, read_nightly
from include.replication.progress import Phase
from include.replication.refresh import read_refresh
from include.replication.runner import Outcome, errors_of, failures, run_nightly, run_refresh

_FAILED = 1


def nightly(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables of the nightly run.", show_default="all of them")
    ] = None,
    date: Annotated[str | None, typer.Option(help="The day to load.", show_default="yesterday")] = None,
    start: Annotated[str | None, typer.Option(help="First day to load, YYYY-MM-DD.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day to load, included.")] = None,
    check_fixes: Annotated[
        bool, typer.Option("--check-fixes", help="Load nothing, check the named days themselves.")
    ] = False,
    fix_days: Annotated[int, typer.Option(min=1, max=MOST_FIX_DAYS, help="Days to check.")] = 1,
    sweep: Annotated[bool, typer.Option(help="Fetch what changed late, whatever its date.")] = True,
    export: Annotated[bool, typer.Option("--export", help="Write Parquet files of what is loaded too.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each step.")] = False,
) -> None:
    """Load yesterday, repair the day before, and sweep what changed late. Exit code 1 if a table failed."""
    config = common.settings()
    common.log_to_console(verbose)
    today = common.today(config)
    values = {
        "date": date,
        "start": start,
        "end": end,
        "check_fixes_only": check_fixes,
        "fix_days": fix_days,
        "tables": tables or [],
        "sweep": sweep,
        "export": export,
    }
    request = read_nightly(values, common.yesterday(config), catalog.load(), today)
    run = common.new_run(config, export=export)
    loaded = request.load.name if request.load else "nothing"
    common.console.print(f"run {run.id}: {len(request.tables)} tables, load {loaded}, check {request.fix.name}")
    engine, names = run.warehouse.metadata(), [table.name for table in request.tables]
    records = {RunType.T1: RunRecord(engine, run.id, RunType.T1)}
    records[RunType.T1].begin(request.fix, names)
    if request.load:
        records[RunType.T0] = RunRecord(engine, run.id, RunType.T0)
        records[RunType.T0].begin(request.load, names)
    with bars() as observe:
        outcomes = run_nightly(run, request, observe)
    for type_, record in records.items():
        phases = [Phase.LOAD] if type_ is RunType.T0 else [Phase.FIX, Phase.SWEEP]
        # a table that could not be made ready has no window, and fails what the run was asked for
        own = [outcome for outcome in outcomes if outcome.phase in phases or outcome.window is None]
        record.end(errors_of(own), phases)
    _finish(outcomes)


def refresh(
    tables: Annotated[list[str] | None, typer.Argument(help="Reference tables.", show_default="all of them")] = None,
    start_date: Annotated[str | None, typer.Option(help="First day of tables that have a date.")] = None,
    end_date: Annotated[str | None, typer.Option(help="Last day, included.")] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="An empty source may empty the copy.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Load also what is unchanged.")] = False,
    export: Annotated[bool, typer.Option("--export", help="Write Parquet files too.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each step.")] = False,
) -> None:
    """Replace reference tables whole, the smallest first; with dates, these days of tables that have a date."""
    config = common.settings()
    common.log_to_console(verbose)
    values: dict[str, Any] = {
        "tables": tables or [],
        "full_table": start_date is None and end_date is None,
        "start_date": start_date,
        "end_date": end_date,
        "allow_empty": allow_empty,
        "force": force,
        "export": export,
    }
    request = read_refresh(values, catalog.load(), common.today(config))
    run = common.new_run(config, export=export, force=force, allow_empty=allow_empty)
    record = RunRecord(run.warehouse.metadata(), run.id, RunType.REFERENCE)
    record.begin(request.window, [table.name for table in request.tables])
    with bars() as observe:
        outcomes = run_refresh(run, request, observe)
    record.end(errors_of(outcomes))
    _finish(outcomes)


def _finish(outcomes: list[Outcome]) -> None:
    show(outcomes)
    if failures(outcomes):
        raise typer.Exit(_FAILED)
