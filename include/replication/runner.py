"""Replicate tables one after another, the windows of a table side by side: the run without Airflow."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from include.catalog import Table
from include.errors import RetailSyncError, TransientError
from include.replication.nightly import NightlyRequest
from include.replication.observe import Observer
from include.replication.prepare import prepare
from include.replication.progress import Phase
from include.replication.reconcile import reconcile
from include.replication.refresh import RefreshRequest, refresh
from include.replication.replicate import Report, Run, replicate
from include.replication.request import OnFailure, Request
from include.replication.sweep import sweep
from include.windows import CHANGES, UNDATED, Span, spans

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
    phase: Phase = Phase.LOAD


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


def run_nightly(run: Run, request: NightlyRequest, observe: Observe) -> list[Outcome]:
    """Load, check and sweep each table of a request; what fails in one table does not stop the others."""
    outcomes: list[Outcome] = []
    for table in request.tables:
        try:
            exposed = retrying(lambda _, table=table: prepare(run, table))  # type: ignore[misc]
        except RetailSyncError as error:
            outcomes.append(Outcome(table.name, None, error=error))
            continue
        if not exposed:
            outcomes.append(Outcome(table.name, None))
            continue
        for span in spans(request.load) if request.load else []:
            outcomes.append(_run_window(run, table, span, observe))
        outcomes.append(_run_fix_check(run, request, table, observe))
        if request.sweep:
            outcomes.append(_run_sweep(run, table, observe))
    return outcomes


def run_refresh(run: Run, request: RefreshRequest, observe: Observe) -> list[Outcome]:
    """Refresh the tables of a request one after another; what fails in one does not stop the others."""
    outcomes = []
    for table in request.tables:
        span = request.span_of(table)
        observer = observe(table, span)
        outcomes.append(
            _outcome(
                lambda attempt, table=table, span=span, observer=observer: refresh(  # type: ignore[misc]
                    run, table, span, observer, attempt
                ),
                Outcome(table.name, span.name),
            )
        )
    return outcomes


def _run_fix_check(run: Run, request: NightlyRequest, table: Table, observe: Observe) -> Outcome:
    observer = observe(table, request.fix)
    return _outcome(
        lambda attempt: reconcile(run, table, request.fix, observer, attempt),
        Outcome(table.name, request.fix.name, phase=Phase.FIX),
    )


def _run_sweep(run: Run, table: Table, observe: Observe) -> Outcome:
    observer = observe(table, CHANGES)
    return _outcome(
        lambda attempt: sweep(run, table, observer, attempt), Outcome(table.name, CHANGES.name, phase=Phase.SWEEP)
    )


def _outcome(work: Callable[[int], Report | None], blank: Outcome) -> Outcome:
    """Do the work, again where that may help; returns the outcome with its report, or with the error."""
    try:
        report = retrying(work)
    except RetailSyncError as error:
        log.error("%s", error)  # noqa: TRY400 (the message says all, a traceback hides it)
        return replace(blank, error=error)
    return replace(blank, report=report) if report else replace(blank, window=None)


def _run_table(run: Run, request: Request, table: Table, max_workers: int, observe: Observe) -> list[Outcome]:
    try:
        exposed = retrying(lambda _: prepare(run, table))
    except RetailSyncError as error:
        return [Outcome(table.name, None, error=error)]
    if not exposed:
        return [Outcome(table.name, None)]
    with ThreadPoolExecutor(max_workers=max_workers, thread_name_prefix=table.name) as pool:
        outcomes = list(pool.map(lambda window: _run_window(run, table, window, observe), request.months))
    return [*outcomes, _run_window(run, table, UNDATED, observe)]


def _run_window(run: Run, table: Table, span: Span, observe: Observe) -> Outcome:
    observer = observe(table, span)
    return _outcome(lambda attempt: replicate(run, table, span, observer, attempt), Outcome(table.name, span.name))


def retrying(work: Callable[[int], T]) -> T:
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


def errors_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what failed, a text each that names table, window and error."""
    return [
        " ".join(filter(None, (outcome.table, outcome.window))) + f": {outcome.error}" for outcome in failures(outcomes)
    ]
