"""``cdc``: follow other databases without Airflow."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table as Grid

from include.cdc import loader
from include.cdc.request import ALL, DEFAULTS, Action, ActionRequest, read_action
from include.cdc.run import CdcRun
from include.cli import common
from include.connections import find
from include.errors import RetailSyncError
from include.settings import Settings

_FAILED = 1


def cdc(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    replication: Annotated[str, typer.Argument(help="One of replications.yaml, or ALL.")] = ALL,
    table: Annotated[list[str] | None, typer.Option(help="Of a resync: schema.table; several times.")] = None,
    minutes: Annotated[float, typer.Option(help="Follow for so long; 0 ends when caught up.")] = DEFAULTS["minutes"],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each step.")] = False,
) -> None:
    """Copy a database and follow its changes. Exit code 1 if something failed, or differs."""
    common.log_to_console(verbose)
    config = common.settings()
    values = {"action": action.value, "replication": replication, "tables": table or [], "minutes": minutes}
    request = read_action(values, loader.load(config.cdc_file))
    failed = [name for name in request.replications if not _done(request, _run(config, name))]
    if failed:
        raise typer.Exit(_FAILED)


def _done(request: ActionRequest, run: CdcRun) -> bool:
    """Do it, and return whether all is well; an error of one replication does not keep the others waiting."""
    from include.cdc import operate, replicate
    from include.cdc.follow import Task, follow

    try:
        if request.copies:
            copied = replicate.copy(run, resync=request.action is Action.RESYNC, tables=request.tables)
            common.console.print(
                f"{run.name}: {sum(table.rows for table in copied):,} rows of {len(copied)} tables copied"
            )
        elif request.action is Action.STOP:
            common.console.print(operate.stop(run), markup=False)
        elif request.action is Action.RESUME:
            operate.resume(run)
        elif request.action is Action.DROP:
            operate.drop(run)
        if request.follows:
            return _show(run, follow(run, Task(minutes=request.minutes, compare=request.action is Action.COMPARE)))
        return request.action is not Action.STATUS or _show_health(run)
    except RetailSyncError as error:
        common.console.print(f"[bold red]error[/] {run.name}: {type(error).__name__}", highlight=False)
        common.console.print(str(error), markup=False, soft_wrap=True)
        return False


def _show(run: CdcRun, figures: dict[str, Any]) -> bool:
    if reason := figures.get("waiting"):
        common.console.print(f"{run.name}: nothing is applied: {reason}", markup=False)
        return True
    seconds = figures["seconds"]
    common.console.print(
        f"{run.name}: {figures['events']:,} changes applied in {seconds:.1f} s, {figures['dead']} dead letters"
    )
    compared = figures.get("compared") or []
    if compared:
        grid = Grid("table", "source", "target", "verdict", box=box.SIMPLE_HEAD)
        for table in compared:
            verdict = "equal" if table["equal"] else "[red]DIFFERENT[/]"
            grid.add_row(table["table"], f"{table['rows_source']:,}", f"{table['rows_target']:,}", verdict)
        common.console.print(grid)
    return all(table["equal"] for table in compared)


def _show_health(run: CdcRun) -> bool:
    from include.cdc.health import check

    health = check(run)
    common.console.print(f"{run.name}: {health.status}")
    for reason in health.reasons:
        common.console.print(f"  {reason.severity}: {reason.text}", markup=False, soft_wrap=True)
    return health.status != "unhealthy"


def _run(config: Settings, name: str) -> CdcRun:
    replication = loader.pick(loader.load(config.cdc_file), name)
    return CdcRun(
        id=common.new_run_id("manual"),
        replication=replication,
        source=find(replication.source, config.local_dir),
        warehouse=common.warehouse_connection(config),
        control=common.control_connection(config),
        settings=config,
        holder=common.application(),
    )
