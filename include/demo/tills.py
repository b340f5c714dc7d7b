"""Tills of the demo's shop as processes, which work at full speed until they are closed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from include.settings import PROJECT_ROOT


class Tills:
    """Several tills."""

    def __init__(self, dsn: str, count: int, first_seed: int, pause: float) -> None:
        self._processes = [
            subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "include.demo.shop", dsn, str(seed), str(pause)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
                text=True,
            )
            for seed in range(first_seed, first_seed + count)
        ]

    def close(self) -> int:
        """End them after their transaction; returns how many rows they have changed."""
        changed = 0
        for process in self._processes:
            written, _ = process.communicate(timeout=60)
            if process.returncode:
                raise RuntimeError(f"a till ended with code {process.returncode}")
            changed += int(written)
        self._processes.clear()
        return changed

    def kill(self) -> None:
        """End those that are still there."""
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def working(dsn: str, count: int = 3, *, first_seed: int = 1, pause: float = 0.0) -> Iterator[Tills]:
    """
    Let tills work; whatever happens, none is left.

    :param first_seed: of the first till; the others have the next ones. No seed may work twice.
    :param pause: seconds between a till's transactions.
    """
    tills = Tills(dsn, count, first_seed, pause)
    try:
        yield tills
    finally:
        tills.kill()
