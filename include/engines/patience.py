"""What every warehouse does around a publish: clean up after a failure, step back for readers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from include.engines.base import Staging
from include.errors import LockTimeout
from include.settings import Settings

S = TypeVar("S", bound=Staging)
T = TypeVar("T")

_LONGEST_PAUSE = 1.0


@contextmanager
def dropped_on_failure(staging: S, drop: Callable[[], None]) -> Iterator[S]:
    """Hand a staging table out; ``drop`` is called if the block fails, so that nothing of it is left."""
    try:
        yield staging
    except Exception:
        drop()
        raise


def until_published(once: Callable[[], T], settings: Settings, holders: Callable[[], str]) -> T:
    """
    Publish, stepping back whenever others hold the table for ``publish_lock_wait``, so that they can pass.

    :param once: one try, which queues for ``publish_lock_wait`` at most.
    :param holders: says who holds the table, for the message.
    :raises LockTimeout: when ``publish_wait`` is over.
    """
    deadline = time.monotonic() + settings.publish_wait
    while True:
        try:
            return once()
        except LockTimeout as error:
            if time.monotonic() > deadline:
                raise LockTimeout(f"{error}; held by {holders()}") from error
            time.sleep(min(settings.publish_lock_wait, _LONGEST_PAUSE))
