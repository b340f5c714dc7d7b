"""The connector of a replication: one, which another epoch gives another configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from include.cdc import names
from include.cdc.kafka.brokers import Brokers
from include.cdc.kafka.connect import Connect
from include.cdc.kafka.connectors import config
from include.cdc.prerequisites.kafka import KafkaParts, parts
from include.cdc.run import CdcRun
from include.cdc.sources.base import Pin
from include.cdc.sources.logged import LoggedCdcSource, is_of_log
from include.errors import RetailSyncError, StreamBroken

#: Seconds in which a position has to be stored, and between two looks.
_STORE_SECONDS, _LOOK_SECONDS = 300.0, 2.0
#: Seconds in which a connector that is stopped has to end.
_END_SECONDS = 60.0
#: Seconds that Connect is given to restart what had failed, when a configuration is new to it.
_RESTART_SECONDS = 30.0
_RESTING = {"STOPPED", "PAUSED"}


def ensure(run: CdcRun, epoch: str, tables: Sequence[str]) -> None:
    """Give the connector its configuration where it has another, and restart what failed of it."""
    wanted = _config(run, epoch, tables)
    with _connect(run) as connect:
        _give(connect, names.connector(run.name), wanted)


def pinned(run: CdcRun, epoch: str) -> Pin:
    """
    Let the connector begin an epoch, and return the position that Kafka Connect has stored of it.

    While a copy is made beside a stream, the first consumer of the stream's epoch gives the connector its
    old configuration back now and then. Nothing is lost by that: each epoch has a prefix of its own, and
    with it its own stored position and definitions, from which the connector goes on as long as the log is
    kept. The position only has to be seen once; until then the configuration is given again.

    :raises StreamBroken: if the connector fails, or no position is stored in time.
    """
    source, name = run.at_source, names.connector(run.name)
    assert isinstance(source, LoggedCdcSource)
    wanted = _config(run, epoch, _followed(run))
    with _connect(run) as connect:
        _give(connect, name, wanted)
        with _awake(connect, name):
            offset = _stored(connect, run, wanted, lambda _: True, "")
    source.await_open()
    return Pin({"pinned": source.told(offset), "offset": offset})


def join(run: CdcRun, epoch: str) -> None:
    """
    Let the connector read all tables that are followed now, before those that are new are copied.

    It has ended before it gets the configuration: while it still ran by the old one it would pass by what is
    neither in the copy nor read later.

    :raises StreamBroken: if it does not end in time.
    """
    name, wanted = names.connector(run.name), _config(run, epoch, _followed(run))
    with _connect(run) as connect:
        status = connect.status(name)
        if status is None or connect.has(name, wanted):
            return
        connect.stop(name)
        _await_end(connect, run)
        connect.ensure(name, wanted)
        if status.state not in _RESTING:
            connect.resume(name)


def await_past(run: CdcRun, epoch: str, tables: Sequence[str], is_past: Callable[[Mapping[str, Any]], bool]) -> None:
    """
    Wait until the topics of an epoch have all that the source had committed at a moment.

    Kafka Connect stores a position only when the brokers have all records up to it, whatever their partitions.

    :param is_past: whether a position is that of a later transaction.
    :raises StreamBroken: if the connector rests or fails, or does not come so far in time.
    """
    name, wanted = names.connector(run.name), _config(run, epoch, tables)
    with _connect(run) as connect:
        if (status := connect.status(name)) is not None and status.state in _RESTING:
            raise StreamBroken(
                f"replication {run.name}: connector {name} is {status.state.lower()} and writes nothing; resume it in "
                "Kafka Connect"
            )
        _stored(connect, run, wanted, is_past, " past the moment of the comparison")


def position(run: CdcRun, epoch: str, tables: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the position of an epoch that Kafka Connect has stored, as Debezium has it; None without one."""
    with _connect(run) as connect:
        return _offset(connect, names.connector(run.name), _config(run, epoch, tables))


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


def _config(run: CdcRun, epoch: str, tables: Sequence[str]) -> dict[str, str]:
    given = _given(run)
    return config(
        run.replication,
        given.source,
        epoch,
        tables,
        names.publication(run.name),
        names.slot(run.name, epoch),
        brokers=Brokers.of(run.replication.kafka.brokers, given.brokers).addresses,
    )


def _followed(run: CdcRun) -> list[str]:
    return sorted(table.name for table in run.at_source.tables(run.replication))


def _give(connect: Connect, name: str, wanted: Mapping[str, str]) -> None:
    sent = connect.ensure(name, wanted)
    status = connect.status(name)
    if not sent and status is not None and status.failures:
        connect.restart_failed(name)


def _await_end(connect: Connect, run: CdcRun) -> None:
    name, until = names.connector(run.name), time.monotonic() + _END_SECONDS
    while (status := connect.status(name)) is not None and (status.state != "STOPPED" or status.tasks):
        if time.monotonic() > until:
            raise StreamBroken(f"replication {run.name}: connector {name} does not end")
        time.sleep(_LOOK_SECONDS)


def _stored(
    connect: Connect, run: CdcRun, wanted: Mapping[str, str], fits: Callable[[Mapping[str, Any]], bool], which: str
) -> Mapping[str, Any]:
    """Wait for a position that is no snapshot's; failures count once a new configuration has had time to end them."""
    name, began = names.connector(run.name), time.monotonic()
    sent_at = began
    while True:
        offset = _offset(connect, name, wanted)
        if offset is not None and fits(offset):
            return offset
        now = time.monotonic()
        if connect.ensure(name, wanted):
            sent_at = now
        status = connect.status(name)
        if status is not None and status.failures and now - sent_at > _RESTART_SECONDS:
            raise StreamBroken(f"replication {run.name}: {'; '.join(status.failures)}")
        if now - began > _STORE_SECONDS:
            raise StreamBroken(
                f"replication {run.name}: Kafka Connect has stored no position of connector {name}{which} for "
                f"{_STORE_SECONDS:.0f} s; is it 3.5 or later, offset.flush.interval.ms of its workers shorter, and the "
                "connector not far behind?"
            )
        time.sleep(_LOOK_SECONDS)


def _offset(connect: Connect, name: str, wanted: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Return the position in the log that is stored under a configuration; None without one."""
    for stored in connect.offsets(name):
        if stored.partition.get("server") == wanted["topic.prefix"] and is_of_log(stored.offset):
            return stored.offset
    return None


@contextmanager
def _awake(connect: Connect, name: str) -> Iterator[None]:
    """Let a connector that rests run while the block does."""
    status = connect.status(name)
    rests = status is not None and status.state in _RESTING
    if rests:
        connect.resume(name)
    try:
        yield
    finally:
        if rests:
            connect.stop(name)


def _given(run: CdcRun) -> KafkaParts:
    return run.kafka or parts(run.replication, run.source, run.settings.local_dir)


@contextmanager
def _connect(run: CdcRun) -> Iterator[Connect]:
    with closing(Connect.of(run.replication.kafka.connect, _given(run).connect)) as connect:
        yield connect
