"""The brokers, as an Airflow connection of type kafka tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from include.errors import NotConfigured

_ADDRESSES = "bootstrap.servers"
#: A login without more said of it: the password is not sent in the open.
_LOGIN = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}


@dataclass(frozen=True)
class Brokers:
    """
    How to reach the brokers. ``repr`` and ``str`` show only where they are.

    :param settings: as librdkafka names them.
    """

    id: str
    settings: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.id} (kafka {self.addresses})"

    @property
    def addresses(self) -> str:
        """``host:port`` of the brokers to ask first, with commas between them."""
        return self.settings[_ADDRESSES]

    @classmethod
    def of(cls, id: str, parts: Mapping[str, Any]) -> Brokers:
        """
        Build the settings from the parts of an Airflow connection: host, port, login, password and extra.

        The host may name several brokers; what extra says of anything goes before the rest.

        :raises NotConfigured: if no broker is named.
        """
        host, port = parts.get("host") or "", parts.get("port")
        addresses = ",".join(
            f"{name}:{port}" if port and ":" not in name else name for name in map(str.strip, host.split(",")) if name
        )
        login = {"sasl.username": parts["login"], "sasl.password": parts.get("password")} if parts.get("login") else {}
        given = {_ADDRESSES: addresses, **(_LOGIN if login else {}), **login, **(parts.get("extra") or {})}
        settings = {name: text_of(value) for name, value in given.items() if value not in (None, "")}
        if _ADDRESSES not in settings:
            raise NotConfigured(
                f"connection {id!r}: set host, or extra `{_ADDRESSES}`, to the addresses of the brokers"
            )
        return cls(id, settings)


def text_of(value: object) -> str:
    """Return a setting as Kafka and Connect write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
