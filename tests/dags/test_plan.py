"""How a run's dates are decided, from what Airflow says about the run."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

OCTOBER = (datetime(2025, 9, 30, 16, tzinfo=UTC), datetime(2025, 10, 31, 16, tzinfo=UTC))


def planned(run_type: str, conf: dict[str, Any] | None = None, interval: Any = (None, None)) -> dict[str, Any]:
    from airflow.sdk.api.datamodels._generated import DagRunType

    from include.replication.request import DEFAULTS
    from retail_sync.operators.plan import PlanRunOperator

    dag_run = SimpleNamespace(
        conf=conf,
        run_type=DagRunType(run_type),
        data_interval_start=interval[0],
        data_interval_end=interval[1],
        run_after=datetime(2025, 11, 30, 16, 30, tzinfo=UTC),
    )
    context: Any = {"dag_run": dag_run, "params": {**DEFAULTS, **(conf or {})}}
    return PlanRunOperator(task_id="plan").execute(context)


def refusal(*arguments: Any) -> str:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException) as refused:
        planned(*arguments)
    return str(refused.value)


def test_a_scheduled_run_takes_its_data_interval_in_business_days() -> None:
    assert planned("scheduled", interval=OCTOBER)["windows"] == ["2025-10-01/2025-11-01"]


def test_a_backfill_takes_its_data_interval() -> None:
    assert planned("backfill", {"tables": ["APP_4_VOUCHER"]}, OCTOBER)["windows"] == ["2025-10-01/2025-11-01"]


def test_a_manual_run_takes_its_params_before_its_data_interval() -> None:
    conf = {"start_date": "2025-07-31", "end_date": "2025-08-31"}

    assert planned("manual", conf, OCTOBER)["windows"] == ["2025-07-31/2025-08-01", "2025-08-01/2025-09-01"]


def test_a_manual_run_without_dates_takes_its_data_interval() -> None:
    assert planned("manual", {}, OCTOBER)["windows"] == ["2025-10-01/2025-11-01"]


def test_without_dates_or_interval_the_month_before_the_run_is_meant_in_business_time() -> None:
    # 16:30 UTC of November 30th is December 1st in Kuala Lumpur
    assert planned("manual")["windows"] == ["2025-11-01/2025-12-01"]


@pytest.mark.parametrize("run_type", ["backfill", "scheduled", "asset_triggered"])
def test_dates_are_refused_where_the_interval_says_them(run_type: str) -> None:
    conf = {"start_date": "2025-10-01", "end_date": "2025-10-31"}

    assert f"not for a {run_type} run" in refusal(run_type, conf, OCTOBER)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"start_date": "2025-10-01"}, "start_date without end_date"),
        ({"end_date": "2025-10-01"}, "end_date without start_date"),
        ({"start_date": "2025-10-02", "end_date": "2025-10-01"}, "is after end_date"),
        ({"start_date": "2025-10-01", "end_date": "2999-01-01"}, "is in the future"),
        ({"start_dat": "2025-10-01"}, "unknown parameters: start_dat"),
        ({"start_date": "2025-02-30", "end_date": "2025-03-01"}, "start_date: not a date"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(conf: dict[str, Any], message: str) -> None:
    assert message in refusal("manual", conf, OCTOBER)
