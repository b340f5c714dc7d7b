"""
# Daily digest

At 07:00 in the business timezone, or at the time that `RETAIL_SYNC_DIGEST_TIME` says: what the runs of the last
day loaded and repaired, what failed or came late, which quality metrics are over their thresholds, which months
of tables and weeks of stores are missing or failed, and which followed databases are unwell.

It goes by mail to `RETAIL_SYNC_NOTIFY` and to the webhook of `RETAIL_SYNC_NOTIFY_WEBHOOK`, and is in the log of
the task. Nothing is sent where nothing happened. By hand it tells of the last 24 hours.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, CronDataIntervalTimetable

from include.settings import Settings
from retail_sync.dag_parts import default_args
from retail_sync.operators.digest import DigestOperator

settings = Settings()

with DAG(
    dag_id="daily_digest",
    description="Tells what the last day was",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(
        f"{settings.digest_time.minute} {settings.digest_time.hour} * * *", timezone=settings.business_timezone
    ),
    start_date=pendulum.datetime(2018, 1, 1, tz=settings.business_timezone),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(settings),
    tags=["retail-sync"],
):
    DigestOperator(task_id="digest")
