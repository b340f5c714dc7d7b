"""Read ahead in a thread, so that reading, writing and both servers work at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1


def prefetch(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """
    Return the items in order, read by a thread that is at most ``depth`` items ahead.

    What the reading raises is raised here. When the consumer stops early the thread is
    stopped too, and ``items`` is closed if it is a generator.
    """
    ahead: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | None, error: BaseException | None = None) -> None:
        while not stop.is_set():
            try:
                ahead.put((item, error), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            with closing(items) if isinstance(items, Generator) else nullcontext():
                for item in items:
                    put(item)
                    if stop.is_set():
                        return
        except BaseException as error:  # raised again by the consumer
            put(None, error)
        else:
            put(None)

    thread = threading.Thread(target=read, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ahead.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        thread.join()
