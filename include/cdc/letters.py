"""Dead letters: changes that the target refuses, kept with the reason until their row goes in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from include.cdc.collapse import Key

if TYPE_CHECKING:
    from typing import TypeAlias

    Session: TypeAlias = psycopg.Connection[Any]

Item = TypeVar("Item")
#: Puts items into the target together, and returns how many rows that changed.
Put = Callable[[Sequence[Item]], int]

#: What is quoted, up to the last quote: a value can hold quotes itself.
_QUOTED = re.compile(r'".*"', re.DOTALL)
_COLUMN = re.compile(r"^COPY \S+, line \d+, column ([^:]+)")

_RECORD = """
    INSERT INTO dbo.cdc_dead_letters (replication, epoch, source_table, row_key, content, reason, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, now())
"""
#: What this very transaction recorded stays open.
_RESOLVE = """
    UPDATE dbo.cdc_dead_letters SET resolved_at = now()
    WHERE replication = %s AND source_table = %s AND resolved_at IS NULL AND created_at < now()
"""
_OPEN = """
    SELECT DISTINCT source_table, row_key FROM dbo.cdc_dead_letters
    WHERE replication = %s AND resolved_at IS NULL
"""


class Refused(Exception):
    """A value of a column would be rounded or cut; its row becomes a letter."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column}: the value would be rounded or cut")


def put(session: Session, items: Sequence[Item], do: Put[Item]) -> tuple[int, list[tuple[Item, str]]]:
    """
    Put items in together; where the target refuses, in halves, down to those that it refuses.

    :returns: how many rows were changed, and what was refused with the reason, which holds no value.
    """
    if not items:
        return 0, []
    try:
        with session.transaction():
            return do(items), []
    except (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError, Refused) as error:
        if len(items) == 1:
            return 0, [(items[0], _reason(error))]
    half = len(items) // 2
    first, refused = put(session, items[:half], do)
    second, more = put(session, items[half:], do)
    return first + second, refused + more


def record(
    session: Session,
    replication: str,
    epoch: str,
    table: str,
    key: Mapping[str, Any],
    content: Mapping[str, Any],
    reason: str,
) -> None:
    """Keep a change that the target refused, within the caller's transaction."""
    session.execute(_RECORD, (replication, epoch, table, _json(key), _json(content), reason))


def resolve(session: Session, replication: str, table: str, keys: Collection[Mapping[str, Any]] | None = None) -> int:
    """
    Close the open letters of rows that went in, or are gone, in this transaction; return how many.

    Letters that the transaction itself recorded stay open, so all keys of a batch may be given.

    :param keys: None for all rows of the table.
    """
    if keys is None:
        return session.execute(_RESOLVE, (replication, table)).rowcount
    listed = [_json(key) for key in keys]
    return session.execute(_RESOLVE + " AND row_key = ANY(%s)", (replication, table, listed)).rowcount


def open_keys(session: Session, replication: str) -> dict[str, set[Key]]:
    """Return the keys of the rows that lack a change, by table: what the target has of them may be old."""
    found: dict[str, set[Key]] = {}
    for table, key in session.execute(_OPEN, (replication,)).fetchall():
        found.setdefault(table, set()).add(tuple(json.loads(key).values()))
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return "a text has characters that PostgreSQL does not hold"
    text = _QUOTED.sub("…", error.diag.message_primary or type(error).__name__)
    in_copy = _COLUMN.search(error.diag.context or "")
    column = error.diag.column_name or (in_copy[1] if in_copy else None)
    where = f"column {column}: " if column else ""
    rule = f", {error.diag.constraint_name}" if error.diag.constraint_name else ""
    return f"{where}{text}{rule} [{error.sqlstate}]"


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False)
