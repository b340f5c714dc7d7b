"""
# Replica audit

Compares source and warehouse, day by day, and loads nothing: counts first, then checksums of all values,
then the keys of the rows that differ.

* **By schedule**: Sundays at 04:00 in the business timezone, the last 35 days up to yesterday.
* **By hand**: any `start_date` and `end_date`, both included; with `repair` the rows that differ are
  repaired as the fix check of `nightly_replica` does it, and compared again.

The report is in the log of the last task, `report`, in the warehouse as `replica_audit`, and a Parquet file
`audit/audit_<run id>.parquet` among the exports. An error in one table stops no other; `report` fails the
run if a table could not be audited or a difference was left, and names tables and days.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, TriggerRule, chain

from include import catalog
from include.replication.audit_request import DEFAULTS
from include.settings import Settings
from retail_sync.dag_parts import day_param, default_args, flag_param, tables_param, told
from retail_sync.operators.audit import AuditTableOperator, PlanAuditOperator, ReportAuditOperator

settings = Settings()
names = [table.name for table in catalog.load().group("nightly")]

with DAG(
    dag_id="replica_audit",
    description="Compares source and warehouse over any days, and reports what differs",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 4 * * 0", timezone=settings.business_timezone),
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.business_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    params={
        "start_date": day_param("First day, included"),
        "end_date": day_param("Last day, included"),
        "tables": tables_param(names),
        "repair": flag_param(DEFAULTS["repair"], "Repair the rows that differ"),
    },
    tags=["retail-sync", "audit"],
):
    plan = PlanAuditOperator(task_id="plan")
    audited = AuditTableOperator.partial(
        task_id="audit", pool=settings.source_pool, map_index_template="{{ task.table }}"
    ).expand(table=plan.output)
    report = ReportAuditOperator(task_id="report", trigger_rule=TriggerRule.ALL_DONE, **told(settings))
    chain(plan, audited, report)
