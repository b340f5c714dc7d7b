"""The way to a CRM by its Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from include.orders_sync.crm import CrmConnection
    from include.orders_sync.feeds.base import Feed
    from include.orders_sync.pipelines import Store


class CrmHook(BaseHook):
    """
    Opens the reports of a store: by the store's own connection, else by that of its CRM.

    :param zone: the pipeline's timezone.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        super().__init__()
        self.zone = zone

    def get_feed(self, store: Store) -> Feed:
        """
        Return the feed of a store.

        :raises NotConfigured: naming both connections, where neither is there.
        """
        from include.orders_sync.crm import feed_of, find_crm

        return feed_of(find_crm(store.pipeline, store.code, self._lookup), self.zone)

    def _lookup(self, conn_id: str) -> CrmConnection | None:
        from include.orders_sync.crm import CrmConnection

        try:
            found = self.get_connection(conn_id)
        except AirflowNotFoundException:
            return None
        return CrmConnection.of(
            conn_id,
            conn_type=found.conn_type or "",
            host=found.host,
            port=found.port,
            schema=found.schema,
            login=found.login,
            password=found.password,
            extra=found.extra_dejson,
        )
