"""Whether a source still has all that a stream has to read; the engine would go on without a word."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from include.cdc import names, state
from include.cdc.run import CdcRun
from include.cdc.source import Slot
from include.cdc.state import ReplicationRow, State
from include.errors import NeedsResync, StreamBroken

if TYPE_CHECKING:
    import psycopg

#: A server notices only after a while that the one who read a slot is dead.
_SLOT_SECONDS = 30.0


def assert_readable(
    run: CdcRun,
    session: psycopg.Connection[Any],
    row: ReplicationRow,
    source: psycopg.Connection[Any],
    tables: Iterable[str],
) -> None:
    """
    Make sure that the slot is there with all that has to be read, and that the tables are published.

    :param tables: what is followed.
    :raises NeedsResync: if changes are lost.
    :raises StreamBroken: if somebody else reads the slot.
    """
    assert row.epoch is not None
    name = names.slot(run.name, row.epoch)
    slot = run.at_source.slot(source, name)
    if gone := _gone(name, slot) or _unpublished(run, source, tables):
        state.write(session, run.name, state=State.NEEDS_RESYNC, reason=gone)
        raise NeedsResync(f"replication {run.name}: {gone}: changes are lost; run it with action=resync")
    deadline = time.monotonic() + _SLOT_SECONDS
    while slot is not None and slot.active:
        if time.monotonic() > deadline:
            raise StreamBroken(f"replication {run.name}: somebody else reads slot {name}")
        time.sleep(0.2)
        slot = run.at_source.slot(source, name)


def _gone(name: str, slot: Slot | None) -> str | None:
    """
    Return what is gone of a slot.

    That it is past the saved position tells nothing: Debezium also confirms log that holds no change of ours.
    """
    if slot is None:
        return f"slot {name} is not there any more"
    if slot.wal_status == "lost":
        return f"the source has removed log that slot {name} had to keep"
    return None


def _unpublished(run: CdcRun, source: psycopg.Connection[Any], tables: Iterable[str]) -> str | None:
    """A table that was dropped and made anew is not published any more."""
    published = set(run.at_source.published(source, names.publication(run.name)) or ())
    there = {table.name for table in run.at_source.tables(run.replication)}
    left = sorted((there & set(tables)) - published)
    return f"{', '.join(left)} was taken off publication {names.publication(run.name)}" if left else None
