"""``verify``, ``status``, ``check`` and ``migrate``: look at what is there, and make it ready."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from include import catalog, checks, migrations
from include.cli import common
from include.connections import Connection
from include.orders_sync.adoption import differences
from include.replication import progress
from include.replication.verify import Verify, compare
from include.windows import spans

_FAILED = 1


def verify(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables with a date column.", show_default="the ten sales tables")
    ] = None,
    start_date: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")] = ...,  # type: ignore[assignment]
    end_date: Annotated[str, typer.Option(help="Last day, included, YYYY-MM-DD.")] = ...,  # type: ignore[assignment]
    level: Annotated[Verify, typer.Option(help="counts or checksum.")] = Verify.CHECKSUM,
) -> None:
    """Compare source and warehouse day by day; loads nothing. Exit code 1 if a day differs."""
    config = common.settings()
    values = {"start_date": start_date, "end_date": end_date, "tables": tables or []}
    request = common.read_values(config, values)
    source, warehouse = common.open_source(config), common.open_warehouse(config)
    grid, equal = Grid("table", "window", "source rows", "warehouse rows", "equal", "days that differ"), True
    for table in request.tables:
        for span in spans(request.window):
            found = compare(source, warehouse, table, span, level.level)
            equal = equal and found.equal
            days = ", ".join(str(day or "undated") for day in found.days[:3]) + (" …" if len(found.days) > 3 else "")
            grid.add_row(
                *(table.name, span.name, f"{found.source.rows:,}", f"{found.copy.rows:,}"),
                *("yes" if found.equal else "[red]no[/]", days),
            )
    common.console.print(grid)
    if not equal:
        raise typer.Exit(_FAILED)


def status(
    run_id: Annotated[str | None, typer.Option(help="A run, as etl_progress names it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """Show the newest state of each table and window, or all windows of a run."""
    config = common.settings()
    engine = common.open_warehouse(config).metadata()
    names = [table.name for table in catalog.load()]
    rows = progress.rows_of_run(engine, run_id) if run_id else progress.latest_rows(engine, names)
    if as_json:
        typer.echo(json.dumps(rows, default=str, indent=1))
        return
    order = {name: place for place, name in enumerate(names)}
    grid = Grid("table", "window", "phase", "status", "rows", "finished (UTC)", "run", "error")
    for row in sorted(rows, key=lambda row: (order.get(row["table_name"], len(order)), row["window_name"])):
        finished = f"{row['finished_at']:%Y-%m-%d %H:%M:%S}" if row["finished_at"] else ""
        count = "" if row["rows_published"] is None else f"{row['rows_published']:,}"
        grid.add_row(
            *(row["table_name"], row["window_name"], row["phase"], row["status"], count, finished),
            *(escape(row["run_id"]), escape(row["error"] or "")),
        )
    common.console.print(grid)


def check() -> None:
    """Try each connection: reachable, version, rights, what is missing. Exit code 1 if something is."""
    findings = checks.check_all(common.settings())
    grid = Grid("what", "ok", "found", "remedy")
    for finding in findings:
        grid.add_row(finding.what, "yes" if finding.ok else "[red]no[/]", escape(finding.found), escape(finding.remedy))
    common.console.print(grid)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(_FAILED)


def migrate(
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements for a DBA; connect to nothing.")] = False,
) -> None:
    """Make or update the tables of warehouse and control database; may be run at any time."""
    config = common.settings()
    targets: dict[migrations.Target, Connection] = {
        "control": common.control_connection(config),
        "warehouse": common.warehouse_connection(config),
    }
    for target, connection in targets.items():
        if sql:
            typer.echo(f"-- {target}\n{migrations.offline_sql(target, connection)}")
        else:
            done = migrations.migrate(target, connection)
            common.console.print(f"{connection}: at {done.current}")
            if target == "control":
                for difference in differences(connection):
                    common.console.print(escape(str(difference)), soft_wrap=True)
