"""Read ahead in a thread, so that reading, writing and both servers work at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1


def prefetch(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """
    Return the items in order, read by a thread that keeps ``depth`` of them ready and one in hand.

    What the reading raises is raised here. When the consumer stops early the thread is
    stopped too, and ``items`` is closed if it is a generator.
    """
    reader = _Reader(items, depth)
    reader.start()
    try:
        while True:
            item, error = reader.ahead.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        reader.stopped.set()
        reader.join()


class _Reader(threading.Thread, Generic[T]):
    """Puts (item, None) for each item, then (None, error) or (None, None) for the end."""

    def __init__(self, items: Iterator[T], depth: int) -> None:
        super().__init__(name="prefetch", daemon=True)
        self.items = items
        self.ahead: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self.stopped = threading.Event()

    def run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self.items:
                if not self._put(item, None):
                    break
        except BaseException as raised:  # noqa: BLE001 (the consumer raises it again)
            error = raised
        finally:
            if isinstance(self.items, Generator):
                self.items.close()
        self._put(None, error)

    def _put(self, item: T | None, error: BaseException | None) -> bool:
        while not self.stopped.is_set():
            try:
                self.ahead.put((item, error), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
