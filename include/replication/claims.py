"""
Which locks a piece of work holds.

Months of a table are loaded side by side: each holds its months, and shares the table. What
touches rows of any month (repairs, sweeps, refreshes, maintenance) holds the table for itself.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from include import locks
from include.catalog import Table
from include.connections import Connection
from include.locks import LockSpace, Name
from include.replication.progress import Phase, locks_whole_table
from include.windows import CHANGES, Span, month_keys


def lock_names(table: Table, span: Span, phase: Phase = Phase.LOAD) -> list[Name]:
    """Return the locks for a span of a table."""
    name = f"{table.target_schema}.{table.target_table}"
    if locks_whole_table(table, span, phase):
        return [Name(LockSpace.TABLE, name)]
    months = [Name(LockSpace.WINDOW, f"{name} {key}") for key in month_keys(span)]
    return [Name(LockSpace.TABLE, name, shared=True), *months]


def claim(
    control: Connection, table: Table, span: Span, phase: Phase = Phase.LOAD, *, holder: str, wait: float
) -> AbstractContextManager[locks.Lock]:
    """Hold what a phase of a span needs; waits up to ``wait`` seconds for other runs."""
    return locks.hold(control, lock_names(table, span, phase), holder=holder, wait=wait)


def whole_table(control: Connection, table: Table, *, holder: str, wait: float) -> AbstractContextManager[locks.Lock]:
    """Hold a table for ourselves."""
    return claim(control, table, CHANGES, Phase.FIX, holder=holder, wait=wait)
