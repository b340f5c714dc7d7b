"""What every feed can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from include.orders_sync.pipelines import Store
from include.orders_sync.reports import Report
from include.windows import Window


@dataclass(frozen=True)
class Download:
    """
    The rows of a report for a store and window.

    :param rows: a text column for each header of the report, in its order, and the rows as they came; totals and
        footers are left out.
    :param empty_confirmed: without rows: whether the source itself says that the window has none.
    """

    rows: pl.DataFrame
    empty_confirmed: bool


class Feed(Protocol):
    """A way to a CRM's reports. Sessions are kept until ``close``."""

    def fetch(self, report: Report, store: Store, window: Window) -> Download:
        """
        Return the whole report of a store for a window, or nothing of it.

        :raises TransientError: worth another try later.
        :raises PermanentError: if somebody has to act; the message names store, report and window.
        """

    def close(self) -> None:
        """End the sessions."""
