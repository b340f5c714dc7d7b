"""
# Orders sync profiler

Every two hours in the pipeline's timezone: reads `orders_sync_log`, decides for each store which days are
missing or due, and pulls them from the store's CRM.

1. **open** records the run in `pipeline_run_summaries`, and closes one that died.
2. **td**, **uc**: `plan` decides; then a task a store, `TD · A123 · 3 windows`, runs the windows of the
   store one after another, oldest first, under the store's lock. The pools `crm_td` and `crm_uc` cap each CRM.
3. **close** records what became of each window, and fails the run if one failed.

A window that failed stops the later ones of its store in this run, but not the one of today unless it holds days
of an earlier success; the next run plans again what is missing. A store that another run holds is skipped. Another
try, or a clear, of a store goes on where the log says; a clear from `open` plans anew. By hand the same, with
`sync_group`, `store_code`, `window_days`, `overlap_days`, `max_workers`, `force` (every day from the store's
start) and `run_env`.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, Param, TaskGroup, chain

from include.orders_sync.pipelines import PIPELINES, SyncGroup
from include.orders_sync.request import PROFILE_DEFAULTS
from include.settings import Settings
from retail_sync.dag_parts import close_orders_sync, default_args, flag_param, text_param
from retail_sync.operators.orders import OpenProfilerOperator, PlanStoresOperator, SyncStoreOperator

settings = Settings()

with DAG(
    dag_id="orders_sync_profiler",
    description="Pulls from the CRMs what each store lacks or is due",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 */2 * * *", timezone=settings.pipeline_timezone),
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.pipeline_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    params={
        "sync_group": Param("ALL", type="string", enum=["ALL", *SyncGroup], description="Stores of which CRM"),
        "window_days": Param(PROFILE_DEFAULTS["window_days"], type="integer", minimum=1, description="Days at once"),
        "overlap_days": Param(
            PROFILE_DEFAULTS["overlap_days"], type="integer", minimum=0, description="Days of success that run again"
        ),
        "max_workers": Param(
            settings.crm_max_workers,
            type="integer",
            minimum=1,
            maximum=settings.crm_max_workers,
            description="Stores at once",
        ),
        "force": flag_param(PROFILE_DEFAULTS["force"], "Every day from the store's start, whatever the log says"),
        "store_code": text_param("Only this store"),
        "run_env": text_param("What the log calls this deployment; by default the setting"),
    },
    tags=["retail-sync", "orders"],
):
    begin = OpenProfilerOperator(task_id="open")
    close = close_orders_sync(settings)
    for pipeline in PIPELINES.values():
        with TaskGroup(pipeline.sync_group.lower()):
            plan = PlanStoresOperator(task_id="plan", pipeline=pipeline.code)
            stores = SyncStoreOperator.partial(
                task_id="store",
                pipeline=pipeline.code,
                pool=pipeline.connection,
                max_active_tis_per_dagrun=settings.crm_max_workers,
                map_index_template="{{ task.title }}",
            ).expand_kwargs(plan.output)
        chain(begin, plan, stores, close)
