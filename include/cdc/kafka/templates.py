"""
What Debezium 3.6 is told, a template a kind of source.

A test asks the connectors themselves whether they know every setting. Beyond the modes that the
engine uses as well: ``header.converter``, as the keys that a changed key had and has come in headers;
``decimal.format``, as unsigned 64-bit numbers of MySQL come as Connect's decimals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.cdc import names
from include.cdc.changes import UNAVAILABLE
from include.cdc.kafka import topics
from include.cdc.models import Kind, Replication
from include.cdc.sources import mysql_types
from include.errors import BadRequest, NotConfigured

_JSON = "org.apache.kafka.connect.json.JsonConverter"
#: Of the topics: what is older is gone for a consumer that stood still for so long.
_RETENTION_MS = 7 * 24 * 3600 * 1000
_PORTS = {Kind.POSTGRES: 5432, Kind.MYSQL: 3306, Kind.MSSQL: 1433, Kind.ORACLE: 1521}
#: ``schema_only`` is the name that ``no_data`` had until Debezium 2.6.
_SNAPSHOT_MODES = {"schema_only": "no_data"}
_OPEN = {"no", "false", "0", "off", "optional"}


@dataclass(frozen=True)
class Request:
    """What a connector is made for; the parameters are those of ``connectors.config``."""

    replication: Replication
    source: Mapping[str, Any]
    epoch: str
    tables: Sequence[str]
    brokers: str
    publication: str | None = None
    slot: str | None = None

    @property
    def prefix(self) -> str:
        """What its topics begin with."""
        return topics.topic_prefix(self.replication.name, self.epoch)

    @property
    def extra(self) -> Mapping[str, Any]:
        """What the connection says beyond host and login."""
        return self.source.get("extra") or {}

    def database(self, *extras: str) -> str:
        """Return the database, from the first of these extras that is set or the connection's schema."""
        found = next((self.extra[name] for name in extras if self.extra.get(name)), self.source.get("schema"))
        if not found:
            raise NotConfigured(f"connection {self.replication.source!r}: set schema to the database")
        return str(found)


def template(request: Request) -> dict[str, str]:
    """Return the settings of a connector, without overrides and password."""
    kinds = {Kind.POSTGRES: _postgres, Kind.MYSQL: _mysql, Kind.MSSQL: _mssql, Kind.ORACLE: _oracle}
    return {**_common(request), **kinds[request.replication.kind](request)}


def _common(request: Request) -> dict[str, str]:
    replication, source = request.replication, request.source
    if not request.tables:
        # an empty list would capture every table
        raise BadRequest(f"replication {replication.name}: no table of the source is followed")
    if not source.get("host"):
        raise NotConfigured(f"connection {replication.source!r}: set host to the server's address")
    mode = replication.kafka.snapshot_mode
    without = [f"{_escaped(table)}\\.{_escaped(column)}" for table, column in _left_out(request)]
    return {
        "name": request.prefix,
        "tasks.max": "1",
        "topic.prefix": request.prefix,
        "database.hostname": str(source["host"]),
        "database.port": str(source.get("port") or _PORTS[replication.kind]),
        "database.user": str(source.get("login") or ""),
        "table.include.list": ",".join(map(_escaped, request.tables)),
        **({"column.exclude.list": ",".join(without)} if without else {}),
        "snapshot.mode": _SNAPSHOT_MODES.get(mode, mode),
        "skipped.operations": "none",
        "tombstones.on.delete": "false",
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
        "binary.handling.mode": "hex",
        "event.processing.failure.handling.mode": "fail",
        "errors.tolerance": "none",
        "key.converter": _JSON,
        "key.converter.schemas.enable": "false",
        "value.converter": _JSON,
        "value.converter.schemas.enable": "false",
        "value.converter.replace.null.with.default": "false",
        "header.converter": _JSON,
        "header.converter.schemas.enable": "false",
        # lets a quiet source's log go, of which the captured tables are a small part
        "heartbeat.interval.ms": "60000",
        "max.batch.size": "2048",
        "max.queue.size": "8192",
        "topic.creation.default.replication.factor": "-1",
        "topic.creation.default.partitions": str(replication.kafka.consumers),
        "topic.creation.default.cleanup.policy": "delete",
        "topic.creation.default.retention.ms": str(_RETENTION_MS),
    }


def _postgres(request: Request) -> dict[str, str]:
    if not request.slot or not request.publication:
        # without a slot Debezium makes one that begins now
        raise BadRequest(f"replication {request.replication.name}: a PostgreSQL source needs its slot and publication")
    sslmode = request.extra.get("sslmode")
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.dbname": request.database(),
        **({"database.sslmode": str(sslmode)} if sslmode else {}),
        "plugin.name": "pgoutput",
        "slot.name": request.slot,
        "slot.drop.on.stop": "false",
        "publication.name": request.publication,
        "publication.autocreate.mode": "disabled",
        "message.prefix.include.list": names.MARKER_PREFIX,
        "schema.refresh.mode": "columns_diff",
        "interval.handling.mode": "string",
        "include.unknown.datatypes": "true",
        "unavailable.value.placeholder": UNAVAILABLE,
    }


def _mysql(request: Request) -> dict[str, str]:
    databases = dict.fromkeys(table.partition(".")[0] for table in request.tables)
    return {
        "connector.class": "io.debezium.connector.mysql.MySqlConnector",
        "database.server.id": str(names.server_id(request.replication.name, request.epoch)),
        "database.include.list": ",".join(map(_escaped, databases)),
        **mysql_types.SENT,
        "header.converter.decimal.format": "NUMERIC",
        # while the log is quiet the server tells after four fifths of it where that ends, and with it a pin
        "connect.keep.alive.interval.ms": "20000",
        "inconsistent.schema.handling.mode": "fail",
        **_history(request),
    }


def _mssql(request: Request) -> dict[str, str]:
    encrypt = str(request.extra.get("encrypt", "yes")).lower()
    trusts = str(request.extra.get("trust_server_certificate", "no")).lower() not in _OPEN
    return {
        "connector.class": "io.debezium.connector.sqlserver.SqlServerConnector",
        "database.names": request.database(),
        "driver.encrypt": "strict" if encrypt == "strict" else str(encrypt not in _OPEN).lower(),
        "driver.trustServerCertificate": str(trusts).lower(),
        **_history(request),
    }


def _oracle(request: Request) -> dict[str, str]:
    pluggable = request.extra.get("pdb")
    return {
        "connector.class": "io.debezium.connector.oracle.OracleConnector",
        "database.dbname": request.database("service_name", "sid"),
        **({"database.pdb.name": str(pluggable)} if pluggable else {}),
        # without it a CLOB or BLOB is left out of what is sent
        "lob.enabled": "true",
        "interval.handling.mode": "string",
        "unavailable.value.placeholder": UNAVAILABLE,
        **_history(request),
    }


def _history(request: Request) -> dict[str, str]:
    """The definitions of tables, of which the logs of these servers say nothing, and how soon a pin is known."""
    return {
        "heartbeat.interval.ms": "5000",
        "schema.history.internal": "io.debezium.storage.kafka.history.KafkaSchemaHistory",
        "schema.history.internal.kafka.topic": topics.history_topic(request.replication.name, request.epoch),
        "schema.history.internal.kafka.bootstrap.servers": request.brokers,
        "include.schema.changes": "false",
    }


def _left_out(request: Request) -> list[tuple[str, str]]:
    without = request.replication.without
    return [(table, column) for table in request.tables for column in without.get(table, ())]


def _escaped(text: str) -> str:
    """Return a name as a regular expression of Debezium's lists, which commas separate."""
    return re.escape(text).replace(",", r"\,")
