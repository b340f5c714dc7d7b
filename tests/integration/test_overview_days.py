"""A comparison leaves the counts of its days, whoever made it, and what is repaired is recorded by day."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from psycopg import sql

from include.errors import CountMismatch
from include.overview import days, running
from include.overview.coverage import coverage
from include.replication.audit import audit_table
from include.replication.observe import Step
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.replication.verify import Verify
from include.settings import Settings
from include.windows import UNDATED, Window
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import (
    PAYMENTS,
    SALES,
    Watch,
    connect_control,
    load,
    progress_rows,
    replica_of,
    source_of,
)

DAY = date(2025, 10, 7)
ON_DAY = Window.inclusive(DAY, DAY)


def recorded(stage: Stage, table: str = "replica_days") -> list[dict[str, Any]]:
    with stage.connect_warehouse() as connection:
        cursor = connection.execute(f"SELECT * FROM dbo.{table} ORDER BY table_name, day")  # type: ignore[arg-type]
        names = [column.name for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def counted(stage: Stage) -> tuple[dict[date, int], dict[date, int]]:
    """Return the sales of each day of October at the source and in the warehouse."""
    query = "SELECT date({0}), count(*) FROM {1} WHERE {0} >= '2025-10-01' AND {0} < '2025-11-01' GROUP BY 1"
    found: list[dict[date, int]] = []
    for session, relation in (
        (stage.connect_source(), source_of(SALES)),
        (stage.connect_warehouse(), replica_of(SALES)),
    ):
        with session as connection:
            text = sql.SQL(query).format(sql.Identifier(SALES.date or ""), relation)
            found.append(dict(connection.execute(text).fetchall()))
    return found[0], found[1]


def delete_one(stage: Stage, *, at_source: bool) -> None:
    table = source_of(SALES) if at_source else replica_of(SALES)
    query = sql.SQL("DELETE FROM {0} WHERE {1} = (SELECT min({1}) FROM {0} WHERE date({2}) = {3})").format(
        table, sql.Identifier(SALES.key[0]), sql.Identifier(SALES.date or ""), sql.Literal(DAY)
    )
    with stage.connect_source() if at_source else stage.connect_warehouse() as connection:
        connection.execute(query)


def of_day(stage: Stage) -> dict[str, Any]:
    found = days.month(stage.warehouse.metadata(), SALES.name, "2025-10")["days"]
    return next(row for row in found if row["day"] == DAY.isoformat())


@pytest.mark.parametrize("verify", [Verify.CHECKSUM, Verify.COUNTS])
def test_a_load_leaves_a_row_a_day_also_of_days_without_rows(stage: Stage, verify: Verify) -> None:
    load(stage.run(verify=verify), SALES, OCTOBER, UNDATED)
    rows, (source, copy) = recorded(stage), counted(stage)
    assert [row["day"].day for row in rows] == list(range(1, 32))
    assert {row["day"]: row["rows_source"] for row in rows if row["rows_source"]} == source
    assert {row["day"]: row["rows_warehouse"] for row in rows if row["rows_warehouse"]} == copy
    assert {(row["equal"], row["run_id"]) for row in rows} == {(True, "test")}


def test_a_load_that_is_not_compared_leaves_none(stage: Stage) -> None:
    load(stage.run(verify=Verify.NONE), SALES, OCTOBER)
    assert recorded(stage) == []


def test_another_run_takes_the_place_of_its_days_only(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    load(stage.run("again"), SALES, ON_DAY)
    assert {row["day"]: row["run_id"] for row in recorded(stage) if row["run_id"] != "test"} == {DAY: "again"}
    assert len(recorded(stage)) == 31


def test_a_fix_check_leaves_what_it_repaired_of_each_day(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    delete_one(stage, at_source=True)
    reconcile(stage.run("night"), SALES, ON_DAY, Watch())
    (fix,) = recorded(stage, "replica_fixes")
    assert (fix["run_id"], fix["day"], fix["rows_inserted"], fix["rows_updated"]) == ("night", DAY, 0, 0)
    assert fix["rows_deleted"] == progress_rows(stage, run_id="night")[0]["rows_deleted"] == 1
    row, (source, copy) = of_day(stage), counted(stage)
    assert (row["rows_source"], row["rows_warehouse"], row["equal"]) == (source.get(DAY, 0), copy.get(DAY, 0), True)
    assert (row["status"], row["deleted"], row["run"]) == ("c", 1, "night")
    today, zone = date(2025, 11, 5), Settings().zone
    (cell,) = coverage(stage.warehouse.metadata(), [SALES], today, zone)["tables"][0]["cells"]
    assert (cell[1], cell[2], cell[-1]) == ("c", sum(copy.values()), "1 deleted")


def test_a_fix_check_without_differences_leaves_the_counts(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    reconcile(stage.run("night"), SALES, ON_DAY, Watch())
    assert recorded(stage, "replica_fixes") == []
    assert (of_day(stage)["status"], of_day(stage)["run"]) == ("v", "night")


def test_an_audit_leaves_the_days_that_differ_and_the_repair_what_is_then(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    delete_one(stage, at_source=False)
    audit_table(stage.run("audit"), SALES, OCTOBER, lambda *_: Watch())
    source, copy = counted(stage)
    row = of_day(stage)
    assert (row["rows_source"], row["rows_warehouse"]) == (source[DAY], copy.get(DAY, 0))
    assert (row["equal"], row["status"], row["run"]) == (False, "c", "audit")
    audit_table(stage.run("repair"), SALES, OCTOBER, lambda *_: Watch(), repair=True)
    row = of_day(stage)
    assert (row["rows_warehouse"], row["equal"], row["status"], row["inserted"]) == (source[DAY], True, "c", 1)


def test_a_load_that_differs_twice_leaves_the_day_that_does(stage: Stage) -> None:
    watch = Watch(at={Step.VERIFYING: lambda: delete_one(stage, at_source=False)})
    with pytest.raises(CountMismatch):
        replicate(stage.run(), SALES, OCTOBER, watch)
    row = of_day(stage)
    assert (row["equal"], row["status"]) == (False, "f")
    assert row["rows_source"] == row["rows_warehouse"] + 1


def test_a_load_goes_on_where_the_counts_cannot_be_recorded(stage: Stage) -> None:
    with stage.connect_warehouse() as connection:
        connection.execute("DROP TABLE dbo.replica_days")
    (report,) = load(stage.run(), SALES, OCTOBER)
    assert (report.status, progress_rows(stage)[0]["status"]) == ("verified", "verified")


def test_what_runs_is_seen_with_its_rows_as_they_are_read(stage: Stage) -> None:
    load(stage.run(), PAYMENTS, OCTOBER)
    before = progress_rows(stage)[0]["rows_published"]
    seen: list[dict[str, Any]] = []

    def look(*_: Any) -> None:
        with connect_control(stage) as control:
            seen.extend(running.running(stage.warehouse.metadata(), control)["items"])

    steps = dict.fromkeys((Step.COMPARING, Step.READING, Step.STAGED, Step.VERIFYING), look)
    run = stage.run("now", force=True, settings=Settings(lock_wait=0.0, progress_every=0.0001, batch_bytes=64 * 1024))
    replicate(run, PAYMENTS, OCTOBER, Watch(at=steps, on_rows=look))
    assert [item["step"] for item in seen if item["step"] != "reading"] == ["publishing", "verifying"]
    reading = [item for item in seen if item["step"] == "reading"]
    assert (reading[0]["rows"], reading[0]["expected"]) == (0, before)
    assert all(item["run"] == "now" and item["table"] == PAYMENTS.name for item in seen)
    assert seen[-1]["rows"] == before
    with connect_control(stage) as control:
        assert running.running(stage.warehouse.metadata(), control)["items"] == []


def test_a_row_that_a_dead_process_left_does_not_run(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    with stage.connect_warehouse() as connection:
        connection.execute("UPDATE dbo.etl_progress SET status = 'running', finished_at = NULL")
    with connect_control(stage) as control:
        assert running.running(stage.warehouse.metadata(), control)["items"] == []
    (item,) = running.running(stage.warehouse.metadata(), None)["items"]
    assert (item["table"], item["window"]) == (SALES.name, "2025-10")
