"""Connections as Airflow writes them, read without Airflow: ``AIRFLOW_CONN_<ID>`` as URI or JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from include.errors import NotConfigured

Kind = Literal["postgres", "mssql", "mysql", "oracle"]

_KINDS: dict[str, Kind] = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "mssql": "mssql",
    "mysql": "mysql",
    "oracle": "oracle",
}
_TEXTS = ("conn_type", "host", "schema", "login", "password")


@dataclass(frozen=True)
class Connection:
    """How to reach one database. ``repr`` and ``str`` never show the password."""

    id: str
    kind: Kind
    host: str
    port: int | None
    database: str
    login: str
    password: str = field(repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{self.id} ({self.kind} {self.login}@{self.host}{port}/{self.database})"

    @classmethod
    def of(cls, id: str, *, kind: str, extra: Mapping[str, Any] | None = None, **parts: Any) -> Connection:
        """
        Build a connection from the parts of an Airflow connection.

        :raises NotConfigured: for a connection type that is no database of ours.
        """
        if kind not in _KINDS:
            raise NotConfigured(
                f"connection {id!r}: type {kind!r} is not supported, use postgres or mssql;"
                " a database that is followed may also be mysql or oracle"
            )
        return cls(
            id=id,
            kind=_KINDS[kind],
            host=parts.get("host") or "localhost",
            port=int(parts["port"]) if parts.get("port") else None,
            database=parts.get("database") or "",
            login=parts.get("login") or "",
            password=parts.get("password") or "",
            extra=dict(extra or {}),
        )


def find(id: str, local_dir: Path) -> Connection:
    """
    Return the connection of the environment, else that of the embedded default.

    :raises NotConfigured: if neither has it, or it cannot be read.
    """
    if text := text_of(id, local_dir):
        return parse(id, text)
    raise NotConfigured(
        f"connection {id!r} is not set: export {_variable(id)} (see .env.example), "
        "or start the embedded default with `make demo`"
    )


def text_of(id: str, local_dir: Path) -> str | None:
    """Return the text of a connection from the environment, else from the embedded default."""
    return os.environ.get(_variable(id)) or embedded_environment(local_dir).get(_variable(id)) or None


def embedded_environment(local_dir: Path) -> dict[str, str]:
    """Return the ``AIRFLOW_CONN_*`` of the embedded servers, empty where they were never started."""
    try:
        found: dict[str, str] = json.loads(embedded_file(local_dir).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise NotConfigured(f"{embedded_file(local_dir)} cannot be read; run `make clean`") from None
    return found


def embedded_file(local_dir: Path) -> Path:
    """Return the file in which the embedded servers leave their connections."""
    return local_dir / "connections.json"


def parse(id: str, text: str) -> Connection:
    """
    Read a connection in either of Airflow's two forms.

    :raises NotConfigured: naming the connection, never quoting its text.
    """
    parts = parts_of(id, text)
    return Connection.of(
        id,
        kind=parts["conn_type"],
        host=parts["host"],
        port=parts["port"],
        database=parts["schema"],
        login=parts["login"],
        password=parts["password"],
        extra=parts["extra"],
    )


def secret_of(id: str, local_dir: Path) -> bytes | None:
    """
    Return the password of a connection of any type, None without it.

    :raises NotConfigured: if the connection cannot be read.
    """
    text = text_of(id, local_dir)
    password = parts_of(id, text)["password"] if text else None
    return password.encode() if password else None


def is_loopback(url: str) -> bool:
    """Whether an address is one of this machine alone."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def parts_of(id: str, text: str) -> dict[str, Any]:
    """
    Read what a connection of any type says: conn_type, host, port, schema, login, password and extra.

    :raises NotConfigured: naming the connection, never quoting its text.
    """
    try:
        parts = _from_json(text) if text.lstrip().startswith("{") else _from_uri(text)
        texts = all(isinstance(parts[name], str | None) for name in _TEXTS)
        if texts and isinstance(parts["extra"], dict):
            return {**parts, "port": int(parts["port"]) if parts["port"] else None}
    except (ValueError, AttributeError, TypeError):
        pass
    raise NotConfigured(f"connection {id!r}: neither an Airflow connection URI nor JSON") from None


def _from_json(text: str) -> dict[str, Any]:
    parts = json.loads(text)
    extra = parts.get("extra") or {}
    return {
        **{name: parts.get(name) for name in ("host", "port", "schema", "login", "password")},
        "conn_type": parts.get("conn_type") or "",
        "extra": json.loads(extra) if isinstance(extra, str) else extra,
    }


def _from_uri(text: str) -> dict[str, Any]:
    conn_type, _, rest = text.partition("://")
    # Airflow writes a host that has its own protocol as http://https://login@host
    protocol = rest.partition("://")[0] + "://" if "://" in rest.partition("?")[0] else ""
    uri = urlsplit(rest if protocol else text)
    query = dict(parse_qsl(uri.query, keep_blank_values=True))
    return {
        "conn_type": conn_type.lower(),
        "host": protocol + unquote(uri.hostname or ""),
        "port": uri.port,
        "schema": unquote(uri.path.lstrip("/")),
        "login": unquote(uri.username or ""),
        "password": unquote(uri.password or ""),
        "extra": json.loads(query["__extra__"]) if "__extra__" in query else query,
    }


def _variable(id: str) -> str:
    return f"AIRFLOW_CONN_{id.upper()}"
