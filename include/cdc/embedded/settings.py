"""What Debezium is told, so that what it sends can be read back exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from include.cdc import names
from include.cdc.models import Replication
from include.cdc.sources.base import CdcSource

#: Values as texts that PostgreSQL reads back exactly; NULL is NULL, a TRUNCATE is an event.
VALUES = {
    "decimal.handling.mode": "string",
    "time.precision.mode": "isostring",
    "binary.handling.mode": "hex",
    "skipped.operations": "none",
    "tombstones.on.delete": "false",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "false",
    "value.converter.schemas.enable": "false",
    "value.converter.replace.null.with.default": "false",
}
#: More at once brings nothing; the queue is bounded in rows and bytes.
_BATCHES = {
    "max.batch.size": "2048",
    "max.queue.size": "4096",
    "max.queue.size.in.bytes": str(32 * 1024**2),
    "poll.interval.ms": "50",
}
ENGINE_NAME = "retail_sync"
OFFSETS = "offsets"
DEFINITIONS = "definitions"


def engine_settings(
    replication: Replication, source: CdcSource, epoch: str, tables: Sequence[str], folder: Path
) -> dict[str, str]:
    """
    Return the engine's properties.

    The connector never reads a table by itself.

    :param folder: where it finds the position, and the definitions of the tables, and keeps them.
    """
    return {
        **VALUES,
        **_BATCHES,
        "name": ENGINE_NAME,
        "topic.prefix": names.TOPIC_PREFIX,
        "database.hostname": source.connection.host,
        "database.user": source.connection.login,
        "database.password": source.connection.password,
        "snapshot.mode": "no_data",
        "table.include.list": ",".join(map(names.pattern, tables)),
        **_left_out(replication),
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / OFFSETS),
        "offset.flush.interval.ms": "0",
        **(_definitions(folder) if source.has_definitions else {}),
        "errors.max.retries": "3",
        **source.engine_settings(replication, epoch, tables),
    }


def _left_out(replication: Replication) -> dict[str, str]:
    columns = [f"{table}.{column}" for table, left_out in replication.without.items() for column in left_out]
    return {"column.exclude.list": ",".join(map(names.pattern, columns))} if columns else {}


def _definitions(folder: Path) -> dict[str, str]:
    return {
        "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "schema.history.internal.file.filename": str(folder / DEFINITIONS),
        "include.schema.changes": "false",
    }
