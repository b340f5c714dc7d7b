"""How the tables of a source were defined, in the order of its log: Debezium needs it where the log does not say."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from include.cdc.tables import cdc_definitions
from include.metadata import now


def read(records: sa.Connection, name: str, epoch: str) -> list[str]:
    """Return the definitions of an epoch, as Debezium wrote them."""
    t = cdc_definitions.c
    query = sa.select(t.definition).where(t.replication == name, t.epoch == epoch).order_by(t.id)
    return list(records.execute(query).scalars())


def append(records: sa.Connection, name: str, epoch: str, definitions: Sequence[str]) -> None:
    """Keep more of them, in the caller's transaction."""
    common = {"replication": name, "epoch": epoch, "created_at": now()}
    for definition in definitions:
        records.execute(cdc_definitions.insert().values(**common, definition=definition))


def forget(records: sa.Connection, name: str, keep: Sequence[str]) -> None:
    """Remove those of all other epochs."""
    t = cdc_definitions.c
    records.execute(cdc_definitions.delete().where(t.replication == name, t.epoch.not_in(list(keep))))
