"""The sections of the orders sync: stores by weeks, the windows of one, and the profiler's plan."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from include.orders_sync.pipelines import PIPELINES
from include.overview import orders
from include.settings import Settings
from retail_sync.page import links
from retail_sync.page.access import PROFILER, Access, section
from retail_sync.page.answers import answer, not_shown, shown_dags
from retail_sync.page.databases import CONTROL

router = APIRouter(prefix="/orders")

OrdersDep = Annotated[Access, Depends(section(*PIPELINES))]
PlanDep = Annotated[Access, Depends(section(PROFILER))]


@router.get("")
async def get_orders(access: OrdersDep) -> Response:
    """Return the weeks of the stores of the pipelines that the user may read."""

    def work() -> Any:
        with CONTROL.session() as session:
            result = orders.orders(session, _now().date())
        result["stores"] = [store for store in result["stores"] if store["pipeline"] in access.readable]
        result["counts"] = Counter("".join(store["cells"] for store in result["stores"]))
        return result

    return await answer(work, CONTROL)


@router.get("/plan")
async def get_plan(access: PlanDep) -> Response:
    """Return what the profiler would run now, as ``plan-orders`` says it."""

    def work() -> Any:
        with CONTROL.session() as session:
            result = orders.plan(session, _now())
        if not access.readable.issuperset(PIPELINES):
            result["plans"] = [plan for plan in result["plans"] if plan["pipeline"] in access.readable]
            windows = sum(len(plan["windows"]) for plan in result["plans"])
            # the reasons and the text are of all pipelines
            result["totals"] = {"windows": windows, "stores": sum(plan["due"] for plan in result["plans"])}
        return result

    return await answer(work, CONTROL)


@router.get("/{pipeline}/{store}")
async def get_store(pipeline: str, store: str, access: OrdersDep) -> Response:
    """Return the windows of a store, with links to Airflow's runs."""
    if pipeline not in access.pipelines():
        raise not_shown("pipeline", pipeline)

    def work() -> Any:
        with CONTROL.session() as session:
            result = orders.windows(session, pipeline, store)
        links.add_run_urls(result["windows"], shown_dags(access, PROFILER, pipeline))
        return result

    return await answer(work, CONTROL)


def _now() -> datetime:
    return datetime.now(Settings().pipeline_zone)
