"""Every default of the project that somebody may want to change, each also ``RETAIL_SYNC_<NAME>``."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from include.windows import Window

PROJECT_ROOT = Path(__file__).parent.parent


class Settings(BaseSettings):
    """Settings from the environment; times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="RETAIL_SYNC_", frozen=True)

    business_timezone: str = "Asia/Kuala_Lumpur"
    """The zone in which the point of sale has its business days."""

    source_connection: str = "pos_source"
    warehouse_connection: str = "warehouse"
    control_connection: str = "control"
    hash_key_connection: str = "hash_key"
    """The connection whose password is the key of hashed columns; needed only where the catalog hashes one."""

    pipeline_timezone: str = "Asia/Kolkata"
    """The zone of all dates of the orders sync."""

    run_env: Annotated[str, Field(min_length=1, max_length=32)] = "prod"
    """What the log of the orders sync calls this deployment."""

    crm_max_workers: Annotated[int, Field(ge=1)] = 4
    """Stores synced at once, at most; a run may ask for fewer."""

    crm_lock_wait: Annotated[float, Field(ge=0)] = 30.0
    """How long to wait for another run that works on the same store."""

    notify: str = ""
    """Who is told of runs by mail: addresses, with commas between them."""

    notify_webhook: str = ""
    """The connection of a chat's webhook that is told of runs."""

    smtp_connection: str = "smtp_default"
    """The connection by which messages are sent."""

    nightly_deadline: time = time(5)
    """When the nightly run has to be done, in the business timezone; later than that, those who are told hear of it."""

    digest_time: time = time(7)
    """When the digest of the last day is sent, in the business timezone."""

    source_pool: str = "pos_source"
    """The Airflow pool that caps how many windows are read at once."""

    cdc_file: Path = PROJECT_ROOT / "include" / "cdc" / "replications.yaml"
    """The databases that are followed."""

    cdc_pool: str = "cdc_copy"
    """The Airflow pool that caps how many tables of followed databases are copied at once."""

    cdc_engine_memory: Annotated[int, Field(ge=128)] = 256
    """Megabytes of Java's heap in the process that follows a database; the process needs about 150 more."""

    local_dir: Path = PROJECT_ROOT / ".local"
    """Where the embedded default keeps its databases, logs and results."""

    exports_url: str = str(PROJECT_ROOT / "exports")
    """A folder, or the URL of an object store (``s3://bucket/prefix``, ``gs://…``)."""

    max_workers: Annotated[int, Field(ge=1)] = 2
    """Windows of a table at once on the command line; the pool says so under Airflow."""

    batch_bytes: Annotated[int, Field(ge=64 * 1024)] = 4 * 1024 * 1024
    """How much of a stream is held in memory at once."""

    lock_wait: Annotated[float, Field(ge=0)] = 900.0
    """How long to wait for another run's lock before the task is given back for a retry."""

    publish_lock_wait: Annotated[float, Field(gt=0)] = 5.0
    """How long a publish queues behind readers before it steps back and lets others pass."""

    publish_wait: Annotated[float, Field(ge=0)] = 600.0
    """How long a publish goes on trying, in all."""

    partition_from: date | None = None
    partition_to: date | None = None
    """First and last day of the months by which new replicas in SQL Server are partitioned; neither: they are not."""

    progress_every: Annotated[float, Field(gt=0)] = 5.0
    """How often rows and rate are logged while a window is read."""

    retries: Annotated[int, Field(ge=1)] = 3
    """How often Airflow tries a task again that failed for a passing reason."""

    retry_delay: Annotated[float, Field(ge=0)] = 30.0
    """The pause before the first retry; each further one is twice as long."""

    @field_validator("business_timezone", "pipeline_timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError):
            raise ValueError(f"no timezone: {name!r}") from None
        return name

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.partition_from is None) != (self.partition_to is None):
            raise ValueError("partition_from, partition_to: give both, or neither")
        return self

    @property
    def partitioned(self) -> Window | None:
        """The months by which new replicas in SQL Server are partitioned."""
        if self.partition_from is None or self.partition_to is None:
            return None
        first, last = Window.of_month(self.partition_from), Window.of_month(self.partition_to)
        return Window(first.start, last.end)

    @property
    def zone(self) -> ZoneInfo:
        """The business timezone."""
        return ZoneInfo(self.business_timezone)

    @property
    def pipeline_zone(self) -> ZoneInfo:
        """The timezone of the orders sync."""
        return ZoneInfo(self.pipeline_timezone)

    @property
    def recipients(self) -> list[str]:
        """The mail addresses that get messages."""
        return [address.strip() for address in self.notify.split(",") if address.strip()]
