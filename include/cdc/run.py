"""What a run of a replication works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.cdc import state
from include.cdc.models import Replication
from include.cdc.sources.base import CdcSource
from include.cdc.sources.opening import source_of
from include.cdc.state import ReplicationRow
from include.connections import Connection
from include.engines.postgres.connect import connect
from include.engines.postgres.errors import translated
from include.errors import BadRequest
from include.locks import Lock, LockSpace, Name, hold
from include.settings import Settings

if TYPE_CHECKING:
    import psycopg

    from include.cdc.prerequisites.kafka import KafkaParts


@dataclass(frozen=True)
class CdcRun:
    """
    A run.

    :param holder: what the databases show of our sessions.
    :param kafka: in Kafka Connect mode, the connections that it needs; None for those of the environment.
    """

    id: str
    replication: Replication
    source: Connection
    warehouse: Connection
    control: Connection
    settings: Settings
    holder: str
    kafka: KafkaParts | None = None

    @property
    def name(self) -> str:
        """The replication's name."""
        return self.replication.name

    @property
    def at_source(self) -> CdcSource:
        """The source."""
        return source_of(self.replication.kind, self.source, self.holder)

    @contextmanager
    def in_warehouse(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a session with the warehouse in which each statement commits."""
        with (
            translated(f"replication {self.name}: the warehouse"),
            connect(self.warehouse, self.holder, autocommit=True) as session,
        ):
            yield session

    @contextmanager
    def pinning(self) -> Iterator[Lock]:
        """Keep others off beginning a copy, pinning it, and putting it in place."""
        names = [Name(LockSpace.REPLICATION, f"{self.name} copy")]
        with hold(self.control, names, holder=self.holder, wait=self.settings.lock_wait) as lock:
            yield lock

    @contextmanager
    def applying(self, wait: float) -> Iterator[Lock]:
        """Keep others off the stream, and off what it is applied to."""
        names = [Name(LockSpace.REPLICATION, f"{self.name} apply")]
        with hold(self.control, names, holder=self.holder, wait=wait) as lock:
            yield lock

    def row(self, session: psycopg.Connection[Any]) -> ReplicationRow:
        """
        Return the replication's row.

        :raises BadRequest: if it was never started, or was dropped.
        """
        row = state.read(session, self.name)
        if row is None or row.state is state.State.DROPPED:
            raise BadRequest(f"replication {self.name} was not started; run it with action=start")
        return row
