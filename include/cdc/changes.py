"""A change at the source, as the stream brings it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: What Debezium puts in the place of a large value that an UPDATE did not touch.
UNAVAILABLE = "__debezium_unavailable_value"
#: Of the two halves of a changed key: on the DELETE the new key, on the CREATE the old one.
OTHER_KEY_HEADERS = ("__debezium.newkey", "__debezium.oldkey")


class Op(StrEnum):
    """What happened, in Debezium's letters."""

    CREATE = "c"
    READ = "r"
    UPDATE = "u"
    DELETE = "d"
    TRUNCATE = "t"


@dataclass(frozen=True, slots=True)
class Change:
    """
    A change of a row, or of a whole table.

    :param table: ``schema.table`` at the source.
    :param key: the row's key by column, as JSON has it; empty for a TRUNCATE.
    :param values: the row by column, as JSON has it; ``UNAVAILABLE`` for what was not touched. None
        for a DELETE and a TRUNCATE.
    :param txid: the transaction at the source, where it tells.
    :param at_ms: when the source committed, in milliseconds of Unix time.
    :param other_key: of the two halves of a changed key: of the DELETE the new key, of the CREATE
        the old one.
    :param origin: what Debezium tells of its place at the source, named as in a position.
    """

    table: str
    op: Op
    key: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] | None = None
    txid: int | None = None
    at_ms: int = 0
    other_key: Mapping[str, Any] | None = None
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Marker:
    """A moment in the stream that a run of ours wrote into it, with its transaction and time as of a change."""

    content: str
    txid: int | None = None
    at_ms: int = 0


@dataclass(frozen=True)
class TargetTable:
    """
    A table of the target, and what is known of its source.

    :param source: ``schema.table`` at the source.
    :param key: the columns of its key, in order.
    :param columns: the columns with their types as PostgreSQL writes them, ``_deleted_at`` apart.
    :param soft: whether deleted rows stay.
    :param snapshot: what the copy saw, of PostgreSQL ``xmin:xmax:xip,…`` as ``pg_current_snapshot()``: changes
        of these transactions are in it.
    :param doubts: by column, what tells whether a value that arrives may be another one at the source.
    """

    source: str
    schema: str
    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    soft: bool = False
    snapshot: str | None = None
    doubts: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
