"""Reports of a CRM's paged JSON API."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from include.errors import NotConfigured, RetailSyncError, TimedOut
from include.orders_sync.feeds.base import Download
from include.orders_sync.feeds.http import ApiSession
from include.orders_sync.feeds.pages import Pages
from include.orders_sync.feeds.retrying import until_answered, until_unchanged
from include.orders_sync.pipelines import Store
from include.orders_sync.reports import TD_ORDERS, TD_SALES, UC_GST, Report
from include.windows import Window

if TYPE_CHECKING:
    from include.orders_sync.crm import CrmConnection

log = logging.getLogger(__name__)

#: Rows a page; the next where a page takes too long.
PAGE_SIZES = (500, 250, 100)
PATHS = {TD_ORDERS.code: "/reports/orders", TD_SALES.code: "/reports/sales", UC_GST.code: "/reports/gst"}
LOGIN_PATH = "/login"


class ApiFeed:
    """
    A reporting API, by one session that keeps its token and the size of pages that it can deliver.

    :param attempts: how often a page is asked for that is not answered.
    :param pause: seconds before the second attempt, at most; each further pause may be twice as long.
    """

    def __init__(
        self, session: ApiSession, *, paths: Mapping[str, str] | None = None, attempts: int = 5, pause: float = 1.0
    ) -> None:
        self._session, self._paths = session, {**PATHS, **(paths or {})}
        self._attempts, self._pause = attempts, pause
        self._sizes = list(PAGE_SIZES)

    @classmethod
    def of(cls, connection: CrmConnection) -> ApiFeed:
        """
        Return the feed of an HTTP connection; its extra may hold ``paths`` (path by report), ``login_path``,
        ``timeout``, ``attempts`` and ``pause``.

        :raises NotConfigured: if host or extra cannot be read.
        """
        extra = connection.extra
        try:
            session = ApiSession(
                connection.id,
                connection.base_url,
                connection.login,
                connection.password,
                login_path=str(extra.get("login_path", LOGIN_PATH)),
                timeout=float(extra.get("timeout", 60.0)),
            )
            return cls(
                session,
                paths=dict(extra.get("paths") or {}),
                attempts=int(extra.get("attempts", 5)),
                pause=float(extra.get("pause", 1.0)),
            )
        except (TypeError, ValueError):
            raise NotConfigured(
                f"connection {connection.id!r}: extra timeout, attempts and pause are numbers, paths a path by report"
            ) from None

    def fetch(self, report: Report, store: Store, window: Window) -> Download:
        """Return the whole report; it is read again from page 1 if its pages do not fit together."""
        download: Download = until_unchanged(self._pause)(self._read, report, store, window, set())
        log.info("store %s: %s of %s has %d rows", store.code, report.code, window.name, download.rows.height)
        return download

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def _read(self, report: Report, store: Store, window: Window, earlier: set[bytes]) -> Download:
        """Read all pages once; from the first again, with fewer rows each, if they take too long."""
        with _named(report, store, window):
            while True:
                try:
                    return self._read_pages(Pages(report, window, self._sizes[0], earlier), store)
                except TimedOut as error:
                    if len(self._sizes) == 1:
                        raise
                    del self._sizes[0]
                    log.warning("%s; from now on with %d rows a page", error, self._sizes[0])

    def _read_pages(self, pages: Pages, store: Store) -> Download:
        retrying = until_answered(self._attempts, self._pause, give_up=self._asks_for_less)
        while pages.frame is None:
            params: dict[str, str | int] = {
                "storeCode": store.code,
                "startDate": pages.window.start.isoformat(),
                "endDate": pages.window.last_day.isoformat(),
                "page": pages.next_number,
                "pageSize": pages.size,
            }
            pages.add(retrying(self._session.get, self._paths[pages.report.code], params))
        return Download(pages.frame, empty_confirmed=pages.frame.is_empty() and pages.total == 0)

    def _asks_for_less(self, error: BaseException) -> bool:
        return isinstance(error, TimedOut) and len(self._sizes) > 1


@contextmanager
def _named(report: Report, store: Store, window: Window) -> Iterator[None]:
    """Put store, report and window in front of what went wrong."""
    try:
        yield
    except RetailSyncError as error:
        error.args = (f"store {store.code}: {report.code} of {window.name}: {error}",)
        raise
