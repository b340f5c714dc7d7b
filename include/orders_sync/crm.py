"""Connections to the CRMs, as Airflow writes them, and the feed that each stands for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from include.connections import is_loopback, parts_of, text_of
from include.errors import NotConfigured
from include.orders_sync.pipelines import Pipeline

if TYPE_CHECKING:
    from include.orders_sync.feeds.base import Feed

log = logging.getLogger(__name__)

_FEEDS = {"http": "api", "https": "api", "fs": "files", "file": "files"}


@dataclass(frozen=True)
class CrmConnection:
    """How to reach the reports of a CRM. ``repr`` and ``str`` never show the password."""

    id: str
    conn_type: str
    host: str
    port: int | None
    schema: str
    login: str
    password: str = field(repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.id} ({self.conn_type})"

    @classmethod
    def of(cls, id: str, *, conn_type: str, extra: Mapping[str, Any] | None = None, **parts: Any) -> CrmConnection:
        """Build a connection from the parts of an Airflow connection: host, port, schema, login, password."""
        return cls(
            id=id,
            conn_type=conn_type,
            host=parts.get("host") or "",
            port=int(parts["port"]) if parts.get("port") else None,
            schema=parts.get("schema") or "",
            login=parts.get("login") or "",
            password=parts.get("password") or "",
            extra=dict(extra or {}),
        )

    @property
    def base_url(self) -> str:
        """
        The address of the CRM's API, without a slash at the end.

        Host and port may hold all of it, as Airflow's HTTP hook has it; a schema that is no protocol is a path.

        :raises NotConfigured: if they do not make an address.
        """
        protocol = self.schema.lower() if self.schema.lower() in ("http", "https") else self.conn_type
        path = "" if self.schema.lower() in ("http", "https") else self.schema
        host = self.host if "://" in self.host else f"{protocol if protocol == 'https' else 'http'}://{self.host}"
        try:
            parts = urlsplit(host)
            port = parts.port or self.port
        except ValueError:
            raise NotConfigured(f"connection {self.id!r}: the host is no address") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotConfigured(f"connection {self.id!r}: set host to the address of the CRM's API")
        if "@" in parts.netloc:
            raise NotConfigured(f"connection {self.id!r}: login and password belong into their own fields")
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        address = f"{parts.scheme}://{name}" + (f":{port}" if port else "")
        return "/".join(part for part in (address, parts.path.strip("/"), path.strip("/")) if part)


Lookup = Callable[[str], CrmConnection | None]


def find_crm(pipeline: Pipeline, store_code: str, lookup: Lookup) -> CrmConnection:
    """
    Return the store's own connection if there is one, else that of the CRM.

    :raises NotConfigured: naming both, if there is neither.
    """
    own = f"{pipeline.connection}__{store_code}"
    if (found := lookup(own) or lookup(pipeline.connection)) is not None:
        return found
    raise NotConfigured(
        f"store {store_code}: neither connection {own!r} nor {pipeline.connection!r} is set; add one to Airflow, "
        f"or export AIRFLOW_CONN_{pipeline.connection.upper()} (see .env.example)"
    )


def lookup_environment(local_dir: Path) -> Lookup:
    """Return a look-up in ``AIRFLOW_CONN_<ID>`` of the environment, else of the embedded default."""

    def lookup(id: str) -> CrmConnection | None:
        text = text_of(id, local_dir)
        return parse_crm(id, text) if text else None

    return lookup


def parse_crm(id: str, text: str) -> CrmConnection:
    """
    Read a connection in either of Airflow's two forms.

    :raises NotConfigured: naming the connection, never quoting its text.
    """
    return CrmConnection.of(id, **parts_of(id, text))


def feed_of(connection: CrmConnection, zone: ZoneInfo) -> Feed:
    """
    Return the feed of a connection; extra ``feed`` says which, where the connection's type does not.

    :param zone: the pipeline's timezone; a file speaks for the days until it was written.
    :raises NotConfigured: if there is no feed for it, or it lacks an address or a path.
    """
    from include.orders_sync.feeds.api import ApiFeed
    from include.orders_sync.feeds.files import FilesFeed

    kind = connection.extra.get("feed") or _FEEDS.get(connection.conn_type)
    if kind == "api":
        _warn_of_open_password(connection)
        return ApiFeed.of(connection)
    if kind == "files":
        if not (path := connection.extra.get("path")):
            raise NotConfigured(f"connection {connection.id!r}: set extra `path` to the folder of the reports")
        return FilesFeed(str(path), zone)
    raise NotConfigured(
        f"connection {connection.id!r}: type {connection.conn_type!r} is no feed, "
        'use http or fs, or set extra `feed` to "api" or "files"'
    )


def _warn_of_open_password(connection: CrmConnection) -> None:
    url = connection.base_url
    if url.startswith("http://") and not is_loopback(url):
        log.warning("connection %r: plain http sends the password for all to read; use https", connection.id)
