"""
# Nightly replica

Daily at 02:00 in the business timezone, for the tables of the group `nightly`:

1. **load** (T-0): yesterday's rows, by the window replication of `sales_replication`.
2. **fix** (T-1): the day before, or `fix_days` of them, is compared with the source, and the rows that
   differ are repaired one by one: late fixes, voids, deletions, rows whose date moved.
3. **sweep**: rows that changed since the last sweep, whatever their date.
4. **record**: the run goes into `replica_run_history`; `warehouse_maintenance` begins.

By hand with `date`, or `start` and `end` (both included). `check_fixes_only` loads nothing and checks the
named days themselves. An error in one table stops no other; the last task, `verdict`, fails the run
and names it. Who gets messages is told of a scheduled run that is not done by 05:00, or by the time that
`RETAIL_SYNC_NIGHTLY_DEADLINE` says.
"""

from __future__ import annotations

from datetime import time

import pendulum
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TriggerRule, chain

from include import catalog
from include.replication.nightly import DEFAULTS, MOST_FIX_DAYS
from include.replication.progress import Phase
from include.settings import Settings
from retail_sync.assets import NIGHTLY
from retail_sync.dag_parts import day_param, default_args, done_by, flag_param, tables_param, told
from retail_sync.operators.nightly import NightlyPhaseOperator, PlanNightlyOperator, RecordNightlyOperator
from retail_sync.operators.verdict import VerdictOperator

settings = Settings()
names = [table.name for table in catalog.load().group("nightly")]


with DAG(
    dag_id="nightly_replica",
    description="Loads yesterday, repairs the day before, and sweeps what changed late",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone=settings.business_timezone),
    deadline=done_by(settings, settings.nightly_deadline, begins=time(2)),
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.business_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    params={
        "date": day_param("The day to load; yesterday where no day is named"),
        "start": day_param("First day to load, included"),
        "end": day_param("Last day to load, included"),
        "check_fixes_only": flag_param(DEFAULTS["check_fixes_only"], "Load nothing, check the named days"),
        "fix_days": Param(
            DEFAULTS["fix_days"], type="integer", minimum=1, maximum=MOST_FIX_DAYS, description="Days to check"
        ),
        "tables": tables_param(names),
        "sweep": flag_param(DEFAULTS["sweep"], "Fetch what changed late, whatever its date"),
        "export": flag_param(DEFAULTS["export"], "Write Parquet files of what is loaded too"),
    },
    tags=["retail-sync", "nightly"],
):
    plan = PlanNightlyOperator(task_id="plan")
    phases = [
        NightlyPhaseOperator.partial(
            task_id=phase.value,
            phase=phase,
            pool=settings.source_pool,
            trigger_rule=TriggerRule.ALL_DONE,
            map_index_template="{{ task.table }}",
        ).expand(table=plan.output)
        for phase in Phase
    ]
    record = RecordNightlyOperator(task_id="record", outlets=[NIGHTLY], trigger_rule=TriggerRule.ALL_DONE)
    verdict = VerdictOperator(task_id="verdict", run_type=None, trigger_rule=TriggerRule.ALL_DONE, **told(settings))
    chain(plan, *phases, record, verdict)
