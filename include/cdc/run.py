"""What a run of a replication works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.cdc import state
from include.cdc.models import Replication
from include.cdc.sources.base import CdcSource
from include.cdc.sources.opening import source_of
from include.cdc.state import ReplicationRow
from include.cdc.targets.base import Target
from include.cdc.targets.opening import opened
from include.connections import Connection
from include.errors import BadRequest
from include.locks import Lock, LockSpace, Name, hold
from include.settings import Settings

if TYPE_CHECKING:
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
    def in_warehouse(self) -> Iterator[Target]:
        """Open a session with the warehouse."""
        with opened(self.warehouse, self.holder) as target, target.doing(f"replication {self.name}: the warehouse"):
            yield target

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

    def row(self, target: Target) -> ReplicationRow:
        """
        Return the replication's row.

        :raises BadRequest: if it was never started, or was dropped.
        """
        row = state.read(target.records, self.name)
        if row is None or row.state is state.State.DROPPED:
            raise BadRequest(f"replication {self.name} was not started; run it with action=start")
        return row
