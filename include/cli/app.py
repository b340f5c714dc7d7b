"""All commands, and what becomes of their errors."""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError
from rich.console import Console

from include.cli import audit, catalog, cdc, embedded, inspect, maintain, nightly, orders, replicate
from include.errors import BadRequest, CatalogError, NotConfigured, RetailSyncError

_NOTHING_BEGUN = 2
_FAILED = 1

app = typer.Typer(
    name="retail-sync",
    help="A verified 1:1 copy of the point of sale in a warehouse, and the orders of the CRMs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("replicate")(replicate.replicate)
app.command("nightly")(nightly.nightly)
app.command("refresh")(nightly.refresh)
app.command("verify")(inspect.verify)
app.command("audit")(audit.audit)
app.command("status")(inspect.status)
app.command("check")(inspect.check)
app.command("migrate")(inspect.migrate)
app.command("maintain")(maintain.maintain)
app.command("plan-orders")(orders.plan_orders)
app.command("orders-sync-profiler")(orders.orders_sync_profiler)
app.command("td-orders-sync")(orders.td_orders_sync)
app.command("uc-orders-sync")(orders.uc_orders_sync)
app.command("cdc")(cdc.cdc)
app.command("add-table")(catalog.add_table)
app.command("demo")(embedded.demo)
app.command("demo-orders")(embedded.demo_orders)
app.command("demo-cdc")(embedded.demo_cdc)
app.command("bench")(embedded.bench)
app.command("bench-orders")(embedded.bench_orders)
app.add_typer(embedded.app, name="embedded")


def main() -> None:
    """Run the command line; an error of ours is one line, not a traceback."""
    try:
        app()
    except (BadRequest, CatalogError, NotConfigured) as error:
        _say(error)
        sys.exit(_NOTHING_BEGUN)
    except ValidationError as error:
        _say(f"environment: {error}")
        sys.exit(_NOTHING_BEGUN)
    except RetailSyncError as error:
        _say(error)
        sys.exit(_FAILED)


def _say(error: object) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error[/] {_escape(str(error))}")


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
