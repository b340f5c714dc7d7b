"""Dead letters: changes that the target refuses, kept with the reason until their row goes in."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from include.cdc.collapse import Key
from include.cdc.tables import cdc_dead_letters
from include.metadata import now

if TYPE_CHECKING:
    from include.cdc.targets.base import Target

Item = TypeVar("Item")
#: Puts items into the target together, and returns how many rows that changed.
Put = Callable[[Sequence[Item]], int]

#: Letters that one statement closes: a server takes so many values, and no more.
_AT_ONCE = 1000


def put(target: Target, items: Sequence[Item], do: Put[Item]) -> tuple[int, list[tuple[Item, str]]]:
    """
    Put items in together; where the target refuses, in halves, down to those that it refuses.

    :returns: how many rows were changed, and what was refused with the reason, which holds no value.
    """
    if not items:
        return 0, []
    try:
        with target.transaction():
            return do(items), []
    except target.refusals as error:
        if len(items) == 1:
            return 0, [(items[0], target.reason(error))]
    half = len(items) // 2
    first, refused = put(target, items[:half], do)
    second, more = put(target, items[half:], do)
    return first + second, refused + more


def record(
    records: sa.Connection,
    replication: str,
    epoch: str,
    table: str,
    key: Mapping[str, Any],
    content: Mapping[str, Any],
    reason: str,
) -> None:
    """Keep a change that the target refused, within the caller's transaction."""
    what = {"row_key": _json(key), "content": _json(content), "reason": reason, "created_at": now()}
    where = {"replication": replication, "epoch": epoch, "source_table": table}
    records.execute(cdc_dead_letters.insert().values(**where, **what))


def resolve(
    records: sa.Connection,
    replication: str,
    tables: Collection[str] | None = None,
    keys: Collection[Mapping[str, Any]] | None = None,
) -> int:
    """
    Close the open letters of rows that go in, or are gone, within the caller's transaction; return how many.

    :param tables: None for all of them.
    :param keys: None for all rows of the tables.
    """
    t, wanted = cdc_dead_letters.c, None if keys is None else {_json(key) for key in keys}
    query = sa.select(t.id, t.source_table, t.row_key).where(t.replication == replication, t.resolved_at.is_(None))
    # here, as a server may take two keys for one
    closed = [
        number
        for number, table, key in records.execute(query)
        if (tables is None or table in tables) and (wanted is None or key in wanted)
    ]
    for start in range(0, len(closed), _AT_ONCE):
        some = t.id.in_(closed[start : start + _AT_ONCE])
        records.execute(cdc_dead_letters.update().where(some).values(resolved_at=now()))
    return len(closed)


def open_keys(records: sa.Connection, replication: str) -> dict[str, set[Key]]:
    """Return the keys of the rows that lack a change, by table: what the target has of them may be old."""
    t, found = cdc_dead_letters.c, dict[str, set[Key]]()
    query = sa.select(t.source_table, t.row_key).where(t.replication == replication, t.resolved_at.is_(None))
    for table, key in records.execute(query):
        found.setdefault(table, set()).add(tuple(json.loads(key).values()))
    return found


def open_count(records: sa.Connection, replication: str) -> int:
    """Return how many changes were refused whose rows have not gone in since."""
    t = cdc_dead_letters.c
    count = sa.select(sa.func.count()).where(t.replication == replication, t.resolved_at.is_(None))
    return int(records.execute(count).scalar_one())


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False)
