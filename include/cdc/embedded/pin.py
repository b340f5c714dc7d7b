"""
Let Debezium find out where a log is, and how the tables are defined there, in a process of its own.

It reads no rows. Run as ``python -m include.cdc.embedded.pin`` it gets what to do like a stream.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from include.cdc.embedded.child import in_process, working_folder
from include.cdc.embedded.definitions import Definitions
from include.cdc.embedded.engine import Engine, Event, OffsetOf, start_java
from include.cdc.embedded.serve import serve
from include.cdc.embedded.settings import DEFINITIONS, engine_settings
from include.cdc.follow import Task, Told
from include.cdc.run import CdcRun
from include.cdc.sources.base import Pin
from include.cdc.sources.logged import LoggedCdcSource, is_of_log
from include.errors import StreamBroken

#: A large schema takes its time; nothing else is done.
_SECONDS = 600.0


def pin_in_process(run: CdcRun, epoch: str) -> Pin:
    """
    Return the position of the log from which an epoch's stream begins.

    :raises StreamBroken: if Debezium failed.
    """
    found = in_process("include.cdc.embedded.pin", run, Task(epoch=epoch))
    return Pin({"pinned": found["pinned"], "offset": found["offset"]}, history=found["definitions"])


@dataclass
class _Pinning:
    offset: Mapping[str, Any] | None = None
    engine: Engine | None = None

    def on_batch(self, events: list[Event], offset_of: OffsetOf) -> int:
        """Take the first position after the definitions were read; the events come again from there."""
        for index in range(len(events)):
            offset = offset_of(index)
            if self.engine and is_of_log(offset):
                self.offset = offset
                self.engine.stop()
                break
        return 0


def pin(run: CdcRun, task: Task, _: Told, engine_ready: Callable[[Engine], None]) -> dict[str, Any]:
    """Return the position, how it reads, and the definitions."""
    source = run.at_source
    tables = [table.name for table in source.tables(run.replication)]
    pinning = _Pinning()
    with working_folder() as folder:
        start_java(folder, run.settings.cdc_engine_memory)
        settings = engine_settings(run.replication, source, task.epoch, tables, folder)
        engine = pinning.engine = Engine(settings, pinning.on_batch)
        engine_ready(engine)
        late = threading.Timer(_SECONDS, engine.stop)
        late.start()
        engine.run()
        late.cancel()
        if pinning.offset is None:
            raise StreamBroken(f"replication {run.name}: Debezium did not say where the log is")
        definitions = Definitions(folder / DEFINITIONS).more()
    assert isinstance(source, LoggedCdcSource)
    source.await_open()
    return {"pinned": source.told(pinning.offset), "offset": pinning.offset, "definitions": definitions}


def main() -> None:
    """Do what the first line of the input says."""
    serve(pin)


if __name__ == "__main__":
    main()
