"""The configuration of a replication's connector; nothing is asked or sent here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from include.cdc.kafka.brokers import text_of
from include.cdc.kafka.templates import Request, template
from include.cdc.models import Replication
from include.errors import CatalogError, NotConfigured

_PASSWORD = "database.password"  # noqa: S105
_REFERENCE = re.compile(r"^\$\{[^${}:]+:[^${}]+\}$")
_SECRET = re.compile(r"(password|secret|jaas\.config|credentials|token|api\.key)(\.|$)", re.IGNORECASE)

#: Settings of a template that a replication may give itself.
_FREE = {
    "connect.keep.alive.interval.ms",
    "database.hostname",
    "database.port",
    "database.sslmode",
    "database.server.id",
    "database.pdb.name",
    "driver.encrypt",
    "driver.trustServerCertificate",
    "heartbeat.interval.ms",
    "max.batch.size",
    "max.queue.size",
    "schema.history.internal.kafka.bootstrap.servers",
    "schema.history.internal.store.only.captured.tables.ddl",
    "schema.refresh.mode",
    "topic.creation.default.partitions",
    "topic.creation.default.replication.factor",
    "topic.creation.default.retention.ms",
}
#: Beside the rest of the templates: what would let changes be lost, doubled, renamed or written in another way.
_REFUSED = re.compile(
    r"""
    (snapshot\.mode | slot\. | publication\. | offset | internal\. | lsn\.flush | flush\.lsn | publish\.
    | table\. | column\.(include|exclude)\. | database\.(include|exclude)\. | message\.(key|prefix)
    | converters | post\.processors | transforms | predicates | errors\.tolerance | exactly\.once
    | (key|value|header)\.converter | \w+(\.\w+)*\.handling\.mode | unavailable\.value | provide\.transaction
    | topic\.(naming|delimiter|prefix) | topic\.creation\.(?!default\.) | sourceinfo\. | event\.
    | schema\.history\.internal(\.kafka\.topic|\.skip\.|$) | read\.only | gtid\.
    | producer\.override\.(acks|partitioner|max\.in\.flight|enable\.idempotence|retries)
    )""",
    re.VERBOSE,
)


def config(
    replication: Replication,
    source: Mapping[str, Any],
    epoch: str,
    tables: Sequence[str],
    publication: str | None = None,
    slot: str | None = None,
    *,
    brokers: str,
) -> dict[str, str]:
    """
    Return the configuration of the connector of an epoch.

    :param source: the parts of the source's Airflow connection: host, port, schema, login, password, extra.
        Its extra ``config_provider`` may name where Connect finds the password: ``${file:/path:key}``.
    :param tables: ``schema.table`` of what is captured, in MySQL ``database.table``.
    :param publication: and ``slot``: those of a PostgreSQL source, made before.
    :param brokers: addresses of brokers for the schema history, as Connect reaches them.
    :raises CatalogError: if ``kafka.connector`` says what safety needs otherwise.
    :raises NotConfigured: if the connection lacks something.
    :raises BadRequest: if nothing would be captured, or a slot or publication is missing.
    """
    request = Request(replication, source, epoch, tables, brokers, publication, slot)
    built = {**template(request), _PASSWORD: _password(replication, source)}
    given = {name: text_of(value) for name, value in replication.kafka.connector.items()}
    if refused := sorted(name for name in given if _is_refused(name, built)):
        raise CatalogError(
            f"replications.yaml: {replication.name}: kafka.connector: {', '.join(refused)} cannot be set here, "
            "what is read and how it is written depends on it"
        )
    return {**built, **given}


def redacted(config: Mapping[str, str]) -> dict[str, str]:
    """Return a configuration as it may be logged."""
    hidden = secrets_of(config)
    return {name: "***" if value in hidden and _SECRET.search(name) else value for name, value in config.items()}


def secrets_of(config: Mapping[str, str]) -> set[str]:
    """Return what must not be shown of a configuration; a reference to where a secret is may be."""
    return {
        value for name, value in config.items() if value and _SECRET.search(name) and not _REFERENCE.fullmatch(value)
    }


def _is_refused(name: str, built: Mapping[str, str]) -> bool:
    return name not in _FREE and (name in built or _REFUSED.match(name) is not None)


def _password(replication: Replication, source: Mapping[str, Any]) -> str:
    reference = (source.get("extra") or {}).get("config_provider")
    if not reference:
        return str(source.get("password") or "")
    if not _REFERENCE.fullmatch(str(reference)):
        raise NotConfigured(
            f"connection {replication.source!r}: extra config_provider is a reference such as ${{file:/path:key}}"
        )
    return str(reference)
