"""Questions to Connect's REST API: who asks, which answers are errors, and what is asked again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from include.connections import is_loopback
from include.errors import AccessDenied, ConnectionLost, NotConfigured, PermanentError, StreamBroken, TransientError

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0
_LONGEST_MESSAGE = 1000
#: Connect gives up on what it was asked after 90 s, and says so.
_TIMEOUT = 100.0


class RestApi:
    """
    A session with a Connect cluster. Messages hold no password.

    :param name: what messages call the cluster: its connection's id.
    :param attempts: how often is asked what is not answered, or refused while the workers rebalance.
    :param pause: seconds before the second attempt, at most; each further pause may be twice as long.
    """

    def __init__(
        self, name: str, url: str, login: str = "", password: str = "", *, attempts: int = 6, pause: float = 1.0
    ) -> None:
        self._name, self._secrets = name, [password] if password else []
        self._client = httpx.Client(
            base_url=url,
            auth=httpx.BasicAuth(login, password) if login else None,
            timeout=httpx.Timeout(_TIMEOUT, connect=10.0),
            trust_env=not is_loopback(url),
        )
        self._retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(attempts),
            wait=wait_random_exponential(multiplier=pause, max=_LONGEST_PAUSE),
            before_sleep=_tell,
            reraise=True,
        )

    def ask(
        self, method: str, path: str, *, json: object = None, secrets: Iterable[str] = (), missing_is_none: bool = False
    ) -> Any:
        """
        Return the JSON of an answer, None for an empty one.

        :param secrets: what must not be repeated of what was sent.
        :param missing_is_none: whether 404 is an answer, too: None.
        :raises ConnectionLost: if Connect is not reachable.
        :raises StreamBroken: if it cannot do it at present: it rebalances, or has met an error.
        :raises AccessDenied: if it refuses the login.
        :raises PermanentError: with its message, if it refuses what is asked.
        """
        response: httpx.Response = self._retrying(self._answer, method, path, json, [*self._secrets, *secrets])
        if response.status_code == HTTPStatus.NOT_FOUND and missing_is_none:
            return None
        if not response.is_success:
            message = _message(response, [*self._secrets, *secrets])
            raise PermanentError(f"{self._name}: {method} {path} is refused ({response.status_code}): {message}")
        try:
            return response.json() if response.content else None
        except ValueError:
            raise NotConfigured(f"{self._name}: {path} is no JSON; is host the address of Kafka Connect?") from None

    def close(self) -> None:
        """End the session."""
        self._client.close()

    def _answer(self, method: str, path: str, json: object, secrets: list[str]) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=json)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise ConnectionLost(f"{self._name}: {method} {path} broke off ({type(error).__name__})") from None
        status = response.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise AccessDenied(
                f"{self._name}: {method} {path} is refused to the login ({status}); check login and password of the "
                "connection"
            )
        if status in (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS) or response.is_server_error:
            raise StreamBroken(f"{self._name}: {method} {path} answered {status}: {_message(response, secrets)}")
        return response


def url_of(id: str, parts: Mapping[str, Any]) -> str:
    """
    Return the address that an Airflow connection of type http means: host and port, or all of it in host.

    :raises NotConfigured: if there is none.
    """
    schema = (parts.get("schema") or "").lower()
    protocol = schema if schema in ("http", "https") else "https" if parts.get("conn_type") == "https" else "http"
    host = parts.get("host") or ""
    try:
        url = urlsplit(host if "://" in host else f"{protocol}://{host}")
        port = url.port or parts.get("port")
    except ValueError:
        raise NotConfigured(f"connection {id!r}: the host is no address") from None
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
        raise NotConfigured(f"connection {id!r}: set host to the address of Kafka Connect, without login and password")
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{name}{f':{port}' if port else ''}{url.path.rstrip('/')}"


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return a text in which secrets are hidden."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _message(response: httpx.Response, secrets: Iterable[str]) -> str:
    """Return what Connect says of an error, in one line."""
    try:
        said = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        said = response.reason_phrase
    return without_secrets(" ".join(said.split()), secrets)[:_LONGEST_MESSAGE]


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if state.next_action is not None:
        log.warning("%s; again in %.1f s", error, state.next_action.sleep)
