"""
A process that is there to be killed.

Reads a line of JSON for each window on standard input, works on it in a child that kills
itself by SIGKILL when the wanted step begins, and prints the exit code of the child. Forking
spares each child the seconds that Python and the drivers take to load.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from include import catalog
from include.connections import parse
from include.engines.postgres import PostgresSource, PostgresWarehouse
from include.replication.export import ExportTarget
from include.replication.observe import Step
from include.replication.reconcile import reconcile
from include.replication.replicate import Run, replicate
from include.replication.sweep import sweep
from include.settings import Settings
from include.windows import Window, parse_span


@dataclass
class KillingObserver:
    """Ends this process at a step; READING means when ``rows`` rows were read."""

    at: Step
    rows_before: int

    def step(self, step: Step) -> None:
        if step is self.at and step is not Step.READING:
            os.kill(os.getpid(), signal.SIGKILL)

    def rows(self, rows: int, size: int) -> None:
        if self.at is Step.READING and rows >= self.rows_before:
            os.kill(os.getpid(), signal.SIGKILL)


def run_window(order: dict[str, Any]) -> None:
    run = Run(
        id=order["run_id"],
        source=PostgresSource(parse("source", order["source"])),
        warehouse=PostgresWarehouse(parse("warehouse", order["warehouse"])),
        control=parse("control", order["control"]),
        settings=Settings(lock_wait=10, batch_bytes=64 * 1024),
        export=ExportTarget(order["exports"]) if order["exports"] else None,
        holder="killed run",
    )
    observer = KillingObserver(Step(order["step"]), order["rows"])
    table, span = catalog.load()[order["table"]], parse_span(order["span"])
    if order.get("work") == "fix":
        assert isinstance(span, Window)
        reconcile(run, table, span, observer)
    elif order.get("work") == "sweep":
        sweep(run, table, observer)
    else:
        replicate(run, table, span, observer)


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run_window(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
