"""Debezium's events, its JSON without schemas, as changes and markers."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

from include.cdc.changes import UNAVAILABLE, Change, Marker, Op
from include.cdc.names import MARKER_PREFIX

_OPS = {op.value: op for op in Op}
#: The placeholder in the place of an array: its text, its bytes, and the UUID that Java makes of it.
_UNAVAILABLE_LISTS: tuple[list[Any], ...] = (
    [UNAVAILABLE],
    list(UNAVAILABLE.encode()),
    [str(uuid.UUID(bytes=hashlib.md5(UNAVAILABLE.encode(), usedforsecurity=False).digest(), version=3))],
)


def parse(key: str | None, value: str | None, other_key: Mapping[str, Any] | None = None) -> Change | Marker | None:
    """
    Return what an event tells; None for tombstones, heartbeats and what is not ours.

    :param other_key: the key of the other half of a changed key, from the event's headers.
    """
    event = json.loads(value) if value else None
    if not isinstance(event, dict):
        return None
    source = event.get("source") or {}
    txid = source.get("txId") if isinstance(source.get("txId"), int) else None
    if event.get("op") == "m":
        return _marker(event["message"], txid, source.get("ts_ms") or 0)
    op = _OPS.get(event.get("op", ""))
    if op is None:
        return None
    return Change(
        table=f"{source.get('schema') or source['db']}.{source['table']}",
        op=op,
        key=(json.loads(key) or {}) if key and op is not Op.TRUNCATE else {},
        values=None if op in (Op.DELETE, Op.TRUNCATE) else _values(event["after"]),
        txid=txid,
        at_ms=source.get("ts_ms") or 0,
        other_key=other_key,
        origin=source,
    )


def origin(value: str | None) -> Mapping[str, Any]:
    """Return what an event tells of its place at the source; empty for what has none."""
    event = json.loads(value) if value else None
    return event.get("source") or {} if isinstance(event, dict) else {}


def _marker(message: Mapping[str, Any], txid: int | None, at_ms: int) -> Marker | None:
    if message["prefix"] != MARKER_PREFIX:
        return None
    return Marker(bytes.fromhex(message["content"]).decode(), txid, at_ms)


def _values(row: dict[str, Any]) -> dict[str, Any]:
    for name, value in row.items():
        if type(value) is list and value in _UNAVAILABLE_LISTS:
            row[name] = UNAVAILABLE
    return row
