"""Airflow as the end-to-end tests have it, with every state to show, and a real Chromium that looks at it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from include import catalog
from include.connections import parse
from include.demo.postgres import CONTROL
from include.demo.screenshot import chromium, launched
from include.locks import LockSpace, Name, hold
from include.settings import PROJECT_ROOT, Settings
from tests.browser import seed
from tests.e2e.conftest import Site, site

__all__ = ["site"]

SECTIONS = {
    "coverage": "#coverage-grid td.cell[data-rows]",
    "tonight": "#nights-strip button",
    "reference": "#reference-table tr[data-rows]",
    "orders": "#plan [data-plan]",
    "cdc": "[data-replication]",
    "running": "#running li",
}
"""What each section has when it is drawn."""
SCREENSHOTS = Settings().local_dir.absolute() / "screenshots"
PASSWORD = "of-nobody-else"
_START_TIMEOUT = 120
#: Chromium on the sandbox that Airflow gives a plugin's frame.
_OF_AIRFLOW = "can escape its sandboxing"

expect.set_options(timeout=15_000)


@dataclass(frozen=True)
class Server:
    """An API server; a ``user`` where it asks for one."""

    url: str
    user: str | None = None

    def token(self) -> str:
        """Log in, and return what the UI keeps as its cookie."""
        login = {"username": self.user, "password": PASSWORD}
        with httpx.Client(base_url=self.url, timeout=30) as client:
            answer = client.post("/auth/token", json=login) if self.user else client.get("/auth/token")
            return str(answer.raise_for_status().json()["access_token"])

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5).is_success:
                    return
            assert time.monotonic() < deadline, f"{self.url} did not come up"
            time.sleep(0.2)


@dataclass
class Visitor:
    """Opens pages, and remembers what was wrong with them."""

    browser: Browser
    server: Server
    contexts: list[BrowserContext] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    #: A part of console messages that are no problem.
    expected: str | None = None

    def open(self, section: str = "coverage", query: str = "", *, theme: str | None = None, width: int = 1280) -> Page:
        """Open a section and wait until it is drawn."""
        page = self.page(theme=theme, width=width)
        page.goto(f"{self.server.url}/retail-sync/#/{section}{query}")
        page.locator(f"main[data-section-shown={section}]").wait_for()
        if not self.expected:
            page.locator(SECTIONS[section]).first.wait_for()
        return page

    def page(self, *, theme: str | None = None, width: int = 1280) -> Page:
        """Return an empty page that is logged in; the theme as Airflow remembers it."""
        context = self.browser.new_context(viewport={"width": width, "height": 800})
        self.contexts.append(context)
        context.add_cookies([{"name": "_token", "value": self.server.token(), "url": self.server.url}])
        if theme:
            # an empty document has no storage
            context.add_init_script(f"try {{ localStorage.setItem('theme', '{theme}') }} catch {{}}")
        context.on("request", self._on_request)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        return context.new_page()

    def close(self) -> None:
        """Close all pages; nothing was wrong with any."""
        for context in self.contexts:
            context.close()
        assert self.problems == []

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in (urlsplit(self.server.url).hostname, None):
            self.problems.append(f"asked another host: {request.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        is_ours = "/retail-sync/" in message.location.get("url", "") and _OF_AIRFLOW not in message.text
        if message.type in ("error", "warning") and is_ours and not (self.expected and self.expected in message.text):
            self.problems.append(message.text)


@pytest.fixture(scope="session", autouse=True)  # before Airflow is started for nothing
def browser() -> Iterator[Browser]:
    if chromium() is None:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("no Chromium here: apt-get install chromium")
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def servers(browser: Browser, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """The site's own server, one that asks who is there, and one whose warehouse is down; all tables have rows."""
    passwords = tmp_path_factory.mktemp("passwords") / "passwords.json"
    passwords.write_text(json.dumps({"ann": PASSWORD}))
    asking = {"ALL_ADMINS": "False", "USERS": "ann:viewer", "PASSWORDS_FILE": str(passwords)}
    down = {"AIRFLOW_CONN_WAREHOUSE": "postgres://loader:not-to-be-shown@127.0.0.1:1/warehouse"}
    with ExitStack() as stack:
        settings = {f"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_{name}": value for name, value in asking.items()}
        others = {
            "viewer": Server(stack.enter_context(_served(site, settings)), "ann"),
            "down": Server(stack.enter_context(_served(site, down))),
        }
        seed.seed(site)
        table = catalog.load()[seed.RUNNING]
        lock = Name(LockSpace.TABLE, f"{table.target_schema}.{table.target_table}", shared=True)
        control = parse(CONTROL, site.embedded.postgres.uri(CONTROL))
        stack.enter_context(hold(control, [lock], holder="test", wait=0))
        yield {"admin": Server(site.airflow.url), **others}


@contextmanager
def _served(site: Site, settings: dict[str, str]) -> Iterator[str]:
    """Run one more API server of the site's Airflow."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **site.airflow.environment(), "PYTHONPATH": str(PROJECT_ROOT), **settings}
    command = [str(Path(sys.executable).with_name("airflow")), "api-server", "--port", str(port), "--apps", "core"]
    with (site.embedded.local_dir / f"api-server-{port}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def visit(browser: Browser, servers: dict[str, Server]) -> Iterator[Callable[..., Visitor]]:
    """Let somebody visit a server; whatever was wrong with a page fails the test."""
    visitors: list[Visitor] = []

    def visiting(name: str = "admin", **options: Any) -> Visitor:
        servers[name].wait()
        visitors.append(Visitor(browser, servers[name], **options))
        return visitors[-1]

    yield visiting
    for visitor in visitors:
        visitor.close()


@pytest.fixture
def admin(visit: Callable[..., Visitor]) -> Visitor:
    return visit()
