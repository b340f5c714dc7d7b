"""
The orders profiler of a real Airflow over many stores, and what is left of the scheduler meanwhile.

Stores of one CRM have so many windows to catch up. While the profiler works on them a store of the
other CRM is synced by its own DAG again and again: how long that takes tells whether other DAGs
starve. Written to ``bench-orders.json``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from include.connections import parse
from include.demo.airflow import LocalAirflow
from include.demo.dag_runs import due_before, run_dag
from include.demo.embedded import Embedded
from include.demo.orders import begin_anew
from include.demo.postgres import CONTROL
from include.engines.postgres.connect import connect
from include.errors import PermanentError
from include.orders_sync.pipelines import SyncGroup
from include.orders_sync.request import run_id_of
from include.settings import Settings

_DAG, _OTHER_DAG, _OTHER_STORE = "orders_sync_profiler", "uc_orders_sync", "U001"
_SEED, _WINDOW_DAYS = 7, 7
_TIMEOUT_SECONDS = 3 * 3600.0
_PAUSE_SECONDS = 20.0
_ENDED = ("success", "failed")


@dataclass(frozen=True)
class Scale:
    """Figures of a run; times in seconds."""

    stores: int
    windows: int
    seconds: float
    planned_after: float
    windows_s: float
    others: list[float]
    """From the trigger to the end of each run of the other DAG."""

    def write(self, file: Path) -> None:
        """Leave the figures for other programs."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def run_orders_bench(settings: Settings, console: Console, stores: int, windows: int) -> Scale:
    """
    Let the profiler catch up ``windows`` windows of each of ``stores`` stores, and return its figures.

    :raises PermanentError: if a window is missing or was done twice.
    """
    embedded = Embedded(settings.local_dir.absolute())
    codes = [f"T{number:04}" for number in range(1, stores + 1)]
    now = datetime.now(settings.pipeline_zone)
    since = now.date() - timedelta(days=windows * _WINDOW_DAYS - 1)
    embedded.start()
    for dag_id in (_DAG, _OTHER_DAG):
        embedded.airflow.rest(dag_id)
    embedded.crm.start(_SEED, [*codes, _OTHER_STORE], since)
    with connect(parse(CONTROL, embedded.postgres.uri(CONTROL)), "retail-sync bench", autocommit=True) as session:
        begin_anew(session, {**dict.fromkeys(codes, SyncGroup.TD), _OTHER_STORE: SyncGroup.UC}, since)
        console.print(f"{stores:,} stores by {windows} windows of {_WINDOW_DAYS} days, by DAG {_DAG}")
        embedded.airflow.pause(_OTHER_DAG, False)
        other = _Other(embedded.airflow, console, lambda: _done(session))
        began = time.monotonic()
        conf = {"sync_group": SyncGroup.TD.value, "window_days": _WINDOW_DAYS}
        name = run_dag(embedded.airflow, _DAG, conf, due_before(now), other.watch, _TIMEOUT_SECONDS)
        seconds = time.monotonic() - began
        embedded.airflow.rest(_DAG)
        planned_after = _first_row(session, run_id_of(_DAG, name))
        _refuse_gaps(session, stores, windows)
    total = stores * windows
    scale = Scale(stores, total, round(seconds, 1), round(planned_after, 1), round(total / seconds, 1), other.seconds)
    scale.write(embedded.local_dir / "bench-orders.json")
    console.print(
        f"{total:,} windows in {seconds:,.0f} s, {scale.windows_s} a second, the first {planned_after:.0f} s after the"
        f" begin; {len(other.seconds)} runs of {_OTHER_DAG} beside it, the slowest {max(other.seconds, default=0)} s"
    )
    return scale


@dataclass
class _Other:
    """Runs of another DAG, one after another."""

    airflow: LocalAirflow
    console: Console
    done: Callable[[], int]
    seconds: list[float] = field(default_factory=list)
    _open: str | None = None
    _since: float = 0.0

    def watch(self, _: str) -> None:
        """Begin one if none is open and the last began a while ago, and take the time of one that has ended."""
        now = time.monotonic()
        if self._open is None:
            if now - self._since > _PAUSE_SECONDS:
                self._open = self.airflow.trigger(_OTHER_DAG, {"store_codes": [_OTHER_STORE]})
                self._since = now
        elif self.airflow.run_state(_OTHER_DAG, self._open) in _ENDED:
            self.seconds.append(round(now - self._since, 1))
            self._open = None
            self.console.print(f"  {self.done():,} windows done; {_OTHER_DAG} took {self.seconds[-1]} s")


def _done(session: psycopg.Connection[Any]) -> int:
    row = session.execute("SELECT count(sales_pulled_at) FROM public.orders_sync_log").fetchone()
    return int(row[0]) if row else 0


def _first_row(session: psycopg.Connection[Any], run_id: str) -> float:
    """Return the seconds from the begin of a run to its first window."""
    row = session.execute(
        "SELECT extract(epoch FROM min(l.created_at) - min(s.started_at)) FROM public.orders_sync_log l"
        " JOIN public.pipeline_run_summaries s USING (run_id) WHERE run_id = %s",
        (run_id,),
    ).fetchone()
    return float(row[0] or 0) if row else 0.0


def _refuse_gaps(session: psycopg.Connection[Any], stores: int, windows: int) -> None:
    rows = session.execute(
        "SELECT store_code, count(*), count(DISTINCT from_date), min(status), max(status) FROM public.orders_sync_log"
        " WHERE store_code <> %s GROUP BY 1",
        (_OTHER_STORE,),
    ).fetchall()
    wrong = [row for row in rows if row[1:] != (windows, windows, "success", "success")]
    if wrong or len(rows) != stores:
        raise PermanentError(f"{len(rows)} of {stores} stores were synced; not each window once: {wrong[:3]}")
