"""Replicate tables one after another, the windows of a table side by side: the run without Airflow."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from include.catalog import Table
from include.errors import RetailSyncError, TransientError
from include.replication.observe import Observer
from include.replication.prepare import prepare
from include.replication.replicate import Report, Run, replicate
from include.replication.request import OnFailure, Request
from include.windows import UNDATED, Span

T = TypeVar("T")

log = logging.getLogger(__name__)

_ATTEMPTS = 4
_LONGEST_PAUSE_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What became of a window, or of a whole table where ``window`` is None."""

    table: str
    window: str | None
    report: Report | None = None
    error: RetailSyncError | None = None


#: Makes the observer of a window before it begins.
Observe = Callable[[Table, Span], Observer]


def run_request(run: Run, request: Request, max_workers: int, observe: Observe) -> list[Outcome]:
    """
    Replicate the tables of a request in order, ``max_workers`` windows at once.

    A failed window does not stop the others, nor the later tables unless the request says
    so. Transient errors are tried again, with pauses that grow.
    """
    outcomes: list[Outcome] = []
    for table in request.tables:
        done = _run_table(run, request, table, max_workers, observe)
        outcomes += done
        if request.on_failure is OnFailure.STOP and any(outcome.error for outcome in done):
            log.error("%s failed, the later tables are not begun", table.name)
            break
    return outcomes


def _run_table(run: Run, request: Request, table: Table, max_workers: int, observe: Observe) -> list[Outcome]:
    try:
        exposed = _retrying(lambda _: prepare(run, table))
    except RetailSyncError as error:
        return [Outcome(table.name, None, error=error)]
    if not exposed:
        return [Outcome(table.name, None)]
    with ThreadPoolExecutor(max_workers=max_workers, thread_name_prefix=table.name) as pool:
        outcomes = list(pool.map(lambda window: _run_window(run, table, window, observe), request.months))
    return [*outcomes, _run_window(run, table, UNDATED, observe)]


def _run_window(run: Run, table: Table, span: Span, observe: Observe) -> Outcome:
    observer = observe(table, span)
    try:
        report = _retrying(lambda attempt: replicate(run, table, span, observer, attempt))
    except RetailSyncError as error:
        log.error("%s", error)  # noqa: TRY400 (the message says all, a traceback hides it)
        return Outcome(table.name, span.name, error=error)
    return Outcome(table.name, span.name, report=report)


def _retrying(work: Callable[[int], T]) -> T:
    """Call ``work`` with the number of the attempt until it succeeds or a retry cannot help."""
    policy = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=1, max=_LONGEST_PAUSE_SECONDS),
        before_sleep=lambda state: log.warning("%s; trying again", state.outcome and state.outcome.exception()),
        reraise=True,
    )
    attempts = itertools.count(1)
    return policy(lambda: work(next(attempts)))


def failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return what failed."""
    return [outcome for outcome in outcomes if outcome.error]
