"""
Follow a PostgreSQL source in this process, until it has caught up.

Run as ``python -m include.cdc.embedded.stream`` with what to do as JSON on the first line of its
input; when that ends, so does the process. It tells what it does as JSON, a line a message.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from include.cdc import names, state
from include.cdc.batches import Batches
from include.cdc.changes import Change, Marker
from include.cdc.collapse import is_visible
from include.cdc.embedded.engine import Engine, Event, OffsetOf, start_java, write_offset
from include.cdc.embedded.readable import assert_readable
from include.cdc.embedded.settings import engine_settings
from include.cdc.events import parse
from include.cdc.figures import latest, record
from include.cdc.follow import Task, Told
from include.cdc.ready import must_wait
from include.cdc.run import CdcRun
from include.cdc.targets import followed
from include.errors import RetailSyncError, StreamBroken

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

_TELL_SECONDS = 5.0
_MARK_SECONDS = 30.0
_GRACE_SECONDS = 10.0


@dataclass
class _Stream:
    run: CdcRun
    batches: Batches
    revision: int
    told: Told
    marker: str
    until: str | None = None
    """A snapshot: the stream ends before the first transaction that it does not see."""
    caught_up: bool = False
    engine: Engine | None = None
    _told_at: float = 0.0
    _offset: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self._offset = (self.batches.row.position or {}).get("offset")

    def on_batch(self, events: list[Event], offset_of: OffsetOf) -> int:
        """Apply the events up to the end of the stream; returns how many need not come again."""
        parsed = [parse(event.key, event.value, event.other_key) for event in events]
        kept = self._end(parsed)
        done = kept if self.caught_up else _whole(kept, offset_of)
        if kept:
            changes = [item for item in parsed[:kept] if isinstance(item, Change)]
            at = latest([item for item in parsed[:kept] if item is not None])
            offset = offset_of(done - 1) if done else self._offset
            self.batches.apply(changes, lambda session: self._save(session, len(changes), at, offset))
            self._offset = offset
            self._tell()
        if self.caught_up and self.engine:
            self.engine.stop()
        return done

    def _end(self, parsed: list[Change | Marker | None]) -> int:
        for index, item in enumerate(parsed):
            if item is None:
                continue
            if self.until is not None and item.txid is not None and not is_visible(item.txid, self.until):
                self.caught_up = True
                return index
            if isinstance(item, Marker) and self.until is None and item.content == self.marker:
                self.caught_up = True
                return index + 1
        return len(parsed)

    def _save(
        self, session: psycopg.Connection[Any], events: int, at: datetime | None, offset: Mapping[str, Any] | None
    ) -> None:
        pinned = (self.batches.row.position or {}).get("pinned")
        position = {"pinned": pinned, "offset": offset}
        self.revision = state.advance(session, self.batches.row, self.revision, position, at, events)
        self.batches.figures.saw(at)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS or self.caught_up:
            self._told_at = now
            self.told(self.batches.figures.progress())

    def assert_caught_up(self) -> None:
        """
        Make sure that the stream ended where it was meant to.

        :raises StreamBroken: if it was stopped before.
        """
        if not self.caught_up:
            raise StreamBroken(f"replication {self.run.name}: the stream was stopped before it had caught up")


def _whole(count: int, offset_of: OffsetOf) -> int:
    """
    Return how many of the first events are surely all that their places in the log have brought.

    Debezium goes on after a place, and one place can bring many: the rows of a COPY, the halves of a
    changed key. What was applied of the last one comes again after a restart, which changes nothing.
    """
    if not count:
        return 0
    last = offset_of(count - 1)["lsn"]
    while count and offset_of(count - 1)["lsn"] == last:
        count -= 1
    return count


def stream(run: CdcRun, task: Task, told: Told, engine_ready: Callable[[Engine], None]) -> dict[str, Any]:
    """
    Apply what the source has committed; returns the figures of the stream.

    :param engine_ready: gets the engine, for whoever may want to stop it.
    :raises LockHeld: if another process follows the source.
    :raises NeedsResync: if the log that has to be read is gone; nothing is skipped.
    """
    with ExitStack() as kept:
        kept.enter_context(run.applying(task.wait))
        session = kept.enter_context(run.in_warehouse())
        row = run.row(session)
        if reason := must_wait(session, run, row):
            return {"waiting": reason, "events": 0}
        source = kept.enter_context(run.at_source.session())
        # rather give up than let readers queue behind us
        session.execute("SELECT set_config('lock_timeout', %s, false)", (f"{run.settings.publish_lock_wait}s",))
        assert_readable(run, session, row, source, followed(session, run.replication, row.epoch or ""))
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="retail-sync-cdc-")))
        batches = Batches.of(run, session, row)
        row = batches.row = run.row(session)
        stream = _Stream(run, batches, row.revision, told, marker=f"{run.id} {uuid.uuid4().hex}")
        snapshot = _end_at_snapshot(run, stream, kept) if task.compare else None
        start_java(folder, run.settings.cdc_engine_memory)
        assert row.epoch is not None
        offset = (row.position or {}).get("offset")
        if offset:
            write_offset(folder / "offsets", offset)
        slot = names.slot(run.name, row.epoch)
        settings = engine_settings(run.source, run.replication, slot, list(batches.tables), folder / "offsets")
        stream.engine = Engine(settings, stream.on_batch)
        engine_ready(stream.engine)
        began, error = datetime.now(UTC), None
        try:
            with _marking(run, stream, task.minutes):
                stream.engine.run()
            stream.assert_caught_up()
        except Exception as failure:
            error = str(failure)
            raise
        finally:
            record(session, run, row, batches.figures, began=began, caught_up=stream.caught_up, error=error)
        compared = _compared(snapshot, session, batches) if snapshot else None
        return {**batches.figures.as_dict(), "compared": compared}


def _end_at_snapshot(run: CdcRun, stream: _Stream, kept: ExitStack) -> psycopg.Connection[Any]:
    """Let the stream end exactly at a moment that stays visible at the source; returns the session that sees it."""
    pin = kept.enter_context(run.at_source.pin(f"rs_compare_{uuid.uuid4().hex}", temporary=True))
    snapshot = kept.enter_context(run.at_source.snapshot(pin.snapshot))
    row = snapshot.execute("SELECT pg_current_snapshot()::text").fetchone()
    assert row is not None
    stream.until, stream.batches.moment = row[0], snapshot
    return snapshot


@contextmanager
def _marking(run: CdcRun, stream: _Stream, minutes: float) -> Iterator[None]:
    """Write the moment at which the stream ends, and until then now and then one that tells how far it is."""
    over = threading.Event()

    def mark() -> None:
        deadline = time.monotonic() + minutes * 60
        try:
            with run.at_source.session() as source:
                while (left := deadline - time.monotonic()) > 0 and not over.wait(min(left, _MARK_SECONDS)):
                    run.at_source.mark(source, f"{stream.marker} goes on")
                if not over.is_set():
                    run.at_source.mark(source, stream.marker)
        except RetailSyncError as error:
            log.warning("replication %s: the end of the stream cannot be marked: %s", run.name, error)
            if stream.engine:
                stream.engine.stop()

    thread = threading.Thread(target=mark, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_GRACE_SECONDS)


def _compared(
    snapshot: psycopg.Connection[Any], session: psycopg.Connection[Any], batches: Batches
) -> list[dict[str, Any]]:
    from include.cdc.compare import compare

    found = compare(snapshot, session, list(batches.tables.values()))
    return [asdict(table) for table in found]


def main() -> None:
    """Do what the first line of the input says."""
    from include.cdc.embedded.child import read_task

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
        figures = stream(run, task, say, engines.append)
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


if __name__ == "__main__":
    main()
