"""What the parts of a replication are called in Kafka and in Connect."""

from __future__ import annotations


def topic_prefix(replication: str, epoch: str) -> str:
    """Return what the topics of an epoch begin with, and what Connect knows its connector by."""
    return f"rs_{replication}_{epoch}"


def history_topic(replication: str, epoch: str) -> str:
    """Return the topic in which Debezium keeps the definitions of the source's tables; it holds no rows."""
    return f"schema-history.{topic_prefix(replication, epoch)}"


def is_of(topic: str, replication: str, epoch: str) -> bool:
    """Whether a topic holds changes or markers of an epoch."""
    return topic.startswith(f"{topic_prefix(replication, epoch)}.")
