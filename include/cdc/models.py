"""What ``replications.yaml`` says of a replication."""

from __future__ import annotations

import re
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

#: Part of the names of slots and consumer groups.
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,29}$")]
_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_TableName = Annotated[str, StringConstraints(pattern=r"^[^.\s]+\.[^.\s]+$")]
_FIELDS_OF_A_NAME = {"schema", "table"}


class Kind(StrEnum):
    """What database the source is."""

    POSTGRES = "postgres"
    MYSQL = "mysql"
    MSSQL = "mssql"
    ORACLE = "oracle"


class Mode(StrEnum):
    """Where Debezium runs."""

    EMBEDDED = "embedded"
    """In a process of the task, no Kafka."""
    KAFKA_CONNECT = "kafka_connect"
    """In Kafka Connect; the task consumes the topics."""


class Deletes(StrEnum):
    """What becomes of a row that the source deletes."""

    HARD = "hard"
    SOFT = "soft"
    """It stays, with the time in ``_deleted_at``."""


class Kafka(BaseModel):
    """
    What Kafka Connect mode needs.

    ``connect`` and ``brokers`` are ids of Airflow connections: the REST API (type http), and the
    brokers (type kafka, their addresses in ``host`` and extra, as librdkafka names its settings).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect: _Text = "kafka_connect"
    brokers: _Text = "kafka_brokers"
    snapshot_mode: Literal["no_data", "schema_only", "initial", "when_needed"] = "no_data"
    consumers: Annotated[int, Field(ge=1, le=64)] = 1
    """Tasks that share the partitions."""
    connector: dict[str, str | int | bool] = {}
    """More settings of the connector."""


class Replication(BaseModel):
    """A database that is followed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    source: _Text
    """The id of the source's Airflow connection."""
    kind: Kind
    mode: Mode = Mode.EMBEDDED
    tables: Annotated[tuple[_TableName, ...], Field(min_length=1)]
    """``schema.table``; ``*`` and ``?`` stand for more of them."""
    exclude: tuple[_TableName, ...] = ()
    without: dict[_TableName, tuple[_Text, ...]] = {}
    """Columns that are not copied, by table."""
    target_schema: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
    target_name: str = "{table}"
    rename: dict[_TableName, _Text] = {}
    """Names on the target that do not follow ``target_name``, by table."""
    deletes: Deletes = Deletes.HARD
    chunk_rows: Annotated[int, Field(ge=100)] = 1_000_000
    """Rows of the copy that are committed at once: what a killed copy has to read again, at most."""
    max_lag_seconds: Annotated[int, Field(ge=1)] = 900
    max_lag_bytes: Annotated[int, Field(ge=1)] = 1024**3
    """Above either the replication is degraded; above four times as much it is unhealthy."""
    kafka: Kafka = Kafka()

    @field_validator("target_name")
    @classmethod
    def _is_a_name(cls, template: str) -> str:
        fields = set(re.findall(r"\{([^}]*)\}", template))
        if "table" not in fields or fields - _FIELDS_OF_A_NAME:
            raise ValueError("has to hold {table}, and may hold {schema}")
        return template

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for field in ("rename", "without"):
            for table in getattr(self, field):
                if not self.holds(table):
                    raise ValueError(f"{field}: {table} is not among the tables")
        if self.target_schema in {"dbo", "staging", "public", "pg_catalog", "information_schema"}:
            raise ValueError(f"target_schema: {self.target_schema} is used by others, name one of its own")
        return self

    def holds(self, table: str) -> bool:
        """Whether a table of the source, ``schema.table``, is followed."""
        return any(fnmatchcase(table, pattern) for pattern in self.tables) and not any(
            fnmatchcase(table, pattern) for pattern in self.exclude
        )

    def target_of(self, table: str) -> str:
        """Return the name of a table on the target."""
        schema, _, name = table.partition(".")
        return self.rename.get(table) or self.target_name.format(schema=schema, table=name)
