"""What Debezium is told, so that what it sends can be read back exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from include.cdc import names
from include.cdc.models import Replication
from include.connections import Connection

#: Values as texts that PostgreSQL reads back exactly; NULL is NULL, a TRUNCATE is an event.
VALUES = {
    "decimal.handling.mode": "string",
    "time.precision.mode": "isostring",
    "binary.handling.mode": "hex",
    "interval.handling.mode": "string",
    "include.unknown.datatypes": "true",
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


def engine_settings(
    source: Connection,
    replication: Replication,
    slot: str,
    tables: Sequence[str],
    offsets: Path,
) -> dict[str, str]:
    """
    Return the engine's properties.

    The slot and the publication are ours to make: the connector makes neither, and never reads
    a table by itself.
    """
    return {
        **VALUES,
        **_BATCHES,
        "name": ENGINE_NAME,
        "topic.prefix": names.TOPIC_PREFIX,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": source.host,
        "database.port": str(source.port or 5432),
        "database.user": source.login,
        "database.password": source.password,
        "database.dbname": source.database,
        **_encryption(source),
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "slot.drop.on.stop": "false",
        "publication.name": names.publication(replication.name),
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "table.include.list": ",".join(_pattern(table) for table in tables),
        **_left_out(replication),
        "message.prefix.include.list": names.MARKER_PREFIX,
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(offsets),
        "offset.flush.interval.ms": "0",
        "errors.max.retries": "3",
    }


def _encryption(source: Connection) -> dict[str, str]:
    extras = {"sslmode": "database.sslmode", "sslrootcert": "database.sslrootcert"}
    extras |= {"sslcert": "database.sslcert", "sslkey": "database.sslkey"}
    return {name: str(source.extra[extra]) for extra, name in extras.items() if source.extra.get(extra)}


def _left_out(replication: Replication) -> dict[str, str]:
    columns = [f"{table}.{column}" for table, left_out in replication.without.items() for column in left_out]
    return {"column.exclude.list": ",".join(map(_pattern, columns))} if columns else {}


def _pattern(table: str) -> str:
    """Return a table's name as the regular expression that Debezium takes."""
    return "".join(f"\\{letter}" if not (letter.isalnum() or letter in "_-") else letter for letter in table)
