"""``maintain``: what reports need after a load, without Airflow."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from include import catalog
from include.cli import common
from include.maintenance.request import read_request
from include.maintenance.run import Maintenance, Report
from include.maintenance.run import maintain as run_maintenance

_FAILED = 1


def maintain(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables of the catalog.", show_default="all of them")
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(help="Last day of which the quality is measured.", show_default="the last nightly run's"),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each table.")] = False,
) -> None:
    """Make indexes and views, update statistics, audit and measure. Exit code 1 if anything is amiss."""
    config = common.settings()
    common.log_to_console(verbose)
    request = read_request({"tables": tables or [], "date": date}, catalog.load(), common.today(config))
    work = Maintenance(
        run_id=common.new_run_id("maintain"),
        warehouse=common.open_warehouse(config),
        control=common.control_connection(config),
        settings=config,
        holder=f"retail-sync maintain {socket.gethostname()} pid {os.getpid()}",
    )
    report = run_maintenance(work, request)
    _show(report)
    if report.problems:
        raise typer.Exit(_FAILED)


def _show(report: Report) -> None:
    done = report.as_dict()
    common.console.print(
        f"{done['indexes_made']} indexes made, {done['indexes_dropped']} dropped,"
        f" {done['views_changed']} views changed, {done['tables_audited']} tables audited,"
        f" {done['metrics']} metrics measured"
    )
    breaches = [found for found in report.measured if found.breach]
    if breaches:
        grid = Grid("table", "metric", "value", "at most", "breach", "details")
        for found in breaches:
            value = "" if found.value is None else f"{found.value:.6g}"
            grid.add_row(
                *(found.table, found.metric, value, f"{found.threshold.most:.6g}"),
                *(found.breach, escape(found.details or "")),
            )
        common.console.print(grid)
    for failure in report.failures:
        common.console.print(f"[red]failed[/] {escape(str(failure))}")
