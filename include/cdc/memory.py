"""How much memory this process has had."""

from __future__ import annotations

import re
import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")


def most_memory() -> float:
    """
    Return the most memory that the process had at once, in megabytes.

    Linux tells it of the program that runs; what ``getrusage`` tells may be that of the process from
    which it was begun.
    """
    if _STATUS.exists() and (found := re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)):
        return round(int(found[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
