"""The orders sync on the command line: the profiler, its plan, and the pipelines by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table as Grid

from include.cli import common
from include.engines.postgres.connect import connect
from include.engines.postgres.errors import translated
from include.orders_sync import crm, engine
from include.orders_sync.cases import planned_cases
from include.orders_sync.pipelines import PROFILER, TD, UC, Pipeline, Scope, Store
from include.orders_sync.plans import Plans, plans_of
from include.orders_sync.request import PROFILE_DEFAULTS, SYNC_DEFAULTS, ProfileRequest, read_profile, read_sync
from include.orders_sync.stores import due_stores
from include.orders_sync.summary import Summary
from include.orders_sync.sync import Result, SyncRun
from include.settings import Settings

_FAILED = 1

Group = Annotated[str, typer.Option(help="Stores of which CRM: TD, UC or ALL.")]
StoreCode = Annotated[str | None, typer.Option(help="Only this store.")]
WindowDays = Annotated[int, typer.Option(help="Days of a window, at most.")]
OverlapDays = Annotated[int, typer.Option(help="Most recent days of success that run again.")]
Force = Annotated[bool, typer.Option("--force", help="Every day from the store's start, whatever the log says.")]
Codes = Annotated[list[str], typer.Option("--store-code", help="A store; may be given several times.")]
FromDate = Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD.", show_default="89 days before the last")]
ToDate = Annotated[str | None, typer.Option(help="Last day, included.", show_default="today")]
RunEnv = Annotated[str | None, typer.Option(help="What the log calls this deployment.", show_default="the setting")]
Workers = Annotated[int | None, typer.Option(help="Stores at once.", show_default="the setting")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell each step.")]


def orders_sync_profiler(
    sync_group: Group = "ALL",
    window_days: WindowDays = PROFILE_DEFAULTS["window_days"],
    overlap_days: OverlapDays = PROFILE_DEFAULTS["overlap_days"],
    max_workers: Workers = None,
    force: Force = False,
    store_code: StoreCode = None,
    run_env: RunEnv = None,
    verbose: Verbose = False,
) -> None:
    """Sync of every store the days that are missing or due. Exit code 1 if a window failed or lacks its sales."""
    config = _begin(verbose)
    params = {
        "sync_group": sync_group,
        "window_days": window_days,
        "overlap_days": overlap_days,
        "max_workers": max_workers,
        "force": force,
        "store_code": store_code,
        "run_env": run_env,
    }
    request = read_profile(params, config.run_env, config.crm_max_workers)
    run = _run(config, request.run_env)
    _tell(engine.profile(run, PROFILER, request, params, _say))


def td_orders_sync(
    store_code: Codes,
    from_date: FromDate = None,
    to_date: ToDate = None,
    orders_only: Annotated[bool, typer.Option("--orders-only", help="Not the sales; covers no day.")] = False,
    sales_only: Annotated[bool, typer.Option("--sales-only", help="Not the orders; covers no day.")] = False,
    run_env: RunEnv = None,
    verbose: Verbose = False,
) -> None:
    """Sync orders and sales of TD stores for days that you name. Exit code 1 if not all of it was done."""
    values = {
        "store_codes": store_code,
        "from_date": from_date,
        "to_date": to_date,
        "run_env": run_env,
        "orders_only": orders_only,
        "sales_only": sales_only,
    }
    _sync(TD, values, verbose)


def uc_orders_sync(
    store_code: Codes,
    from_date: FromDate = None,
    to_date: ToDate = None,
    run_env: RunEnv = None,
    verbose: Verbose = False,
) -> None:
    """Sync the GST report of UC stores for days that you name. Exit code 1 if not all of it was done."""
    values = {"store_codes": store_code, "from_date": from_date, "to_date": to_date, "run_env": run_env}
    _sync(UC, values, verbose)


def plan_orders(
    cases: Annotated[Path | None, typer.Option(help="Plan the cases of a file, print JSON.", show_default="")] = None,
    sync_group: Group = "ALL",
    window_days: WindowDays = PROFILE_DEFAULTS["window_days"],
    overlap_days: OverlapDays = PROFILE_DEFAULTS["overlap_days"],
    force: Force = False,
    store_code: StoreCode = None,
) -> None:
    """Show which windows are missing or due, and why; runs nothing."""
    config = common.settings()
    if cases is not None:
        for planned in planned_cases(cases, config.pipeline_timezone):
            typer.echo(json.dumps(planned))
        return
    common.log_to_console(verbose=False)
    values = {
        "sync_group": sync_group,
        "window_days": window_days,
        "overlap_days": overlap_days,
        "force": force,
        "store_code": store_code,
    }
    request = read_profile(values, config.run_env, config.crm_max_workers)
    _show_plans(*_planned(config, request))


def _planned(config: Settings, request: ProfileRequest) -> tuple[dict[str, Store], dict[Pipeline, Plans]]:
    with (
        translated("planning the orders sync"),
        connect(common.control_connection(config), "retail-sync plan", autocommit=True) as session,
    ):
        stores = due_stores(session, request.groups, request.store_code)
        plans = plans_of(session, stores, request, _today(config))
    return {store.code: store for store in stores}, plans


def _show_plans(stores: Mapping[str, Store], plans: Mapping[Pipeline, Plans]) -> None:
    grid = Grid("pipeline", "store", "name", "from", "to", "days", "reason", box=box.SIMPLE_HEAD)
    for pipeline, of_stores in plans.items():
        for code, planned in of_stores.items():
            for item in planned:
                window = item.window
                days = (str(window.start), str(window.last_day), str(window.days))
                grid.add_row(pipeline.code, code, stores[code].name, *days, item.reason.value)
    if not grid.row_count:
        common.console.print("nothing to do")
        return
    common.console.print(grid)
    common.console.print(f"{grid.row_count} windows of {len({c for p in plans.values() for c in p})} stores")


def _sync(pipeline: Pipeline, values: dict[str, Any], verbose: bool) -> None:
    config = _begin(verbose)
    request = read_sync({**SYNC_DEFAULTS, **values}, pipeline, _today(config), config.run_env)
    run = _run(config, request.run_env, request.scope)
    _tell(engine.sync(run, pipeline, request, values, config.crm_max_workers, _say))


def _begin(verbose: bool) -> Settings:
    common.log_to_console(verbose)
    return common.settings()


def _run(config: Settings, run_env: str, scope: Scope = Scope.FULL) -> SyncRun:
    lookup = crm.lookup_environment(config.local_dir)
    return SyncRun(
        id=common.new_run_id("manual"),
        run_env=run_env,
        today=_today(config),
        control=common.control_connection(config),
        settings=config,
        open_feed=lambda store: crm.feed_of(crm.find_crm(store.pipeline, store.code, lookup), config.pipeline_zone),
        holder=common.application(),
        scope=scope,
    )


def _today(config: Settings) -> date:
    return datetime.now(config.pipeline_zone).date()


def _say(result: Result) -> None:
    window = result.planned.window
    what = f"{result.store.sync_group} {result.store.code} {window.start}..{window.last_day}"
    common.console.print(f"{what} {result.planned.reason}: {result.status.replace('_', ' ')}")


def _tell(summary: Summary) -> None:
    common.console.print(f"run {summary.run_id}: {summary.status}")
    common.console.print(summary.text, markup=False, soft_wrap=True)
    if summary.status != "success":
        raise typer.Exit(_FAILED)
