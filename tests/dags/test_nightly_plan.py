"""How the days of a nightly run are decided, from what Airflow says about the run."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

#: The run at two in the night of November 1st in Kuala Lumpur: its interval began a day before.
NIGHT = (datetime(2025, 10, 30, 18, tzinfo=UTC), datetime(2025, 10, 31, 18, tzinfo=UTC))


def plan(run_type: str, conf: dict[str, Any] | None, interval: Any, run_after: datetime) -> tuple[list[str], Any]:
    from airflow.sdk.api.datamodels._generated import DagRunType

    from include.replication.nightly import DEFAULTS
    from retail_sync.operators.nightly import PlanNightlyOperator

    pushed: dict[str, Any] = {}
    dag_run = SimpleNamespace(
        conf=conf,
        run_type=DagRunType(run_type),
        data_interval_start=interval[0],
        data_interval_end=interval[1],
        run_after=run_after,
    )
    instance = SimpleNamespace(xcom_push=lambda key, value: pushed.__setitem__(key, value))
    context: Any = {"dag_run": dag_run, "ti": instance, "params": {**DEFAULTS, **(conf or {})}}
    tables = PlanNightlyOperator(task_id="plan").execute(context)
    assert list(pushed) == ["request"]
    assert pushed["request"]["tables"] == tables
    return tables, pushed["request"]


# 16:30 UTC of November 9th is November 10th in Kuala Lumpur
def planned(
    run_type: str,
    conf: dict[str, Any] | None = None,
    interval: Any = (None, None),
    run_after: datetime = datetime(2025, 11, 9, 16, 30, tzinfo=UTC),
) -> tuple[str | None, str]:
    """Return what is loaded, and what is checked."""
    _, request = plan(run_type, conf, interval, run_after)
    return request["load"], request["fix"]


def refusal(*arguments: Any) -> str:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException) as refused:
        planned(*arguments)
    return str(refused.value)


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_run_of_the_schedule_loads_the_day_on_which_its_interval_begins(run_type: str) -> None:
    assert planned(run_type, None, NIGHT) == ("2025-10-31/2025-11-01", "2025-10-30/2025-10-31")


def test_a_backfill_takes_other_parameters_than_days() -> None:
    conf = {"tables": ["APP_4_VOUCHER"], "fix_days": 3}
    tables, request = plan("backfill", conf, NIGHT, NIGHT[1])

    assert tables == ["APP_4_VOUCHER"]
    assert (request["load"], request["fix"]) == ("2025-10-31/2025-11-01", "2025-10-28/2025-10-31")


def test_a_manual_run_loads_the_day_of_its_params() -> None:
    assert planned("manual", {"date": "2025-07-31"}, NIGHT) == ("2025-07-31/2025-08-01", "2025-07-30/2025-07-31")


def test_a_manual_run_loads_the_range_of_its_params() -> None:
    conf = {"start": "2025-07-31", "end": "2025-08-02"}

    assert planned("manual", conf, NIGHT) == ("2025-07-31/2025-08-03", "2025-07-30/2025-07-31")


@pytest.mark.parametrize("interval", [(None, None), NIGHT], ids=["no interval", "interval"])
def test_a_manual_run_without_days_loads_the_day_before_it_in_business_time(interval: Any) -> None:
    assert planned("manual", {}, interval) == ("2025-11-09/2025-11-10", "2025-11-08/2025-11-09")


def test_before_the_business_midnight_the_day_before_is_one_earlier() -> None:
    late = datetime(2025, 11, 9, 15, 59, tzinfo=UTC)

    assert planned("manual", {}, (None, None), late)[0] == "2025-11-08/2025-11-09"


def test_check_fixes_only_loads_nothing() -> None:
    conf = {"date": "2025-07-31", "check_fixes_only": True}

    assert planned("manual", conf) == (None, "2025-07-31/2025-08-01")


@pytest.mark.parametrize("run_type", ["backfill", "scheduled", "asset_triggered"])
@pytest.mark.parametrize("conf", [{"date": "2025-10-01"}, {"start": "2025-10-01"}, {"end": "2025-10-01"}])
def test_days_are_refused_where_the_interval_says_them(run_type: str, conf: dict[str, Any]) -> None:
    assert f"date, start, end are not for a {run_type} run" in refusal(run_type, conf, NIGHT)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"date": "2025-10-01", "end": "2025-10-02"}, "date beside start and end"),
        ({"start": "2025-10-02", "end": "2025-10-01"}, "is after end"),
        ({"date": "2999-01-01"}, "is in the future"),
        ({"start_date": "2025-10-01"}, "unknown parameters: start_date"),
        ({"tables": ["APP_4_STOCK"]}, "not nightly tables: APP_4_STOCK"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(conf: dict[str, Any], message: str) -> None:
    assert message in refusal("manual", conf, NIGHT)
