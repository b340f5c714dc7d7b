"""
The capture instances of SQL Server tables, and whether changes of a table are lost between two looks at them.

As Debezium 3.6.3 has it: of two instances of a table it reads the older one up to the low end of the newer, and
that one from there on; what is before the low end of an instance it passes by without a word. The clean-up
moves that end (``start_lsn``), so only name and time of creation tell an instance from another one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

_CAPTURES = """
SELECT s.name + N'.' + t.name, i.capture_instance, CONVERT(varchar(23), i.create_date, 121),
    CONVERT(varchar(20), i.start_lsn, 2)
FROM sys.tables AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id
LEFT JOIN cdc.change_tables AS i ON i.source_object_id = t.object_id
WHERE t.is_ms_shipped = 0"""
#: Those of every table that is there; one without an instance has a row all the same.
CAPTURES = f"{_CAPTURES} ORDER BY 1, 2"
CAPTURES_OF = f"{_CAPTURES} AND t.object_id = OBJECT_ID(?) ORDER BY 1, 2"

Row = Sequence[str | None]


class Capture(NamedTuple):
    """
    A capture instance.

    :param start: the LSN from which it has changes, as Debezium writes it; empty where it is not known yet.
    """

    name: str
    created: str
    start: str


def lsn(digits: str | None) -> str:
    """Return an LSN of 20 digits as Debezium writes it; empty for none."""
    text = (digits or "").lower()
    return f"{text[:8]}:{text[8:16]}:{text[16:]}" if text else ""


def by_table(rows: Sequence[Row]) -> dict[str, list[Capture]]:
    """Return the capture instances of each table, from the answer to ``CAPTURES``."""
    found: dict[str, list[Capture]] = {}
    for table, name, created, start in rows:
        captures = found.setdefault(str(table), [])
        if name is not None:
            captures.append(Capture(name, str(created), lsn(start)))
    return found


def written(captures: Sequence[Capture]) -> str:
    """Return instances as a text, to be recorded."""
    return json.dumps(captures)


def read(text: str) -> list[Capture]:
    """Return the instances of a text that was recorded."""
    return [Capture(*parts) for parts in json.loads(text)]


def lost(seen: Sequence[Capture] | None, now: Sequence[Capture], position: str) -> str | None:
    """
    Return why changes of a table are lost, None if all are there that a stream has to read.

    :param seen: the instances by which nothing was missing when the table was copied, or last looked at; None
        where nothing was recorded: what became of others is not known then.
    :param position: the LSN of the commit where the stream goes on; empty before all.
    """
    if not now:
        return "its changes are not captured any more"
    if seen is None:
        return None
    reaching = _reaching(now, position)
    if same := _same(seen, now):
        began = {capture[:2]: capture.start for capture in seen}
        is_whole = reaching or any(began[capture[:2]] in ("", capture.start) for capture in same)
        return None if is_whole else "captured changes of it were removed before they were read"
    # one of the same name cannot have been there beside the old one
    if any(old.name != new.name for new in reaching for old in seen):
        return None
    return "its capture was switched off and on again"


def trusted(seen: Sequence[Capture] | None, now: Sequence[Capture], position: str) -> list[Capture]:
    """
    Return the instances to record where nothing is lost: those by which nothing is missing from a position on.

    A newer one counts only when the stream has reached it: before, the older one is needed too.
    """
    reaching, same = _reaching(now, position), _same(seen or (), now)
    return [capture for capture in now if capture in reaching or capture in same] or list(now)


def _reaching(now: Sequence[Capture], position: str) -> list[Capture]:
    return [capture for capture in now if capture.start and capture.start <= position]


def _same(seen: Sequence[Capture], now: Sequence[Capture]) -> list[Capture]:
    known = {capture[:2] for capture in seen}
    return [capture for capture in now if capture[:2] in known]
