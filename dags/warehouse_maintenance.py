"""
# Warehouse maintenance

What reports need after a nightly run, for every table of the catalog that has a replica:

* **upkeep**: the declared indexes, the views `vw_<table>` with typed dates and times, statistics.
  Each table is held for itself meanwhile: nothing is loaded into it.
* **dimensions**: rows and a hash of each table that is refreshed whole, in `dimension_refresh_audit`.
* **quality**: metrics in `data_quality_metrics`. What is over its threshold is a warning, or fails
  the run at its end, as the catalog says.

Runs after each nightly run; by hand with `tables` and `date`, the last day that is measured. An
error in one table stops no other; the last task, `quality`, fails the run and names it.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, TriggerRule, chain

from include import catalog
from include.maintenance.request import Step, maintained
from include.settings import Settings
from retail_sync.assets import NIGHTLY
from retail_sync.dag_parts import day_param, default_args, tables_param, told
from retail_sync.operators.maintain import MaintainOperator, PlanMaintenanceOperator

settings = Settings()
names = [table.name for table in maintained(catalog.load())]

with DAG(
    dag_id="warehouse_maintenance",
    description="Indexes, typed views, statistics, audit and quality of the replica",
    doc_md=__doc__,
    schedule=[NIGHTLY],
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.business_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    params={
        "tables": tables_param(names),
        "date": day_param("Last day of which the quality is measured; the last nightly run's by default"),
    },
    tags=["retail-sync", "maintenance"],
):
    plan = PlanMaintenanceOperator(task_id="plan")
    upkeep = MaintainOperator(task_id="upkeep", step=Step.UPKEEP)
    dimensions = MaintainOperator(task_id="dimensions", step=Step.DIMENSIONS, trigger_rule=TriggerRule.ALL_DONE)
    quality = MaintainOperator(
        task_id="quality",
        step=Step.QUALITY,
        after=["upkeep", "dimensions"],
        trigger_rule=TriggerRule.ALL_DONE,
        **told(settings),
    )
    chain(plan, upkeep, dimensions, quality)
