"""
Follow a PostgreSQL source in this process, until it has caught up.

Run as ``python -m include.cdc.embedded.stream`` with what to do as JSON on the first line of its
input; when that ends, so does the process. It tells what it does as JSON, a line a message.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.cdc import names, state
from include.cdc.batches import Batches, latest
from include.cdc.changes import Change, Marker
from include.cdc.collapse import is_visible
from include.cdc.embedded.engine import Engine, Event, start_java, write_offset
from include.cdc.embedded.settings import engine_settings
from include.cdc.events import parse
from include.cdc.follow import Task, Told
from include.cdc.ready import must_wait
from include.cdc.run import CdcRun
from include.cdc.state import ReplicationRow, State
from include.errors import NeedsResync, RetailSyncError, StreamBroken

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

_TELL_SECONDS = 5.0
_MARK_SECONDS = 30.0
_GRACE_SECONDS = 10.0
#: A server notices only after a while that the one who read a slot is dead.
_SLOT_SECONDS = 30.0


@dataclass
class _Stream:
    run: CdcRun
    batches: Batches
    revision: int
    told: Told
    marker: str
    until: str | None = None
    """A snapshot: the stream ends before the first transaction that it does not see."""
    lag: float | None = None
    """Seconds from the commit at the source to its apply, of what was applied last."""
    caught_up: bool = False
    engine: Engine | None = None
    began: float = field(default_factory=time.monotonic)
    _told_at: float = 0.0

    def on_batch(self, events: list[Event], offset_of: Callable[[int], dict[str, Any]]) -> int:
        """Apply the events up to the end of the stream; returns how many that are."""
        parsed = [parse(event.key, event.value, event.other_key) for event in events]
        kept = self._end(parsed)
        if kept:
            changes = [item for item in parsed[:kept] if isinstance(item, Change)]
            at = latest([item for item in parsed[:kept] if item is not None])
            self.batches.apply(changes, lambda session: self._save(session, len(changes), at, offset_of(kept - 1)))
            self._tell()
        if self.caught_up and self.engine:
            self.engine.stop()
        return kept

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

    def _save(self, session: psycopg.Connection[Any], events: int, at: datetime | None, offset: dict[str, Any]) -> None:
        pinned = (self.batches.row.position or {}).get("pinned")
        position = {"pinned": pinned, "offset": offset}
        self.revision = state.advance(session, self.batches.row, self.revision, position, at, events)
        if at:
            self.lag = round(max((datetime.now(UTC) - at).total_seconds(), 0.0), 1)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS or self.caught_up:
            self._told_at = now
            self.told({"message": "progress", "events": self.batches.totals.events, "lag": self.lag})

    def assert_caught_up(self) -> None:
        """
        Make sure that the stream ended where it was meant to.

        :raises StreamBroken: if it was stopped before.
        """
        if not self.caught_up:
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
        session = kept.enter_context(run.in_warehouse())
        row = run.row(session)
        if reason := must_wait(session, run, row):
            return {"waiting": reason, "events": 0}
        source = kept.enter_context(run.at_source.session())
        _assert_readable(run, session, row, source)
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="retail-sync-cdc-")))
        batches = Batches.of(run, session, row)
        row = batches.row = run.row(session)
        stream = _Stream(run, batches, row.revision, told, marker=run.id)
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
            _record(session, run, row, stream, began, error)
        compared = _compared(snapshot, session, batches) if snapshot else None
        return {**_figures(stream), "compared": compared}


def _assert_readable(
    run: CdcRun, session: psycopg.Connection[Any], row: ReplicationRow, source: psycopg.Connection[Any]
) -> None:
    """Make sure that the slot is there with all that has to be read: the engine would begin with now."""
    assert row.epoch is not None
    name = names.slot(run.name, row.epoch)
    slot = run.at_source.slot(source, name)
    gone = f"slot {name} is not there any more" if slot is None else None
    if slot is not None and slot.wal_status == "lost":
        gone = f"the source has removed log that slot {name} had to keep"
    if gone:
        state.write(session, run.name, state=State.NEEDS_RESYNC, reason=gone)
        raise NeedsResync(f"replication {run.name}: {gone}: changes are lost; run it with action=resync")
    deadline = time.monotonic() + _SLOT_SECONDS
    while slot is not None and slot.active:
        if time.monotonic() > deadline:
            raise StreamBroken(f"replication {run.name}: somebody else reads slot {name}")
        time.sleep(0.2)
        slot = run.at_source.slot(source, name)


def _end_at_snapshot(run: CdcRun, stream: _Stream, kept: ExitStack) -> psycopg.Connection[Any]:
    """Let the stream end exactly at a moment that stays visible at the source; returns the session that sees it."""
    pin = kept.enter_context(run.at_source.pin(f"rs_compare_{os.getpid()}", temporary=True))
    snapshot = kept.enter_context(run.at_source.snapshot(pin.snapshot))
    row = snapshot.execute("SELECT pg_current_snapshot()::text").fetchone()
    assert row is not None
    stream.until = row[0]
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


def _figures(stream: _Stream) -> dict[str, Any]:
    totals = stream.batches.totals
    seconds = time.monotonic() - stream.began
    return {
        "events": totals.events,
        "upserted": totals.upserted,
        "deleted": totals.deleted,
        "dead": totals.dead,
        "batches": totals.batches,
        "lag": stream.lag,
        "seconds": round(seconds, 2),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _record(
    session: psycopg.Connection[Any],
    run: CdcRun,
    row: ReplicationRow,
    stream: _Stream,
    began: datetime,
    error: str | None,
) -> None:
    figures = _figures(stream)
    if session.broken:
        return
    session.execute(
        "INSERT INTO dbo.cdc_applies (run_id, replication, epoch, events, upserted, deleted, dead, batches,"
        " lag_seconds, memory_mb, started_at, finished_at, caught_up, error)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now(), %s, %s)",
        (
            *(run.id, row.name, row.epoch),
            *(figures[name] for name in ("events", "upserted", "deleted", "dead", "batches", "lag", "memory_mb")),
            *(began, stream.caught_up, error),
        ),
    )


def main() -> None:
    """Do what the first line of the input says."""
    from include.cdc.embedded.child import read_task

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    run, task = read_task(sys.stdin.readline())
    code = 0
    engines: list[Engine] = []
    threading.Thread(target=_end_with_parent, args=(engines,), daemon=True).start()
    try:
        figures = stream(run, task, _say, engines.append)
        _say({"message": "done", **figures})
    except Exception as error:
        if not isinstance(error, RetailSyncError):
            log.exception("the stream failed")
        _say({"message": "error", "kind": type(error).__name__, "text": str(error)})
        code = 1
    # Java's threads would keep the process
    sys.stdout.flush()
    os._exit(code)


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, default=str) + "\n")
    sys.stdout.flush()


def _end_with_parent(engines: list[Engine]) -> None:
    """End when the input does: nobody waits for this process any more."""
    sys.stdin.read()
    for engine in engines:
        engine.stop()
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
