"""``audit``: compare source and warehouse over many days, and repair what differs, without Airflow."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from include import catalog
from include.cli import common
from include.cli.bars import bars
from include.errors import PermanentError
from include.replication.audit import audit_tables
from include.replication.audit_record import rows_of_audit
from include.replication.audit_report import COLUMNS, cells, unrepaired, write_report
from include.replication.audit_request import DAYS, read_audit
from include.replication.history import RunRecord, RunType

_FAILED = 1


def audit(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables of the nightly run.", show_default="all of them")
    ] = None,
    start_date: Annotated[
        str | None, typer.Option(help="First day, YYYY-MM-DD.", show_default=f"the last {DAYS} days")
    ] = None,
    end_date: Annotated[str | None, typer.Option(help="Last day, included.", show_default="yesterday")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Repair the rows that differ.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each step.")] = False,
) -> None:
    """Compare source and warehouse; loads nothing without --repair. Exit code 1 if a difference is left."""
    config = common.settings()
    common.log_to_console(verbose)
    values = {"start_date": start_date, "end_date": end_date, "tables": tables or [], "repair": repair}
    request = read_audit(values, common.yesterday(config), catalog.load(), common.today(config))
    run = common.new_run(config, export=False)
    common.console.print(f"run {run.id}: {len(request.tables)} tables, {request.window.name}")
    engine = run.warehouse.metadata()
    record = RunRecord(engine, run.id, RunType.AUDIT)
    record.begin(request.window, [table.name for table in request.tables])
    with bars() as observe:
        errors = audit_tables(run, request, observe)
    rows = rows_of_audit(engine, run.id)
    grid = Grid(*COLUMNS.values())
    for row in rows:
        grid.add_row(*cells(row))
    common.console.print(grid)
    problems = [*map(str, errors), *unrepaired(rows)]
    try:
        common.console.print(f"report: {escape(write_report(config.exports_url, run.id, rows))}", soft_wrap=True)
    except PermanentError as error:
        problems.append(str(error))
    record.end(problems)
    for problem in problems:
        common.console.print(f"[red]failed[/] {escape(problem)}", soft_wrap=True)
    if problems:
        raise typer.Exit(_FAILED)
