"""
A run of a replication that is killed at a point: ``python -m tests.integration.cdc_victim POINT COUNT TABLE``.

The first line of its input is what the process of a stream gets; the kill is that of the kernel, so
nothing is cleaned up.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from include.cdc import begin, copy, state, swap
from include.cdc.batches import Batches
from include.cdc.embedded import engine, stream
from include.cdc.embedded.child import read_task


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function: Callable[..., Any], count: int, *, after: bool = True) -> Callable[..., Any]:
    """Return a function that kills the process at its ``count``-th call, after or before its work."""
    calls = 0

    def wrapper(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and not after:
            die()
        result = function(*args, **options)
        if calls == count:
            die()
        return result

    return wrapper


def closing_to_death(close: Callable[..., None]) -> Callable[..., None]:
    """Return what closes the engine once it has caught up, while the process is killed."""

    def wrapper(running: engine.Engine, *args: Any) -> None:
        running._stopping.wait()
        if running._error is None and running._failure is None:
            threading.Timer(engine._CLOSE_AFTER_SECONDS + 0.05, die).start()
        close(running, *args)

    return wrapper


def main() -> None:
    point, count, table = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    run, task = read_task(sys.stdin.readline())
    match point:
        case "slot made":
            begin.state.write = dying(state.write, count, after=False)  # type: ignore[attr-defined]
            copy.copy_table(run, table)
        case "during the copy":
            copy._piece = dying(copy._piece, count)
            copy.copy_table(run, table)
        case "before the swap is committed":
            swap._publish = dying(swap._publish, count)
            swap.swap(run)
        case "before the commit":
            state.advance = dying(state.advance, count)
            stream.stream(run, task, lambda _: None, lambda _: None)
        case "after the commit":
            Batches.apply = dying(Batches.apply, count)  # type: ignore[method-assign]
            stream.stream(run, task, lambda _: None, lambda _: None)
        case "during close":
            engine.Engine._close = closing_to_death(engine.Engine._close)  # type: ignore[method-assign]
            stream.stream(run, task, lambda _: None, lambda _: None)
    raise SystemExit(f"{point}: nobody was killed")


if __name__ == "__main__":
    main()
