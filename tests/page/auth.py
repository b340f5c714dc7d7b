"""Airflow's simple auth manager with rights a DAG, which it does not have itself."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: The DAGs that a user may read; whoever is not named may read all.
ONLY = {
    "nightly": {"nightly_replica", "td_orders_sync"},
    "sales": {"sales_replication"},
    "nobody": {"a_dag_of_others"},
}


class PickyAuthManager(SimpleAuthManager):
    def is_authorized_dag(self, *, user: Any, details: Any = None, **arguments: Any) -> bool:
        allowed = ONLY.get(user.username)
        if allowed is not None and (details is None or details.id not in allowed):
            return False
        return super().is_authorized_dag(user=user, details=details, **arguments)
