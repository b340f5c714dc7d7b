"""
# TD orders sync

Pulls orders and sales of TD stores for days that you name: `from_date` to `to_date`, both included; by default the
last 90 days up to `to_date`, or today. Nobody needs it for the nightly work: `orders_sync_profiler` finds what is
missing by itself, also after this run.

`orders_only` or `sales_only` pull one of the two reports; a day counts as done when both were.

A task a store runs its windows one after another under the store's lock, and fails if another run holds that to
the last try; `close` records the run, and fails it if a window failed.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, Param, chain

from include.orders_sync.pipelines import TD
from include.orders_sync.request import SYNC_DEFAULTS
from include.settings import Settings
from retail_sync.dag_parts import close_orders_sync, day_param, default_args, flag_param, text_param
from retail_sync.operators.orders import PlanSyncOperator, SyncStoreOperator

settings = Settings()

with DAG(
    dag_id=TD.code,
    description="Pulls orders and sales of TD stores for days that you name",
    doc_md=__doc__,
    schedule=None,
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.pipeline_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    params={
        "store_codes": Param([], type="array", items={"type": "string"}, description="Codes of stores, one a line"),
        "from_date": day_param("First day, included; 89 days before the last by default"),
        "to_date": day_param("Last day, included; today by default"),
        "run_env": text_param("What the log calls this deployment; by default the setting"),
        "orders_only": flag_param(SYNC_DEFAULTS["orders_only"], "Not the sales; covers no day"),
        "sales_only": flag_param(SYNC_DEFAULTS["sales_only"], "Not the orders; covers no day"),
    },
    tags=["retail-sync", "orders"],
):
    plan = PlanSyncOperator(task_id="plan", pipeline=TD.code)
    stores = SyncStoreOperator.partial(
        task_id="store",
        pipeline=TD.code,
        by_hand=True,
        pool=TD.connection,
        max_active_tis_per_dagrun=settings.crm_max_workers,
        map_index_template="{{ task.title }}",
    ).expand_kwargs(plan.output)
    chain(plan, stores, close_orders_sync(settings))
