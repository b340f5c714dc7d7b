"""A session with a reporting API: who we are, what is asked, and which answers are errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from include.connections import is_loopback
from include.errors import AccessDenied, NotConfigured, ReportUnusable, TimedOut, Unanswered
from include.orders_sync.feeds.retrying import retry_after

_TIMEOUTS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT}
_PASSING = {HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY}


class ApiSession:
    """
    Logs in when it has to, and asks. Messages hold neither the password nor the token nor any content.

    :param name: what messages call the CRM: its connection's id.
    :param timeout: seconds to wait for the next bytes of an answer.
    """

    def __init__(self, name: str, base_url: str, login: str, password: str, *, login_path: str, timeout: float) -> None:
        self._name, self._login_path = name, login_path
        self._credentials = {"username": login, "password": password}
        self._token: str | None = None
        # a proxy of the environment has nothing to do with this machine
        self._client = httpx.Client(base_url=base_url, timeout=timeout, trust_env=not is_loopback(base_url))

    def get(self, path: str, params: Mapping[str, str | int]) -> Any:
        """
        Return the JSON of an answer, its numbers as text; logs in first, and once more if the token has expired.

        :raises Unanswered: if it may be answered when asked again; ``TimedOut`` if it took too long.
        :raises AccessDenied: if the login or the token is refused.
        :raises ReportUnusable: if there is no such report.
        """
        token = self._token or self._log_in()
        response = self._ask("GET", path, params=params, token=token)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            response = self._ask("GET", path, params=params, token=self._log_in())
        if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise AccessDenied(f"{self._name}: {path} is refused to the login ({response.status_code})")
        if response.status_code != HTTPStatus.OK:
            raise ReportUnusable(
                f"{self._name}: {path} answered {response.status_code}; check the connection's host and extra `paths`"
            )
        return self._json(response, path)

    def close(self) -> None:
        """End the session."""
        self._token = None
        self._client.close()

    def _log_in(self) -> str:
        self._token = None
        try:
            response = self._ask("POST", self._login_path, json=self._credentials)
        except TimedOut as error:  # smaller pages do not help a login
            raise Unanswered(str(error)) from None
        if response.status_code in _REFUSED:
            raise AccessDenied(
                f"{self._name}: the login was refused ({response.status_code}); check login and password of the "
                "connection"
            )
        if not response.is_success:
            raise NotConfigured(
                f"{self._name}: no login at {self._login_path} ({response.status_code}); check the connection's host "
                "and extra `login_path`"
            )
        answer = self._json(response, self._login_path)
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise AccessDenied(f"{self._name}: the login was answered without a token")
        self._token = token
        return token

    def _ask(self, method: str, path: str, *, token: str | None = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            response = self._client.request(method, path, headers=headers, **options)
        except httpx.ReadTimeout:
            raise TimedOut(f"{self._name}: {path} was not answered in time") from None
        except httpx.RequestError as error:
            raise Unanswered(f"{self._name}: {path} broke off ({type(error).__name__})") from None
        status = response.status_code
        told = f"{self._name}: {path} answered {status}"
        if status in _TIMEOUTS:
            raise TimedOut(told)
        if status in _PASSING or response.is_server_error:
            raise Unanswered(told, retry_after(response.headers.get("Retry-After")))
        return response

    def _json(self, response: httpx.Response, path: str) -> Any:
        try:
            return json.loads(response.content, parse_float=str, parse_int=str, parse_constant=str)
        except ValueError:
            raise Unanswered(f"{self._name}: {path} answered something that is no JSON") from None
