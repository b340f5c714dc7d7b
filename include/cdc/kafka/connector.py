"""The connector of a replication: one, which another epoch gives another configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from include.cdc import names
from include.cdc.kafka.brokers import Brokers
from include.cdc.kafka.connect import Connect
from include.cdc.kafka.connectors import config
from include.cdc.prerequisites.kafka import KafkaParts, parts
from include.cdc.run import CdcRun
from include.errors import RetailSyncError


def ensure(run: CdcRun, epoch: str, tables: Sequence[str], given: KafkaParts) -> None:
    """Give the connector its configuration where it has another, and restart what failed of it."""
    wanted = config(
        run.replication,
        given.source,
        epoch,
        tables,
        names.publication(run.name),
        names.slot(run.name, epoch),
        brokers=Brokers.of(run.replication.kafka.brokers, given.brokers).addresses,
    )
    name = names.connector(run.name)
    with closing(Connect.of(run.replication.kafka.connect, given.connect)) as connect:
        sent = connect.ensure(name, wanted)
        status = connect.status(name)
        if not sent and status is not None and status.failures:
            connect.restart_failed(name)


def failures(run: CdcRun) -> list[str]:
    """Return a line a part of the connector that does not run; one that cannot be asked is a line too."""
    name = names.connector(run.name)
    try:
        with _connect(run) as connect:
            status = connect.status(name)
    except RetailSyncError as error:
        return [str(error)]
    return status.failures if status else [f"Kafka Connect has no connector {name}"]


def stop(run: CdcRun) -> None:
    """Let the connector rest; it keeps its position."""
    with _connect(run) as connect:
        if connect.status(name := names.connector(run.name)) is not None:
            connect.stop(name)


def resume(run: CdcRun) -> None:
    """Let the connector go on."""
    with _connect(run) as connect:
        if connect.status(name := names.connector(run.name)) is not None:
            connect.resume(name)


def delete(run: CdcRun) -> None:
    """Remove the connector; its topics stay until the brokers' retention."""
    with _connect(run) as connect:
        connect.delete(names.connector(run.name))


@contextmanager
def _connect(run: CdcRun) -> Iterator[Connect]:
    given = run.kafka or parts(run.replication, run.source, run.settings.local_dir)
    with closing(Connect.of(run.replication.kafka.connect, given.connect)) as connect:
        yield connect
