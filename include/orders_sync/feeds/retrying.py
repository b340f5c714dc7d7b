"""How long a server is given to come round."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from include.errors import ReportChanged, TransientError, Unanswered

log = logging.getLogger(__name__)

#: Seconds: the longest pause, and the longest that a server may ask for.
LONGEST_PAUSE, LONGEST_RETRY_AFTER = 60.0, 120.0
#: How often a report is read again whose pages do not fit together.
REREADS = 3


def until_answered(attempts: int, pause: float, give_up: Callable[[BaseException], bool]) -> Retrying:
    """
    Return what repeats a request that was not answered, and raises the last error.

    :param pause: seconds before the second attempt, at most; each further pause may be twice as long.
    :param give_up: says of which errors the caller takes care otherwise.
    """
    backoff = wait_random_exponential(multiplier=pause, max=LONGEST_PAUSE)

    def wait(state: RetryCallState) -> float:
        error = _error(state)
        asked = error.after if isinstance(error, Unanswered) else None
        return backoff(state) if asked is None else asked + backoff(state) / 10

    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, Unanswered) and not give_up(error)),
        stop=stop_after_attempt(attempts),
        wait=wait,
        before_sleep=_tell,
        reraise=True,
    )


def until_unchanged(pause: float) -> Retrying:
    """Return what reads a report again that changed while it was read, and raises the last error."""
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, ReportChanged)),
        stop=stop_after_attempt(1 + REREADS),
        wait=wait_random_exponential(multiplier=pause, max=LONGEST_PAUSE),
        before_sleep=_tell,
        reraise=True,
    )


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for, as a number or a date, capped; None without one."""
    if not header:
        return None
    try:
        seconds = float(header) if header.strip().isdigit() else _seconds_until(parsedate_to_datetime(header))
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _seconds_until(moment: datetime) -> float:
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _tell(state: RetryCallState) -> None:
    error = _error(state)
    if isinstance(error, TransientError) and state.next_action is not None:
        log.warning("%s; again in %.1f s", error, state.next_action.sleep)
