"""
# CDC replication

Follows the databases of `include/cdc/replications.yaml` into the warehouse: what is there is copied, then
every change is applied as it was committed.

1. **plan** validates and says what has to be copied; `stop`, `resume` and `drop` are done here.
2. **copy**: a task a table, capped by the pool `cdc_copy`. The first one pins the position of the source's
   log, so that nothing is missed that is committed while tables are copied.
3. **swap** puts the copies in place, all in one transaction with the position of the stream.
4. **apply**: a task a replication (in Kafka Connect mode a consumer), applies what was committed up to now and
   ends. The position is saved in the transaction of the rows.
5. **health** says how each replication is, with the reasons, and fails the run if one is unhealthy.

* **By schedule**: every minute, `apply`, of what was started and is not stopped. Where no replication is
  declared, `plan` skips the rest.
* **By hand**: `action` (`start`, `stop`, `resume`, `resync`, `status`, `compare`, `drop`, `apply`), `replication`,
  for a resync `tables`, and `minutes` to follow for a while instead of up to now.

Stopping keeps the slot, and the source keeps its log for it: resume, or drop.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, Param, TriggerRule, chain

from include.cdc.request import ALL, DEFAULTS, Action
from include.settings import Settings
from retail_sync.dag_parts import default_args, told
from retail_sync.notify.health import HealthNotifier
from retail_sync.operators.cdc import (
    ApplyChangesOperator,
    CopyTableOperator,
    HealthOperator,
    PlanCdcOperator,
    SwapOperator,
)

settings = Settings()

with DAG(
    dag_id="cdc_replication",
    description="Follows other databases into the warehouse, a snapshot first",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("* * * * *", timezone=settings.business_timezone),
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.business_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    params={
        "action": Param(DEFAULTS["action"], type="string", enum=list(Action), description="What to do"),
        "replication": Param(ALL, type="string", description="One of replications.yaml, or ALL"),
        "tables": Param(
            DEFAULTS["tables"],
            type=["null", "array"],
            items={"type": "string"},
            description="Of a resync: schema.table, one a line; none for all of them",
        ),
        "minutes": Param(
            DEFAULTS["minutes"], type="number", minimum=0, description="Follow for so long; 0 ends when caught up"
        ),
    },
    tags=["retail-sync", "cdc"],
):
    plan = PlanCdcOperator(task_id="plan")
    copy = CopyTableOperator.partial(
        task_id="copy",
        pool=settings.cdc_pool,
        map_index_template="{{ task.replication }} · {{ task.table }}",
    ).expand_kwargs(plan.output)
    swap = SwapOperator(task_id="swap", trigger_rule=TriggerRule.ALL_DONE)
    apply = ApplyChangesOperator.partial(
        task_id="apply",
        # the run of the next minute is another try
        retries=1,
        map_index_template="{{ task.replication }}{% if task.consumer %} · {{ task.consumer }}{% endif %}",
    ).expand_kwargs(swap.output)
    health = HealthOperator(task_id="health", trigger_rule=TriggerRule.ALL_DONE, **told(settings, HealthNotifier))
    chain(plan, copy, swap, apply, health)
