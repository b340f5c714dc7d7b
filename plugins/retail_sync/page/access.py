"""Who may see and do what: the rights on our DAGs, as Airflow's auth manager has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, status

from include.catalog import Table
from include.orders_sync.pipelines import PIPELINES

SALES = "sales_replication"
NIGHTLY = "nightly_replica"
REFERENCE = "reference_tables"
AUDIT = "replica_audit"
MAINTENANCE = "warehouse_maintenance"
PROFILER = "orders_sync_profiler"
CDC = "cdc_replication"
DIGEST = "daily_digest"

#: Every DAG of the project; a pipeline's has the pipeline's name.
DAGS = (SALES, NIGHTLY, REFERENCE, AUDIT, MAINTENANCE, PROFILER, *PIPELINES, CDC, DIGEST)


@dataclass(frozen=True)
class Access:
    """
    What a user may do with our DAGs.

    :param readable: the DAGs that the user may read.
    """

    user: BaseUser
    readable: frozenset[str]
    teams: dict[str, str | None]

    def may_read(self, *dags: str) -> bool:
        """Whether the user may read any of the DAGs."""
        return not self.readable.isdisjoint(dags)

    def may_trigger(self, dag: str) -> bool:
        """Whether Airflow would take a run of the DAG from the user."""
        details = DagDetails(id=dag, team_name=self.teams.get(dag))
        return get_auth_manager().is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=details, user=self.user
        )

    def tables(self, tables: Iterable[Table]) -> list[Table]:
        """Return the tables whose DAG the user may read."""
        return [table for table in tables if home(table) in self.readable]

    def pipelines(self) -> list[str]:
        """Return the pipelines of the orders sync whose DAG the user may read."""
        return [code for code in PIPELINES if code in self.readable]


def home(table: Table) -> str:
    """Return the DAG to which a table belongs: the one that copies it whole, or month by month."""
    if "sales" in table.groups:
        return SALES
    return NIGHTLY if "nightly" in table.groups else REFERENCE


def access(user: GetUserDep) -> Access:
    """Return what the user may do; whoever is not logged in gets 401."""
    manager: Any = get_auth_manager()
    teams = DagModel.get_dag_id_to_team_name_mapping(list(DAGS))
    by_team: dict[str | None, set[str]] = {}
    for dag in DAGS:
        by_team.setdefault(teams.get(dag), set()).add(dag)
    readable = {
        dag
        for team, dags in by_team.items()
        for dag in manager.filter_authorized_dag_ids(dag_ids=dags, user=user, method="GET", team_name=team)
    }
    return Access(user, frozenset(readable), teams)


AccessDep = Annotated[Access, Depends(access)]


def section(*dags: str) -> Callable[[Access], Access]:
    """Return the check of a section: whoever may read none of its DAGs gets 403."""

    def check(access: AccessDep) -> Access:
        if not access.may_read(*dags):
            raise HTTPException(status.HTTP_403_FORBIDDEN, f"needs read access to {' or '.join(dags)}")
        return access

    return check
