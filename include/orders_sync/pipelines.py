"""The pipelines: which reports of which CRM they pull, for which stores."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from include.orders_sync.reports import TD_ORDERS, TD_SALES, UC_GST, Report

#: The pipeline as which the profiler's own runs are recorded.
PROFILER = "orders_sync_run_profiler"


class SyncGroup(StrEnum):
    """The CRM that a store uses."""

    TD = "TD"
    UC = "UC"


class Scope(StrEnum):
    """Which of a pipeline's reports a run is asked for."""

    FULL = "full"
    ORDERS_ONLY = "orders_only"
    SALES_ONLY = "sales_only"


@dataclass(frozen=True)
class Pipeline:
    """
    A pipeline of the table ``pipelines``.

    :param connection: the Airflow connection of its CRM, and the pool that caps it; a store's own connection has
        ``__<store code>`` behind the name.
    :param sales: the report of payments, None where the orders' report is all there is.
    """

    code: str
    sync_group: SyncGroup
    connection: str
    orders: Report
    sales: Report | None

    def reports(self, scope: Scope) -> list[Report]:
        """Return what to pull, orders first."""
        orders = [] if scope is Scope.SALES_ONLY else [self.orders]
        return orders + ([self.sales] if self.sales and scope is not Scope.ORDERS_ONLY else [])


TD = Pipeline("td_orders_sync", SyncGroup.TD, "crm_td", TD_ORDERS, TD_SALES)
UC = Pipeline("uc_orders_sync", SyncGroup.UC, "crm_uc", UC_GST, None)

PIPELINES = {pipeline.code: pipeline for pipeline in (TD, UC)}
BY_GROUP = {pipeline.sync_group: pipeline for pipeline in PIPELINES.values()}


@dataclass(frozen=True)
class Store:
    """A row of ``store_master``; one without ``start_date`` is synced by hand only."""

    code: str
    name: str
    sync_group: SyncGroup
    cost_center: str | None
    start_date: date | None

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of the store's CRM."""
        return BY_GROUP[self.sync_group]
