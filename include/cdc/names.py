"""What the parts of a replication are called at the source, in the warehouse and in Kafka."""

from __future__ import annotations

import hashlib
from datetime import datetime

#: Of every logical message that marks a moment in the stream.
MARKER_PREFIX = "retail_sync_marker"
#: The name by which Debezium calls the source in what it sends.
TOPIC_PREFIX = "retail_sync"
DELETED_AT = "_deleted_at"
"""The column of soft deletes."""


def new_epoch(now: datetime) -> str:
    """Return the name of a new copy: its time, which also sorts."""
    return f"{now:%Y%m%d%H%M%S}"


def slot(replication: str, epoch: str) -> str:
    """Return the replication slot of an epoch."""
    return f"{slot_prefix(replication)}{epoch}"


def slot_prefix(replication: str) -> str:
    """Return what the slots of a replication begin with."""
    return f"rs_{replication}_"


def publication(replication: str) -> str:
    """Return the publication."""
    return f"rs_{replication}"


def connector(replication: str) -> str:
    """Return the connector of Kafka Connect mode; another epoch gives it another configuration."""
    return f"retail_sync_{replication}"


def consumer_group(replication: str, epoch: str) -> str:
    """Return the consumer group of an epoch: fresh after a resync, the same in between."""
    return f"cdc_consumer_{replication}_{epoch}"


def staging_table(replication: str, table: str) -> str:
    """Return the table, in schema ``staging``, in which a copy grows."""
    digest = hashlib.blake2b(f"{replication} {table}".encode(), digest_size=6).hexdigest()
    return f"cdc_{digest}_{table.partition('.')[2][:40]}"


def server_id(replication: str, epoch: str) -> int:
    """Return a stable id, of an epoch, that the replicas of a MySQL server tell each other apart by."""
    digest = hashlib.blake2b(f"{replication} {epoch}".encode(), digest_size=4).digest()
    # above those that people give out
    return 2**30 + int.from_bytes(digest, "big") % 2**30


def pattern(name: str) -> str:
    """Return a name as the regular expression that Debezium takes."""
    return "".join(f"\\{letter}" if not (letter.isalnum() or letter in "_-") else letter for letter in name)
