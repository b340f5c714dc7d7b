"""The sections of the copied tables: coverage, nights, reference."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from include import catalog
from include.overview import coverage, days, nights, reference
from include.settings import Settings
from retail_sync.page import links
from retail_sync.page.access import AUDIT, MAINTENANCE, NIGHTLY, REFERENCE, SALES, Access, home, section
from retail_sync.page.answers import answer, not_shown, shown_dags, shown_tables
from retail_sync.page.databases import WAREHOUSE

_NIGHTS = 60

router = APIRouter()

CoverageDep = Annotated[Access, Depends(section(SALES, NIGHTLY))]
NightsDep = Annotated[Access, Depends(section(NIGHTLY, MAINTENANCE))]
ReferenceDep = Annotated[Access, Depends(section(REFERENCE))]


@router.get("/coverage")
async def get_coverage(access: CoverageDep) -> Response:
    """Return the months of the tables that are copied by windows."""
    tables = shown_tables(access)
    homes = {table.name: home(table) for table in tables}

    def work() -> Any:
        result = coverage.coverage(WAREHOUSE.engine(), tables, _today(), Settings().zone)
        for table in result["tables"]:
            table["dag"] = homes[table["name"]]
        return result

    return await answer(work, WAREHOUSE)


@router.get("/coverage/{table}/{month}")
async def get_month(table: str, month: str, access: CoverageDep) -> Response:
    """Return the windows and days of a month of a table, with links to Airflow's runs and logs."""
    found = next((shown for shown in shown_tables(access) if shown.name == table), None)
    if found is None:
        raise not_shown("table", table)
    dags = shown_dags(access, home(found), SALES, NIGHTLY, AUDIT)

    def work() -> Any:
        result = days.month(WAREHOUSE.engine(), table, month)
        links.add_log_urls(result, dags)
        return result

    return await answer(work, WAREHOUSE)


@router.get("/nights")
async def get_nights(access: NightsDep) -> Response:
    """Return the newest nights and the breaches of the newest maintenance, each to whom may read its DAG."""
    shown = {table.name for table in shown_tables(access)}
    all_shown = shown.issuperset(table.name for table in catalog.load().group("nightly"))

    def work() -> Any:
        result = nights.nights(WAREHOUSE.engine(), _today(), count=_NIGHTS)
        if not access.may_read(NIGHTLY):
            result["nights"] = []
        if not access.may_read(NIGHTLY) or not all_shown:  # sums of all tables
            result["late"] = []
        if not access.may_read(MAINTENANCE):
            result["breaches"] = []
        for night in result["nights"]:
            night["tables"] = [table for table in night["tables"] if table["name"] in shown]
        result["breaches"] = [breach for breach in result["breaches"] if breach["table"] in shown]
        links.add_run_urls(result["nights"], shown_dags(access, NIGHTLY))
        return result

    return await answer(work, WAREHOUSE)


@router.get("/reference")
async def get_reference(access: ReferenceDep) -> Response:
    """Return the tables that are refreshed whole, with links to Airflow's runs."""

    def work() -> Any:
        result = reference.reference(WAREHOUSE.engine(), shown_tables(access))
        links.add_run_urls(result["tables"], shown_dags(access, REFERENCE))
        return result

    return await answer(work, WAREHOUSE)


def _today() -> date:
    return datetime.now(Settings().zone).date()
