"""Kafka Connect and the brokers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from include.cdc import names
from include.cdc.models import Kind, Replication
from include.cdc.prerequisites import Problem, looked
from include.connections import Connection, parts_of, text_of
from include.errors import NotConfigured

#: Only for a look at the settings; no connector is made.
_EPOCH = "00000000000000"
_GROUP = "cdc_validate"


@dataclass(frozen=True)
class KafkaParts:
    """The parts of three Airflow connections, as ``connections.parts_of`` reads them."""

    source: Mapping[str, Any] = field(repr=False)
    connect: Mapping[str, Any] = field(repr=False)
    brokers: Mapping[str, Any] = field(repr=False)


def parts(replication: Replication, source: Connection | None, local_dir: Path) -> KafkaParts:
    """
    Read the connections of the environment.

    :raises NotConfigured: if one is missing.
    """
    kafka = replication.kafka
    at_source = _of(source) if source else _read(replication.source, local_dir)
    return KafkaParts(at_source, _read(kafka.connect, local_dir), _read(kafka.brokers, local_dir))


def problems(replication: Replication, tables: Sequence[str], given: KafkaParts) -> list[Problem]:
    """Look at brokers and Connect, and let Connect and the connector look at the configuration."""
    return [
        *looked("the brokers", lambda: _brokers(replication, given)),
        *looked("Kafka Connect", lambda: _connect(replication, tables, given)),
    ]


def _brokers(replication: Replication, given: KafkaParts) -> list[Problem]:
    from include.cdc.kafka.brokers import Brokers
    from include.cdc.kafka.client import Client

    with Client.opened(Brokers.of(replication.kafka.brokers, given.brokers), _GROUP) as client:
        client.partitions(lambda _: False)
    return []


def _connect(replication: Replication, tables: Sequence[str], given: KafkaParts) -> list[Problem]:
    from include.cdc.kafka.brokers import Brokers
    from include.cdc.kafka.connect import Connect
    from include.cdc.kafka.connectors import config

    with_slot = replication.kind is Kind.POSTGRES
    settings = config(
        replication,
        given.source,
        _EPOCH,
        tables,
        names.publication(replication.name) if with_slot else None,
        names.slot(replication.name, _EPOCH) if with_slot else None,
        brokers=Brokers.of(replication.kafka.brokers, given.brokers).addresses,
    )
    extra = {"attempts": 2, **(given.connect.get("extra") or {})}
    client = Connect.of(replication.kafka.connect, {**given.connect, "extra": extra})
    try:
        texts = client.problems(settings)
    finally:
        client.close()
    remedy = "correct the connection of the source, or `kafka.connector`"
    return [Problem(what, told or remedy) for what, _, told in (text.partition("; ") for text in texts)]


def _of(source: Connection) -> dict[str, Any]:
    return {
        "conn_type": source.kind,
        "host": source.host,
        "port": source.port,
        "schema": source.database,
        "login": source.login,
        "password": source.password,
        "extra": dict(source.extra),
    }


def _read(id: str, local_dir: Path) -> dict[str, Any]:
    text = text_of(id, local_dir)
    if not text:
        raise NotConfigured(f"connection {id!r} is not set")
    return parts_of(id, text)
