"""Tells Airflow that the plugin is there; everything else lives in ``retail_sync``."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class RetailSyncPlugin(AirflowPlugin):
    """
    The page ``Replication`` in the menu.

    Hooks and operators need no registering: DAG files import them from ``retail_sync``.
    """

    name = "retail_sync"
    external_views = [
        {
            "name": "Replication",
            # relative to the UI's own address, which may have a path
            "href": "retail-sync/",
            "icon": "retail-sync/static/icon.svg",
            "url_route": "replication",
            "destination": "nav",
            "nav_top_level": True,
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page's application; asked for by the API server alone, so that no task loads it."""
        from retail_sync.page.app import create_app

        return [{"name": "Retail Sync", "url_prefix": "/retail-sync", "app": create_app()}]
