"""``demo``, ``bench`` and ``embedded``: the whole project on this machine, nothing else needed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from include.cli import common

if TYPE_CHECKING:
    from include.demo.embedded import Embedded

_FAILED = 1

app = typer.Typer(help="The embedded servers and Airflow of this machine.", no_args_is_help=True)


def demo() -> None:
    """Replicate sample data by a real Airflow on embedded servers, and prove the result."""
    from include.demo.demo import run_demo, show_page

    config = common.settings()
    result = run_demo(config, common.console)
    rows = sum(window["warehouse_rows"] for window in result.windows)
    verdict = "[bold green]equal[/]" if result.equal else "[bold red]DIFFERENT[/]"
    fixes = result.fixes
    common.console.print(
        f"{fixes.planted} rows changed at the source, {fixes.found} found by the nightly run,"
        f" {fixes.repaired} repaired, {fixes.remaining} days differ"
    )
    common.console.print(f"{rows:,} rows, source and warehouse {verdict}, {result.seconds:.0f} s")
    common.console.print(f"Look around: {_airflow_url()}   (`make stop` ends it, `make clean` removes it)")
    show_page(config, common.console)
    if not result.equal:
        raise typer.Exit(_FAILED)


def demo_orders() -> None:
    """Sync the orders of six stores from two CRMs, interrupted and resumed, and prove the result."""
    from include.demo.orders import run_orders_demo

    result = run_orders_demo(common.settings(), common.console)
    verdict = "[bold green]equal[/]" if result.equal else "[bold red]DIFFERENT[/]"
    orders = sum(store.orders for store in result.stores)
    common.console.print(f"{result.late_planted} orders appeared late, {result.late_found} were found")
    common.console.print(f"{orders:,} orders, tables and reports {verdict}, {result.seconds:.0f} s")
    common.console.print(f"Look around: {_airflow_url()}   (`make stop` ends it, `make clean` removes it)")
    if not result.equal:
        raise typer.Exit(_FAILED)


def demo_cdc() -> None:
    """Follow a shop that is changed all the time, killed twice, and prove the result."""
    from include.demo.cdc import run_cdc_demo

    result = run_cdc_demo(common.settings(), common.console)
    verdict = "[bold green]equal[/]" if result.equal else "[bold red]DIFFERENT[/]"
    common.console.print(
        f"{result.rows_copied:,} rows copied, {result.changes:,} changed meanwhile, killed {result.kills} times:"
        f" {result.lost} lost, {result.doubled} doubled, {result.different} different"
    )
    common.console.print(
        f"{result.events_s:,.0f} changes/s applied, {result.lag_s} s behind, {result.engine_mb:.0f} MB in the process"
    )
    common.console.print(f"source and warehouse {verdict}, {result.seconds:.0f} s")
    common.console.print(f"Look around: {_airflow_url()}   (`make stop` ends it, `make clean` removes it)")
    if not result.equal:
        raise typer.Exit(_FAILED)


def bench(
    rows: Annotated[int, typer.Option(min=1000, help="Rows of the 184-column table.")] = 300_000,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating runs of each way.")] = 3,
) -> None:
    """Measure replication against the raw binary COPY of the same rows, in the same run."""
    from include.demo.bench import run_bench

    run_bench(common.settings(), common.console, rows, rounds)


def bench_orders(
    stores: Annotated[int, typer.Option(min=1, max=9999, help="Stores that have windows to catch up.")] = 50,
    windows: Annotated[int, typer.Option(min=1, help="Windows of each store.")] = 12,
) -> None:
    """Let the orders profiler catch up with many stores under a real scheduler, and take the time."""
    from include.demo.bench_orders import run_orders_bench

    run_orders_bench(common.settings(), common.console, stores, windows)


@app.command()
def start(
    airflow: Annotated[bool, typer.Option(help="Start Airflow too, not only the databases.")] = True,
) -> None:
    """Start the embedded servers, and Airflow on them."""
    embedded = _embedded()
    if airflow:
        embedded.start()
        common.console.print(f"Airflow: {embedded.airflow.url}, no password, on this machine only")
    else:
        embedded.start_databases()
    common.console.print(f"databases: 127.0.0.1:{embedded.postgres.port}, user postgres")


@app.command()
def stop() -> None:
    """Stop Airflow and the embedded servers; the data stays."""
    _embedded().stop()


@app.command()
def remove() -> None:
    """Stop Airflow and the embedded servers, and delete their data."""
    _embedded().remove()


@app.command()
def env() -> None:
    """Print what points other commands here: eval "$(python -m include embedded env)"."""
    for name, value in _embedded().airflow.environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _embedded() -> Embedded:
    from include.demo.embedded import Embedded

    return Embedded(common.settings().local_dir.absolute())


def _airflow_url() -> str:
    url: str = _embedded().airflow.url
    return url
