"""
Follow a source in this process, until it has caught up.

Run as ``python -m include.cdc.embedded.stream`` with what to do as JSON on the first line of its
input; when that ends, so does the process. It tells what it does as JSON, a line a message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.cdc import history, state
from include.cdc.batches import Batches
from include.cdc.changes import Change
from include.cdc.embedded.child import working_folder
from include.cdc.embedded.definitions import Definitions
from include.cdc.embedded.ending import Ending, ending_of
from include.cdc.embedded.engine import Engine, Event, OffsetOf, start_java, write_offset
from include.cdc.embedded.readable import assert_readable
from include.cdc.embedded.serve import serve
from include.cdc.embedded.settings import DEFINITIONS, OFFSETS, engine_settings
from include.cdc.events import parse
from include.cdc.figures import latest, record
from include.cdc.follow import Task, Told
from include.cdc.live import followed
from include.cdc.ready import must_wait
from include.cdc.run import CdcRun
from include.cdc.targets.base import Target
from include.errors import StreamBroken

log = logging.getLogger(__name__)

_TELL_SECONDS = 5.0
_GRACE_SECONDS = 10.0


@dataclass
class _Stream:
    run: CdcRun
    batches: Batches
    revision: int
    told: Told
    ending: Ending
    definitions: Definitions
    engine: Engine | None = None
    _told_at: float = 0.0

    def on_batch(self, events: list[Event], offset_of: OffsetOf) -> int:
        """Apply the events up to the end of the stream; returns how many need not come again."""
        self.ending.is_applying = True
        parsed = [parse(event.key, event.value, event.other_key) for event in events]
        kept = self.ending.cut(parsed, offset_of)
        done = self.ending.settle(kept, offset_of)
        if kept or self.ending.caught_up:
            changes = [item for item in parsed[:kept] if isinstance(item, Change)]
            at = latest([item for item in parsed[:kept] if item is not None])
            self.batches.apply(changes, lambda target: self._save(target, len(changes), at))
            self._tell()
        self.ending.is_applying = False
        if self.ending.caught_up and self.engine:
            self.engine.stop()
        return done

    def _save(self, target: Target, events: int, at: datetime | None) -> None:
        row = self.batches.row
        assert row.epoch is not None
        position = {"pinned": (row.position or {}).get("pinned"), "offset": self.ending.offset}
        self.revision = state.advance(target.records, row, self.revision, position, at, events)
        history.append(target.records, row.name, row.epoch, self.definitions.more())
        self.batches.figures.saw(at)

    def save_position(self) -> None:
        """Save where the next stream begins, where nothing came."""
        if self.ending.offset != (self.batches.row.position or {}).get("offset"):
            with self.batches.target.transaction():
                self._save(self.batches.target, 0, None)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS or self.ending.caught_up:
            self._told_at = now
            self.told(self.batches.figures.progress())

    def assert_caught_up(self) -> None:
        """
        Make sure that the stream ended where it was meant to.

        :raises StreamBroken: if it was stopped before.
        """
        if not self.ending.caught_up:
            raise StreamBroken(f"replication {self.run.name}: the stream was stopped before it had caught up")


def stream(run: CdcRun, task: Task, told: Told, engine_ready: Callable[[Engine], None]) -> dict[str, Any]:
    """
    Apply what the source has committed; returns the figures of the stream.

    :param engine_ready: gets the engine, for whoever may want to stop it.
    :raises LockHeld: if another process follows the source.
    :raises NeedsResync: if the log that has to be read is gone; nothing is skipped.
    """
    with ExitStack() as kept:
        kept.enter_context(run.applying(task.wait))
        target = kept.enter_context(run.in_warehouse())
        row = run.row(target)
        if reason := must_wait(target, run, row):
            return {"waiting": reason, "events": 0}
        assert row.epoch is not None
        # rather give up than let readers queue behind us
        target.wait_at_most(run.settings.publish_lock_wait)
        assert_readable(run, target, row, followed(target, run.replication, row.epoch))
        folder = kept.enter_context(working_folder())
        batches = Batches.of(run, target, row)
        row = batches.row = run.row(target)
        ending = ending_of(run, (row.position or {}).get("offset"), minutes=task.minutes)
        stream = _Stream(run, batches, row.revision, told, ending, Definitions(folder / DEFINITIONS))
        if task.compare:
            batches.moment = kept.enter_context(ending.moment(list(batches.tables)))
        began, error = datetime.now(UTC), None
        try:
            if not (reached := ending.is_reached()):
                _run(run, stream, folder, task, engine_ready)
                reached = not ending.caught_up and ending.is_reached()
            if reached:
                ending.caught_up = True
                stream.save_position()
            stream.assert_caught_up()
        except Exception as failure:
            error = str(failure)
            raise
        finally:
            record(target, run, row, batches.figures, began=began, caught_up=ending.caught_up, error=error)
        return {**batches.figures.as_dict(), "compared": batches.compared()}


def _run(run: CdcRun, stream: _Stream, folder: Path, task: Task, engine_ready: Callable[[Engine], None]) -> None:
    """Let Debezium bring what there is, from where the last stream ended."""
    row, source = stream.batches.row, run.at_source
    assert row.epoch is not None
    start_java(folder, run.settings.cdc_engine_memory)
    if stream.ending.offset:
        write_offset(folder / OFFSETS, source.partition(), stream.ending.offset)
    if source.has_definitions:
        stream.definitions.write(history.read(stream.batches.target.records, run.name, row.epoch))
    settings = engine_settings(run.replication, source, row.epoch, list(stream.batches.tables), folder)
    engine = stream.engine = Engine(settings, stream.on_batch)
    engine_ready(engine)
    with stream.ending.watched(task.minutes, engine.stop):
        engine.run()


def main() -> None:
    """Do what the first line of the input says."""
    serve(stream)


if __name__ == "__main__":
    main()
