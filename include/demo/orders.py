"""
The demo of the orders sync: six stores with 14 months of orders in two CRMs.

The first run is killed in its middle, the profiler of a real Airflow goes on where the log says,
orders that appear late are picked up, and in the end tables and reports are compared. The figures
are left in ``demo-orders.json``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.table import Column
from rich.table import Table as Grid

from include.connections import parse
from include.demo.crm import DemoCrm
from include.demo.dag_runs import due_before, run_dag
from include.demo.embedded import Embedded
from include.demo.postgres import CONTROL
from include.engines.postgres.connect import connect
from include.errors import PermanentError
from include.orders_sync.log import successes_of
from include.orders_sync.pipelines import BY_GROUP, SyncGroup
from include.orders_sync.planner import covered
from include.orders_sync.request import run_id_of
from include.settings import PROJECT_ROOT, Settings
from include.windows import Window, subtract

_DAG = "orders_sync_profiler"
_SEED, _MONTHS, _LATE_DAYS = 42, 14, 3
_STORES = {
    "T101": SyncGroup.TD,
    "T102": SyncGroup.TD,
    "T103": SyncGroup.TD,
    "T104": SyncGroup.TD,
    "U201": SyncGroup.UC,
    "U202": SyncGroup.UC,
}
#: The first run is killed after so many windows, about a third of them.
_KILLED_AFTER = 10
_POLL_SECONDS = 0.05
_TABLES = (
    *("orders", "sales", "stg_td_orders", "stg_td_sales", "stg_uc_gst", "dropped_rows"),
    *("orders_sync_log", "pipeline_run_summaries", "store_master"),
)


@dataclass(frozen=True)
class Coverage:
    """A store at the end: its days, and rows of the tables beside those of the reports."""

    store: str
    pipeline: str
    first: str
    last: str
    days: int
    days_missing: int
    orders: int
    orders_of_reports: int
    payments: int
    payments_of_reports: int
    equal: bool


@dataclass(frozen=True)
class OrdersResult:
    """What the demo ended with."""

    seconds: float
    killed_after: int
    closed: int
    late_planted: int
    late_found: int
    stores: list[Coverage]

    @property
    def equal(self) -> bool:
        """Whether everything is there, once."""
        return self.late_found == self.late_planted and all(s.equal and not s.days_missing for s in self.stores)

    def write(self, file: Path) -> None:
        """Leave the figures for other programs."""
        file.write_text(json.dumps({"equal": self.equal, **asdict(self)}, indent=1) + "\n", encoding="utf-8")


def run_orders_demo(settings: Settings, console: Console) -> OrdersResult:
    """
    Run the demo and return its figures; Airflow, the servers and the CRM stay up.

    :raises PermanentError: if a run failed.
    """
    began = time.monotonic()
    embedded = Embedded(settings.local_dir.absolute())
    today = datetime.now(settings.pipeline_zone).date()
    since = _months_before(today)
    console.print(f"[bold]1/5[/] control database, Airflow, and a CRM with {len(_STORES)} stores since {since}")
    embedded.start()
    embedded.airflow.pause(_DAG, True)
    embedded.crm.start(_SEED, list(_STORES), since)
    crm = DemoCrm(_SEED, stores=list(_STORES), since=since)
    with connect(parse(CONTROL, embedded.postgres.uri(CONTROL)), "retail-sync demo", autocommit=True) as session:
        begin_anew(session, _STORES, since)
        console.print("[bold]2/5[/] python -m include orders-sync-profiler, killed in its middle")
        done = _run_and_kill(session, embedded.airflow.environment())
        console.print(f"      {done} windows were done, {_count(session, 'running')} under way")
        console.print(f"[bold]3/5[/] DAG {_DAG}: goes on where the log says")
        _tell(session, _profile(embedded, {}), console)
        closed = _count(session, "failed")
        console.print(f"      {closed} rows of the killed run were closed as failed, their windows filled")
        planted = _plant(embedded, crm, today)
        console.print(f"[bold]4/5[/] {planted} orders of the last {_LATE_DAYS} days appear late; the DAG again")
        run_id = _profile(embedded, {"overlap_days": _LATE_DAYS})
        _tell(session, run_id, console)
        found = _inserted(session, run_id)
        console.print("[bold]5/5[/] what is in the tables, beside the reports of the CRMs")
        stores = [_coverage(session, crm, code, Window.inclusive(since, today)) for code in _STORES]
    _show(stores, console)
    result = OrdersResult(round(time.monotonic() - began, 1), done, closed, planted, found, stores)
    result.write(embedded.local_dir / "demo-orders.json")
    return result


def _months_before(today: date) -> date:
    months = today.year * 12 + today.month - 1 - _MONTHS
    return date(months // 12, months % 12 + 1, 1)


def begin_anew(session: psycopg.Connection[Any], stores: Mapping[str, SyncGroup], since: date) -> None:
    """Forget every order and run, and let there be these stores, by code, which opened on ``since``."""
    session.execute(f"TRUNCATE {', '.join(f'public.{name}' for name in _TABLES)}".encode())
    for number, (code, group) in enumerate(stores.items(), 1):
        session.execute(
            "INSERT INTO public.store_master (store_code, store_name, sync_group, start_date, cost_center)"
            " VALUES (%s, %s, %s, %s, %s)",
            (code, f"Store {number}", group.value, since, f"CC{number:04}"),
        )


def _run_and_kill(session: psycopg.Connection[Any], environment: Mapping[str, str]) -> int:
    """Begin a run in a process of its own, kill it in its middle, and return how many windows it had done."""
    process = subprocess.Popen(
        [sys.executable, "-m", "include", "orders-sync-profiler"],
        env={**os.environ, **environment, "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=subprocess.DEVNULL,
    )
    while _count(session, "success") < _KILLED_AFTER or not _count(session, "running"):
        if process.poll() is not None:
            raise PermanentError("the first run ended before it was killed; see its lines above")
        time.sleep(_POLL_SECONDS)
    process.kill()
    process.wait()
    return _count(session, "success")


def _profile(embedded: Embedded, conf: Mapping[str, Any]) -> str:
    """Run the DAG and return the run's id in our tables."""
    due = due_before(datetime.now(Settings().pipeline_zone))
    return run_id_of(_DAG, run_dag(embedded.airflow, _DAG, conf, due, lambda _: None))


def _plant(embedded: Embedded, crm: DemoCrm, today: date) -> int:
    """Let orders appear at the CRM that were not there when their days were pulled; return how many."""
    places = [(store, today - timedelta(days=ago)) for store in _STORES for ago in range(_LATE_DAYS)]
    for store, day in places:
        embedded.crm.add_late(store, day)
        crm.add_late(store, day)
    return len(places)


def _coverage(session: psycopg.Connection[Any], crm: DemoCrm, code: str, window: Window) -> Coverage:
    pipeline = BY_GROUP[_STORES[code]]
    done = covered(successes_of(session, window.last_day, code).get((pipeline.code, code), []), window.last_day)
    orders = crm.rows(pipeline.orders, code, window)
    payments = crm.rows(pipeline.sales, code, window) if pipeline.sales else []
    amount = "total_invoice_value" if pipeline.sales is None else "net_amount"
    rows, net = _sum(session, "SELECT count(*), sum(net_amount) FROM public.orders", code)
    paid_rows, paid = _sum(session, "SELECT count(*), sum(payment_received) FROM public.sales", code)
    return Coverage(
        store=code,
        pipeline=pipeline.code,
        first=window.start.isoformat(),
        last=window.last_day.isoformat(),
        days=window.days,
        days_missing=sum(hole.days for hole in subtract(window, done)),
        orders=rows,
        orders_of_reports=len(orders),
        payments=paid_rows,
        payments_of_reports=len(payments),
        equal=(rows, net, paid_rows, paid)
        == (len(orders), _total(orders, amount), len(payments), _total(payments, "payment_received")),
    )


def _sum(session: psycopg.Connection[Any], query: str, code: str) -> tuple[int, Decimal]:
    row = session.execute(f"{query} WHERE store_code = %s".encode(), (code,)).fetchone()
    assert row is not None
    return row[0], row[1] or Decimal(0)


def _total(records: Sequence[Mapping[str, Any]], name: str) -> Decimal:
    return sum((Decimal(str(record[name]).replace(",", "")) for record in records if record[name]), Decimal(0))


def _count(session: psycopg.Connection[Any], status: str) -> int:
    row = session.execute("SELECT count(*) FROM public.orders_sync_log WHERE status = %s", (status,)).fetchone()
    assert row is not None
    return int(row[0])


def _inserted(session: psycopg.Connection[Any], run_id: str) -> int:
    """Return the new orders of a run."""
    row = session.execute(
        "SELECT sum(orders_inserted) FROM public.orders_sync_log WHERE run_id = %s", (run_id,)
    ).fetchone()
    return int(row[0] or 0) if row else 0


def _tell(session: psycopg.Connection[Any], run_id: str, console: Console) -> None:
    row = session.execute(
        "SELECT summary_text FROM public.pipeline_run_summaries WHERE run_id = %s", (run_id,)
    ).fetchone()
    for line in (row[0] if row else "").splitlines():
        console.print(f"      {line}")


def _show(stores: list[Coverage], console: Console) -> None:
    right = ("days", "missing", "orders", "at CRM", "payments", "at CRM")
    grid = Grid(
        *(Column(name, no_wrap=True) for name in ("store", "CRM", "since")),
        *(Column(name, justify="right", no_wrap=True) for name in right),
        Column("sums", no_wrap=True),
        title="coverage of each store",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for store in stores:
        figures = (store.days, store.days_missing, store.orders, store.orders_of_reports)
        paid = (store.payments, store.payments_of_reports)
        sums = "equal" if store.equal else "[red]DIFFERENT[/]"
        crm = _STORES[store.store].value
        grid.add_row(store.store, crm, store.first, *(f"{n:,}" for n in (*figures, *paid)), sums)
    console.print(grid)
