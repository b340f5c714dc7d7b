"""
# Reference tables

Replaces the tables that are refreshed whole (items, stock, customers, stores and the like), the smallest
first, so that a broken link shows early. A reader sees the old table or the new one.

* **By schedule**: daily at 01:00 in the business timezone. A table that was not touched at the source
  (rows and rowversions as in the copy) is recorded as `unchanged` and not read.
* **By hand**: `tables`; `force` loads also what is unchanged; with `full_table` off, `start_date` and
  `end_date` replace only these days of the tables that have a date, the others whole.

A table that the source does not have is recorded as `not_exposed` and warned about. One that is empty at
the source and not in the copy fails, unless `allow_empty` says that this is right.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, TriggerRule, chain

from include import catalog
from include.replication.refresh import DEFAULTS
from include.settings import Settings
from retail_sync.dag_parts import day_param, default_args, flag_param, tables_param, told
from retail_sync.operators.refresh import PlanRefreshOperator, RefreshTableOperator
from retail_sync.operators.verdict import VerdictOperator

settings = Settings()
names = [table.name for table in catalog.load().group("reference")]

with DAG(
    dag_id="reference_tables",
    description="Replaces the reference tables, each as a whole",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 1 * * *", timezone=settings.business_timezone),
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.business_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    params={
        "tables": tables_param(names),
        "full_table": flag_param(DEFAULTS["full_table"], "Whole tables, not some days"),
        "start_date": day_param("First day, included"),
        "end_date": day_param("Last day, included"),
        "allow_empty": flag_param(DEFAULTS["allow_empty"], "An empty source may empty the copy"),
        "force": flag_param(DEFAULTS["force"], "Load also what is unchanged"),
        "export": flag_param(DEFAULTS["export"], "Write Parquet files too"),
    },
    tags=["retail-sync", "reference"],
):
    plan = PlanRefreshOperator(task_id="plan")
    tables = RefreshTableOperator.partial(
        task_id="refresh", pool=settings.source_pool, map_index_template="{{ task.table }}"
    ).expand(table=plan.output)
    verdict = VerdictOperator(
        task_id="verdict", run_type="reference", trigger_rule=TriggerRule.ALL_DONE, **told(settings)
    )
    chain(plan, tables, verdict)
