"""Start a process in which Debezium runs, and hear what it says."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
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
#: The variable that names the process's folder; what it cannot remove when it is killed, its parent does.
_FOLDER = "RETAIL_SYNC_CDC_FOLDER"
_PREFIX = "retail-sync-cdc-"


def follow_in_process(run: CdcRun, task: Task, told: Told) -> dict[str, Any]:
    """Follow the source in a process of its own; returns the figures of the stream."""

    def progress(message: dict[str, Any]) -> None:
        text = "replication %s, step 4/4: %s changes applied, %s s behind"
        log.info(text, run.name, message["events"], message["lag"])
        told(message)

    return in_process("include.cdc.embedded.stream", run, task, progress)


def in_process(module: str, run: CdcRun, task: Task, told: Told = lambda _: None) -> dict[str, Any]:
    """
    Let a module of ours do something in a process of its own; returns what it ends with.

    The process ends with this one: its input is a pipe that nobody else holds. What it needs,
    passwords among it, goes through that pipe, not through arguments or files.

    :param told: hears what it says meanwhile.
    :raises StreamBroken: if the process ended without a word.
    """
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as path:
        return _spoken(module, run, task, told, path)


def read_task(line: str) -> tuple[CdcRun, Task]:
    """Read what ``in_process`` has written."""
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


@contextmanager
def working_folder() -> Iterator[Path]:
    """Give the folder that the process got, one of its own without a parent; it goes at the end of the block."""
    path = os.environ.get(_FOLDER) or tempfile.mkdtemp(prefix=_PREFIX)
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _spoken(module: str, run: CdcRun, task: Task, told: Told, path: str) -> dict[str, Any]:
    process = subprocess.Popen(  # noqa: S603 (a module of ours)
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), _FOLDER: path},
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
        raise StreamBroken(f"replication {run.name}: the process of its stream ended with code {code}")
    return {name: value for name, value in last.items() if name != "message"}


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
