"""
Stands in for a worker of Kafka Connect: real Debezium with a connector's configuration, over a Kafka broker.

``python -m tests.integration.connect_worker BROKERS FOLDER [MARKER]`` reads the configuration as JSON from the
first line of its input and writes topics until that ends, or until it has written the marker. It prints what
Connect would store: partition and offset as JSON, a line a batch. Offsets, and the definitions of tables, which
Debezium's history in Kafka would keep, are files in the folder: Java clients do not get on with the cluster of
the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import jpype
from confluent_kafka import Producer

from include.cdc.changes import Marker
from include.cdc.embedded.engine import Engine, Event, OffsetOf, start_java
from include.cdc.events import parse
from include.settings import PROJECT_ROOT
from tests.integration.connect_server import Cluster

_GRACE_SECONDS = 3.0
_HISTORY = "schema.history.internal"


class Worker:
    """Runs a connector of the stand-in of Connect, as long as it is to run, until it is closed."""

    def __init__(self, cluster: Cluster, name: str, brokers: str, folder: Path) -> None:
        self._cluster, self._name, self._command = cluster, name, [brokers, str(folder)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join(30)

    def offset(self, prefix: str) -> dict[str, Any] | None:
        """Return what is stored of the topics with a prefix."""
        return self._cluster.offsets.get(self._name, {}).get(json.dumps({"server": prefix}))

    def _work(self) -> None:
        running: tuple[dict[str, str], subprocess.Popen[str]] | None = None
        while not self._over.wait(0.05):
            connector = self._cluster.connectors.get(self._name)
            wanted = connector.config if connector and connector.state == "RUNNING" else None
            if running is not None and running[0] != wanted:
                _end(running[1])
                running = None
            if running is None and wanted:
                running = wanted, self._start(wanted)
            if connector and running is not None and running[1].poll():
                connector.task = "FAILED"
        if running is not None:
            _end(running[1])

    def _start(self, config: dict[str, str]) -> subprocess.Popen[str]:
        process = started(config, *self._command)
        threading.Thread(target=self._hear, args=(process,), daemon=True).start()
        return process

    def _hear(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            partition, offset = json.loads(line)
            self._cluster.offsets.setdefault(self._name, {})[json.dumps(partition)] = offset


def started(config: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.connect_worker", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, cwd=PROJECT_ROOT, **pipes)
    assert process.stdin is not None
    process.stdin.write(json.dumps(config) + "\n")
    process.stdin.flush()
    return process


def _end(process: subprocess.Popen[str]) -> None:
    """Let a worker store what it has written, and wait for its end."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)


class _Task(Engine):
    """The engine, which also gives the records of a batch as Connect has them."""

    def take(self, records: Any, committer: Any) -> None:
        self.records = [record.sourceRecord() for record in records]
        super().take(records, committer)


def _headers(record: Any, converter: Any) -> dict[str, bytes]:
    found = {str(header.key()): (header.schema(), header.value()) for header in record.headers()}
    return {name: bytes(converter.fromConnectHeader(record.topic(), name, *value)) for name, value in found.items()}


def _end_with_input(task: Engine) -> None:
    """End as a worker does; an engine that is stopped while it starts would not end."""
    sys.stdin.read()
    task.stop()
    time.sleep(_GRACE_SECONDS)
    os._exit(0)


def main() -> None:
    brokers, folder, *marker = sys.argv[1:]
    config: dict[str, str] = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    producer = Producer({"bootstrap.servers": brokers, "log_level": 0})
    kept = Path(folder) / config["topic.prefix"]
    kept.mkdir(exist_ok=True)
    start_java(kept, 192)
    converter = jpype.JClass("org.apache.kafka.connect.json.JsonConverter")()
    settings = {name.removeprefix("header.converter."): value for name, value in config.items()}
    converter.configure({**settings, "converter.type": "header"})

    def write(events: list[Event], offset_of: OffsetOf) -> int:
        for event, record in zip(events, task.records, strict=True):
            item = parse(event.key, event.value, event.other_key)
            if isinstance(item, Marker) and [item.content] == marker:
                task.stop()
            producer.produce(str(record.topic()), key=event.key, value=event.value, headers=_headers(record, converter))
        assert producer.flush(30) == 0
        partition = {str(entry.getKey()): str(entry.getValue()) for entry in record.sourcePartition().entrySet()}
        out.write(json.dumps([partition, offset_of(len(events) - 1)]) + "\n")
        out.flush()
        return len(events)

    files = {
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(kept / "offsets"),
        "offset.flush.interval.ms": "0",
    }
    if _HISTORY in config:
        config = {name: value for name, value in config.items() if not name.startswith(_HISTORY)}
        files[_HISTORY] = "io.debezium.storage.file.history.FileSchemaHistory"
        files[f"{_HISTORY}.file.filename"] = str(kept / "definitions")
    task = _Task({**config, **files}, write)
    threading.Thread(target=_end_with_input, args=(task,), daemon=True).start()
    code = 0
    try:
        task.run()
    except Exception:  # noqa: BLE001 (it is told, and ends the process)
        traceback.print_exc()
        code = 1
    # Java's threads would keep the process
    os._exit(code)


if __name__ == "__main__":
    main()
