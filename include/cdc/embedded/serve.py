"""
What a process in which Debezium runs has in common: it does what the first line of its input says.

When the input ends, so does the process. It tells what it does as JSON, a line a message.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

from include.cdc.embedded.child import read_task
from include.cdc.embedded.engine import Engine
from include.cdc.follow import Task, Told
from include.cdc.run import CdcRun
from include.errors import RetailSyncError

log = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0

#: Does the task; gives its engine to the last argument, for whoever may want to stop it.
Work = Callable[[CdcRun, Task, Told, Callable[[Engine], None]], dict[str, Any]]


def serve(work: Work) -> None:
    """Do what the first line of the input says, say what came of it, and end the process."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    run, task = read_task(sys.stdin.readline())
    # whatever Java prints is for the log
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    say = partial(_say, out)
    code = 0
    engines: list[Engine] = []
    threading.Thread(target=_end_with_parent, args=(engines,), daemon=True).start()
    try:
        figures = work(run, task, say, engines.append)
        say({"message": "done", **figures})
    except Exception as error:
        if not isinstance(error, RetailSyncError):
            log.exception("the stream failed")
        say({"message": "error", "kind": type(error).__name__, "text": str(error)})
        code = 1
    # Java's threads would keep the process
    os._exit(code)


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message, default=str) + "\n")
    out.flush()


def _end_with_parent(engines: list[Engine]) -> None:
    """End when the input does: nobody waits for this process any more."""
    sys.stdin.read()
    for engine in engines:
        engine.stop()
    time.sleep(_GRACE_SECONDS)
    os._exit(1)
