"""How the tables of a source were defined, in the order of its log: Debezium needs it where the log does not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg


def read(session: psycopg.Connection[Any], name: str, epoch: str) -> list[str]:
    """Return the definitions of an epoch, as Debezium wrote them."""
    rows = session.execute(
        "SELECT definition FROM dbo.cdc_definitions WHERE replication = %s AND epoch = %s ORDER BY id", (name, epoch)
    ).fetchall()
    return [definition for (definition,) in rows]


def append(session: psycopg.Connection[Any], name: str, epoch: str, definitions: Sequence[str]) -> None:
    """Keep more of them, in the caller's transaction."""
    with session.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO dbo.cdc_definitions (replication, epoch, definition, created_at) VALUES (%s, %s, %s, now())",
            [(name, epoch, definition) for definition in definitions],
        )


def forget(session: psycopg.Connection[Any], name: str, keep: Sequence[str]) -> None:
    """Remove those of all other epochs."""
    session.execute("DELETE FROM dbo.cdc_definitions WHERE replication = %s AND epoch <> ALL (%s)", (name, list(keep)))
