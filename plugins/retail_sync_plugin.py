"""Tells Airflow that the plugin is there; everything else lives in ``retail_sync``."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class RetailSyncPlugin(AirflowPlugin):
    """Hooks and operators need no registering: DAG files import them from ``retail_sync``."""

    name = "retail_sync"
