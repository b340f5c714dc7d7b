"""What the metrics say of a load, and which of them fail the run."""

from __future__ import annotations

import logging
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.catalog import Table
from include.maintenance.request import Step
from include.replication.history import RunRecord, RunType
from include.windows import Window
from tests.integration.conftest import Stage
from tests.integration.helpers import ITEMS, SALES, load_all, one, replica_of
from tests.integration.test_maintenance import (
    EODLOG,
    LAST_DAY,
    LOCATIONS,
    QUANTITIES,
    changed,
    in_window,
    insert,
    maintained,
    warehouse,
)

__all__ = ["warehouse"]


def metrics(connection: psycopg.Connection[Any], table: Table) -> dict[str, dict[str, Any]]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute("SELECT * FROM dbo.data_quality_metrics WHERE table_name = %s", (table.name,)).fetchall()
    return {row["metric"]: row for row in rows}


def test_a_sound_load_has_sound_metrics(stage: Stage, warehouse: Any) -> None:
    load_all(stage.run(), SALES)
    load_all(stage.run(), ITEMS)

    report = maintained(stage, SALES, ITEMS)
    found = metrics(warehouse, ITEMS)

    assert report.problems == []
    assert set(found) == {"null_keys", "duplicate_keys", "unreadable_dates", "orphans", "volume"}
    assert set(metrics(warehouse, SALES)) == set(found) - {"orphans"}
    assert [found[name]["value"] for name in ("null_keys", "duplicate_keys", "orphans")] == [0, 0, 0]
    assert (found["orphans"]["from_date"], found["orphans"]["to_date"]) == (date(2025, 9, 27), LAST_DAY)
    assert found["orphans"]["rows_counted"] == one(
        warehouse,
        sql.SQL("SELECT count(*) FROM {} WHERE {} BETWEEN '2025-09-27' AND '2025-10-31'").format(
            replica_of(ITEMS), sql.Identifier(ITEMS.date or "")
        ),
    )
    assert (found["volume"]["from_date"], found["volume"]["to_date"]) == (LAST_DAY, LAST_DAY)


def test_null_and_doubled_keys_fail_the_run_by_name_after_all_is_written(
    stage: Stage, warehouse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    load_all(stage.run(), SALES)
    august = one(warehouse, f'SELECT min("ID") FROM dbo."{SALES.target_table}_202508"')
    insert(
        warehouse,
        SALES,
        {**in_window(), "ID": None},
        {**in_window(), "ID": None},
        {**in_window(), "ID": august},
        in_window(7),
        {**in_window(7), "DATETIME__SALES_DATE": date(2025, 9, 28)},
    )

    with caplog.at_level(logging.WARNING):
        report = maintained(stage, SALES)
    found = metrics(warehouse, SALES)

    assert (found["null_keys"]["value"], found["null_keys"]["breach"]) == (2, "fail")
    assert (found["duplicate_keys"]["value"], found["duplicate_keys"]["breach"]) == (2, "fail")
    assert "volume" in found
    assert report.problems == [
        "APP_4_SALES null_keys is 2, at most 0 is allowed",
        "APP_4_SALES duplicate_keys is 2, at most 0 is allowed",
    ]
    assert set(report.problems) <= set(caplog.messages)
    assert str(august) not in caplog.text


def test_doubled_keys_outside_of_the_window_are_not_measured(stage: Stage, warehouse: Any) -> None:
    load_all(stage.run(), SALES)
    insert(warehouse, SALES, *({**in_window(), "DATETIME__SALES_DATE": date(2025, month, 2)} for month in (8, 9)))

    assert maintained(stage, SALES).problems == []


def test_orphans_are_counted_as_a_share(stage: Stage, warehouse: Any) -> None:
    insert(warehouse, SALES, {**in_window(), "SALES_NO": "known"})
    insert(warehouse, ITEMS, *({**in_window(n), "SALES_NO": "known"} for n in range(6)))
    insert(warehouse, ITEMS, {**in_window(7), "SALES_NO": "unknown"}, {**in_window(8), "SALES_NO": None})

    report = maintained(stage, ITEMS)
    found = metrics(warehouse, ITEMS)["orphans"]

    assert (found["value"], found["rows_counted"], found["breach"]) == (0.25, 8, "warn")
    assert found["details"] == "2 rows whose SALES_NO is no SALES_NO of APP_4_SALES"
    assert report.problems == []


def test_unreadable_dates_are_a_share_of_what_is_written_there(stage: Stage, warehouse: Any) -> None:
    texts = [("01/10/2025", "10:00:00"), ("31/02/2025", ""), (None, "  "), ("01/10/2025", "25:00:00")]
    insert(warehouse, EODLOG, *({"ID": n, "BUSINESS_DATE": d, "OPENINGTIME": t} for n, (d, t) in enumerate(texts)))

    maintained(stage, EODLOG)
    found = metrics(warehouse, EODLOG)["unreadable_dates"]

    assert (found["value"], found["rows_counted"], found["breach"]) == (2 / 5, 4, "warn")
    assert found["details"] == "BUSINESS_DATE: 1 of 3, OPENINGTIME: 1 of 2"
    assert (found["from_date"], found["to_date"]) == (None, None)


def test_a_table_with_a_date_of_text_is_measured_over_the_same_days(stage: Stage, warehouse: Any) -> None:
    days = ["26/09/2025", "27/09/2025", "31/10/2025", "01/11/2025", "31/02/2025", None]
    insert(warehouse, QUANTITIES, *({"ID": number, "SALES_DATE": day} for number, day in enumerate(days)))

    assert maintained(stage, QUANTITIES).problems == []
    found = metrics(warehouse, QUANTITIES)
    assert {row["rows_counted"] for row in found.values()} == {2}
    assert "volume" not in found


@pytest.mark.parametrize(
    ("rows_before", "rows_today", "value", "breach"),
    [([4, 6], 5, 0.0, None), ([4, 4], 1, 0.75, "warn"), ([4], 0, 1.0, "warn"), ([], 5, None, None)],
)
def test_volume_is_how_far_a_day_is_off_its_weekday(
    stage: Stage, warehouse: Any, rows_before: list[int], rows_today: int, value: float | None, breach: str | None
) -> None:
    numbers = iter(range(100))
    fridays = [LAST_DAY, date(2025, 10, 24), date(2025, 9, 5)]
    for day, rows in zip(fridays, [rows_today, *rows_before], strict=False):
        insert(warehouse, SALES, *({"ID": next(numbers), "DATETIME__SALES_DATE": day} for _ in range(rows)))
    insert(warehouse, SALES, *({"ID": 200 + n, "DATETIME__SALES_DATE": date(2025, 10, 30)} for n in range(50)))

    maintained(stage, SALES)
    found = metrics(warehouse, SALES)["volume"]

    assert (found["value"], found["rows_counted"], found["breach"]) == (value, rows_today, breach)


def test_the_days_end_with_the_newest_nightly_run(stage: Stage, warehouse: Any) -> None:
    report = maintained(stage, SALES, LOCATIONS, day=None)
    assert [failure.step for failure in report.failures] == [Step.QUALITY]
    assert "give a date" in report.problems[0]
    assert set(metrics(warehouse, LOCATIONS)) == {"null_keys", "duplicate_keys"}

    record = RunRecord(stage.warehouse.metadata(), "nightly", RunType.T0)
    record.begin(Window.inclusive(date(2025, 10, 14), date(2025, 10, 15)), [SALES.name])
    assert maintained(stage, SALES, day=None).problems == []
    assert metrics(warehouse, SALES)["null_keys"]["to_date"] == date(2025, 10, 15)


def test_only_metrics_with_a_threshold_are_measured_and_one_run_has_one_row(stage: Stage, warehouse: Any) -> None:
    table = changed(LOCATIONS, quality={"null_keys": {"most": 0, "breach": "warn"}})
    insert(warehouse, table, {"LOCATION_INT_ID": None})

    for _ in range(2):
        report = maintained(stage, table, steps=[Step.QUALITY])
    assert report.problems == []
    assert [(name, row["breach"]) for name, row in metrics(warehouse, table).items()] == [("null_keys", "warn")]
