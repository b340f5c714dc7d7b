"""Start the process that follows a source, and hear what it says."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import asdict, fields
from typing import Any

from include import errors
from include.cdc.follow import Task, Told
from include.cdc.models import Replication
from include.cdc.run import CdcRun
from include.connections import Connection
from include.errors import RetailSyncError, StreamBroken
from include.settings import PROJECT_ROOT, Settings

log = logging.getLogger(__name__)

_CONNECTIONS = ("source", "warehouse", "control")


def follow_in_process(run: CdcRun, task: Task, told: Told) -> dict[str, Any]:
    """
    Follow the source in a process of its own; returns the figures of the stream.

    The process ends with this one: its input is a pipe that nobody else holds. What it needs,
    passwords among it, goes through that pipe, not through arguments or files.

    :raises StreamBroken: if the process ended without a word.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "include.cdc.embedded.stream"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    relay = threading.Thread(target=_relay, args=(process.stderr,), daemon=True)
    relay.start()
    last: dict[str, Any] = {}
    try:
        process.stdin.write(written(run, task) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            last = json.loads(line)
            if last["message"] == "progress":
                log.info(
                    "replication %s, step 4/4: %s changes applied, %s s behind", run.name, last["events"], last["lag"]
                )
                told(last)
        code = process.wait()
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        relay.join(1)
    if last.get("message") == "error":
        raise _error(last["kind"], last["text"])
    if last.get("message") != "done":
        raise StreamBroken(f"replication {run.name}: the process of the stream ended with code {code}")
    return {name: value for name, value in last.items() if name != "message"}


def read_task(line: str) -> tuple[CdcRun, Task]:
    """Read what ``follow_in_process`` has written."""
    content = json.loads(line)
    source, warehouse, control = (Connection(**content[name]) for name in _CONNECTIONS)
    run = CdcRun(
        id=content["id"],
        replication=Replication.model_validate(content["replication"]),
        settings=Settings(),
        holder=content["holder"],
        source=source,
        warehouse=warehouse,
        control=control,
    )
    return run, Task(**content["task"])


def written(run: CdcRun, task: Task) -> str:
    """Return what the process gets as the first line of its input; it holds passwords."""
    connections = {name: _parts(getattr(run, name)) for name in _CONNECTIONS}
    replication = run.replication.model_dump(mode="json")
    content = {"id": run.id, "holder": run.holder, "replication": replication, "task": asdict(task), **connections}
    return json.dumps(content)


def _parts(connection: Connection) -> dict[str, Any]:
    parts = {field.name: getattr(connection, field.name) for field in fields(connection)}
    return {**parts, "extra": dict(connection.extra)}


def _error(kind: str, text: str) -> RetailSyncError:
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, RetailSyncError):
        return found(text)
    return StreamBroken(f"{kind}: {text}")


def _relay(stream: Any) -> None:
    """Pass the process's log on."""
    for line in stream:
        log.info("%s", line.rstrip())
