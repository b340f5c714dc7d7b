"""What several commands share: where the databases are, and how a run is put together."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from include import catalog
from include.catalog.models import Group
from include.connections import Connection, find, secret_of
from include.engines.base import Source, Warehouse
from include.engines.factory import source_of, warehouse_of
from include.replication.export import ExportTarget
from include.replication.nightly import day_before
from include.replication.request import Request, read_request
from include.replication.run import Run
from include.replication.verify import Verify
from include.settings import Settings

console = Console()


def settings() -> Settings:
    """Return the settings of the environment."""
    return Settings()


def source_connection(config: Settings) -> Connection:
    """Return the connection of the point of sale."""
    return find(config.source_connection, config.local_dir)


def warehouse_connection(config: Settings) -> Connection:
    """Return the connection of the warehouse."""
    return find(config.warehouse_connection, config.local_dir)


def control_connection(config: Settings) -> Connection:
    """Return the connection of the control database."""
    return find(config.control_connection, config.local_dir)


def open_source(config: Settings) -> Source:
    """Return the engine of the point of sale."""
    secret = secret_of(config.hash_key_connection, config.local_dir) if catalog.load().hashes else None
    return source_of(source_connection(config), application(), secret)


def open_warehouse(config: Settings) -> Warehouse:
    """Return the engine of the warehouse."""
    return warehouse_of(warehouse_connection(config), config, application())


def new_run_id(kind: str) -> str:
    """Return an id that no other run has."""
    return f"{kind}__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}__{uuid.uuid4().hex[:8]}"


def new_run(
    config: Settings,
    *,
    export: bool,
    verify: Verify = Verify.CHECKSUM,
    force: bool = False,
    allow_empty: bool = False,
) -> Run:
    """Return a run of the command line, with an id of its own."""
    return Run(
        id=new_run_id("manual"),
        source=open_source(config),
        warehouse=open_warehouse(config),
        control=control_connection(config),
        settings=config,
        verify=verify,
        export=ExportTarget(config.exports_url) if export else None,
        force=force,
        allow_empty=allow_empty,
        holder=application(),
    )


def read_values(config: Settings, values: Mapping[str, Any]) -> Request:
    """
    Make sense of what was typed: any table with a date may be named, the ten sales tables are meant else.

    :raises BadRequest: naming the parameter and what to write instead.
    """
    group: Group = "nightly" if values["tables"] else "sales"
    return read_request(values, None, catalog.load(), today(config), group=group)


def today(config: Settings) -> date:
    """Return the present business day."""
    return datetime.now(config.zone).date()


def yesterday(config: Settings) -> date:
    """Return the business day before the present one."""
    return day_before(datetime.now(UTC), config.zone)


def log_to_console(verbose: bool) -> None:
    """Show warnings and errors beside the bars, with ``verbose`` also the story of each window."""
    handler = RichHandler(console=console, show_path=False, show_time=verbose, markup=False)
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", handlers=[handler])


def application() -> str:
    """Return what a server shows of our sessions."""
    return f"retail-sync {socket.gethostname()} pid {os.getpid()}"
