"""
# Sales replication

Replaces months of the ten sales tables in the warehouse by the source's rows: the tables one
after another, the months of a table side by side, as many as the pool `pos_source` has slots.

* **By schedule**: on the first of a month at midnight, the month that just ended.
* **By hand**: trigger with `start_date` and `end_date`, both included.
* **Backfill**: `airflow dags backfill sales_replication --start-date … --end-date …`.

A failed month does not stop the others; the last task, `verdict`, fails the run and names it.
What was copied before is compared first and loaded again only where it differs, or with `force`.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup, TriggerRule, chain

from include import catalog
from include.replication.request import DEFAULTS, OnFailure
from include.replication.verify import Verify
from include.settings import Settings
from retail_sync.assets import replica_asset
from retail_sync.dag_parts import day_param, default_args, flag_param, tables_param, told
from retail_sync.operators.plan import PlanRunOperator
from retail_sync.operators.replicate_window import ReplicateWindowOperator
from retail_sync.operators.table import CloseTableOperator, OpenTableOperator
from retail_sync.operators.verdict import VerdictOperator

settings = Settings()
tables = catalog.load().group("sales")
names = [table.name for table in tables]

with DAG(
    dag_id="sales_replication",
    description="Copies months of the ten sales tables, one table after another",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 0 1 * *", timezone=settings.business_timezone),
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.business_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    params={
        "start_date": day_param("First day, included"),
        "end_date": day_param("Last day, included"),
        "tables": tables_param(names),
        "export": flag_param(DEFAULTS["export"], "Write Parquet files too"),
        "verify": Param(DEFAULTS["verify"], type="string", enum=list(Verify), description="How to compare"),
        "on_failure": Param(
            DEFAULTS["on_failure"], type="string", enum=list(OnFailure), description="What becomes of later tables"
        ),
        "force": flag_param(DEFAULTS["force"], "Load also what is equal already"),
    },
    tags=["retail-sync", "sales"],
):
    plan = PlanRunOperator(task_id="plan")
    groups = []
    for table in tables:
        with TaskGroup(table.name) as group:
            opened = OpenTableOperator(
                task_id="open", table=table.name, pool=settings.source_pool, trigger_rule=TriggerRule.ALL_DONE
            )
            months = ReplicateWindowOperator.partial(
                task_id="months",
                table=table.name,
                pool=settings.source_pool,
                map_index_template="{{ task.window_name }}",
            ).expand(window=opened.output)
            closed = CloseTableOperator(
                task_id="close", table=table.name, pool=settings.source_pool, outlets=[replica_asset(table)]
            )
            chain(opened, months, closed)
        groups.append(group)
    verdict = VerdictOperator(task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, **told(settings))
    chain(plan, *groups, verdict)
