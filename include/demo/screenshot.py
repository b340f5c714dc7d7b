"""A picture of the page ``Replication`` as a running Airflow shows it, by the Chromium of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import ConnectionLost, NotConfigured

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Error

    from include.demo.airflow import LocalAirflow

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WIDTH, _HEIGHT = 1280, 720
_TIMEOUT_MS = 30_000
_MISSING = "no Chromium here: install it, on Debian `apt-get install chromium`"


def chromium() -> str | None:
    """Return the path of this machine's Chromium, None where there is none; nothing is ever downloaded."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """
    Lend a headless Chromium.

    :raises NotConfigured: where Chromium or Playwright is missing, naming the remedy, or does not start.
    """
    path = chromium()
    if path is None:
        raise NotConfigured(_MISSING)
    try:
        from playwright.sync_api import Error, sync_playwright
    except ModuleNotFoundError:
        raise NotConfigured("Playwright is missing: run `make setup`") from None
    with sync_playwright() as playwright:
        # Chromium refuses to start as root with its sandbox
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        try:
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
        except Error as error:
            raise NotConfigured(f"{path} does not start: {_line(error)}") from error
        try:
            yield browser
        finally:
            browser.close()


def take(airflow: LocalAirflow, file: Path) -> None:
    """
    Write a PNG of the page's coverage, 1280 pixels wide, as it is inside Airflow's own.

    :param airflow: one that asks for no password, with something copied.
    :raises NotConfigured: naming the remedy, where Chromium or Playwright is missing.
    :raises ConnectionLost: if the page does not come up.
    """
    with launched() as browser:
        from playwright.sync_api import Error

        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
        page.set_default_timeout(_TIMEOUT_MS)
        try:
            page.goto(airflow.page)
            page.frame_locator("iframe").locator("#coverage-grid td.cell[data-rows]").first.wait_for()
            page.screenshot(path=file)
        except Error as error:
            raise ConnectionLost(f"the page did not come up: {_line(error)}") from error


def _line(error: Error) -> str:
    return error.message.splitlines()[0]
