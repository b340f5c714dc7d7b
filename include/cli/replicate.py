"""``replicate``: the run without Airflow, with a bar for each table and month."""

from __future__ import annotations

from typing import Annotated

import typer

from include.cli import common
from include.cli.bars import bars, show
from include.replication.history import RunRecord, RunType
from include.replication.request import OnFailure
from include.replication.runner import errors_of, failures, run_request
from include.replication.verify import Verify

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
    run = common.new_run(config, export=request.export, verify=request.verify, force=request.force)
    common.console.print(f"run {run.id}: {len(request.tables)} tables, {start_date} to {end_date}")
    record = RunRecord(run.warehouse.metadata(), run.id, RunType.MANUAL)
    record.begin(request.window, [table.name for table in request.tables])
    with bars() as observe:
        outcomes = run_request(run, request, max_workers or config.max_workers, observe)
    record.end(errors_of(outcomes))
    show(outcomes)
    if failures(outcomes):
        raise typer.Exit(_FAILED)
