"""All that the page asks for as JSON: what a user may see of what the project's tables say."""

from __future__ import annotations

from typing import Annotated, Any

from airflow.api_fastapi.app import API_ROOT_PATH
from fastapi import APIRouter, Depends, Response

from include import catalog
from include.cdc.loader import load as load_replications
from include.overview import replications, running
from include.settings import Settings
from retail_sync.page import copies, links, syncs
from retail_sync.page.access import CDC, DAGS, Access, AccessDep, section
from retail_sync.page.answers import answer, shown_dags, shown_tables
from retail_sync.page.databases import CONTROL, WAREHOUSE
from retail_sync.page.engines import Down

#: The path prefix of Airflow's UI: empty, or such as ``/airflow``.
BASE = API_ROOT_PATH.rstrip("/")

CdcDep = Annotated[Access, Depends(section(CDC))]
AnyDep = Annotated[Access, Depends(section(*DAGS))]

router = APIRouter(prefix="/api")
router.include_router(copies.router)
router.include_router(syncs.router)


@router.get("/me")
def get_me(access: AccessDep) -> dict[str, Any]:
    """Return who asks, and what they may do."""
    return {
        "user": access.user.get_name(),
        "dags": {dag: {"read": dag in access.readable, "trigger": access.may_trigger(dag)} for dag in DAGS},
        "zone": Settings().business_timezone,
        "base": BASE,
    }


@router.get("/cdc")
async def get_cdc(_access: CdcDep) -> Response:
    """Return the followed databases."""

    def work() -> Any:
        return replications.replications(WAREHOUSE.engine(), load_replications(Settings().cdc_file))

    return await answer(work, WAREHOUSE)


@router.get("/running")
async def get_running(access: AnyDep) -> Response:
    """Return what runs now, each to whom may read its DAG and its table's; ``down`` names a database that is."""
    hidden = {table.name for table in catalog.load()} - {table.name for table in shown_tables(access)}

    def work() -> Any:
        result = _running()
        shown = [item for item in result["items"] if item["dag"] in access.readable and item["table"] not in hidden]
        links.add_run_urls(shown, shown_dags(access, *DAGS))
        return {**result, "items": shown}

    return await answer(work, WAREHOUSE, CONTROL)


def _running() -> dict[str, Any]:
    try:
        with CONTROL.session() as session:
            return running.running(WAREHOUSE.engine(), session)
    except Down as down:
        if down.database == WAREHOUSE.name:
            raise
        return {**running.running(WAREHOUSE.engine(), None), "down": down.database, "detail": down.detail}
