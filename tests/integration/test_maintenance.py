"""What reports need after a load, on a real server: indexes, views, statistics, the audit, quality."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from click.testing import Result
from psycopg import sql
from typer.testing import CliRunner

from include import catalog
from include.catalog import Catalog, Table
from include.cli import maintain as cli
from include.engines.postgres.upkeep import PostgresUpkeep
from include.errors import BadRequest
from include.maintenance.request import Request, Step
from include.maintenance.run import Maintenance, Report, maintain
from include.maintenance.upkeep import IndexChanges, index_digits
from include.metadata import etl_progress, now
from include.replication.claims import whole_table
from include.replication.history import RunRecord, RunType
from include.settings import Settings
from include.windows import WHOLE, Window
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import CATALOG, ITEMS, SALES, load, load_all, one, replica_of

LAST_DAY = date(2025, 10, 31)
LOCATIONS, EODLOG, PRICELOG = (CATALOG[name] for name in ("LOCATION_DETAIL", "APP_4_EODLOG", "APP_4_PRICELOG"))
QUANTITIES = CATALOG["APP_4_SALESQUANTITIES"]
MONTHS = ["202508", "202509", "202510", "undated"]


@pytest.fixture
def warehouse(stage: Stage) -> Iterator[psycopg.Connection[Any]]:
    with stage.connect_warehouse() as connection:
        yield connection


def changed(table: Table, **fields: Any) -> Table:
    """Return a table that the catalog describes in another way."""
    return Table.model_validate({**table.model_dump(), **fields})


def maintained(stage: Stage, *tables: Table, steps: Any = tuple(Step), day: date | None = LAST_DAY) -> Report:
    known = Catalog({**catalog.load().tables, **{table.name: table for table in tables}})
    work = Maintenance("upkeep", stage.warehouse, stage.control_connection, Settings(lock_wait=0.0), catalog=known)
    return maintain(work, Request(tables, day), steps)


def indexes(connection: psycopg.Connection[Any], table: Table) -> set[str]:
    found = connection.execute(
        "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND indexname LIKE %s",
        (table.target_schema, table.target_table.replace("_", r"\_") + r"%\_ix\_%"),
    )
    return {name for (name,) in found}


def expected(table: Table, parts: list[str]) -> set[str]:
    digits = [index_digits(columns) for columns in table.indexes]
    return {f"{table.target_table}_{part}_ix_{index}" for part in parts for index in digits}


# indexes


def test_each_partition_gets_the_declared_indexes_once(stage: Stage, warehouse: Any) -> None:
    load_all(stage.run(), SALES)
    upkeep = PostgresUpkeep(stage.warehouse)

    made = upkeep.indexes(SALES)

    assert set(made.made) == indexes(warehouse, SALES) == expected(SALES, MONTHS)
    assert len(made.made) == 3 * len(MONTHS)
    assert upkeep.indexes(SALES) == IndexChanges()


def test_an_index_that_is_no_longer_declared_is_dropped_and_only_that(stage: Stage, warehouse: Any) -> None:
    load_all(stage.run(), SALES)
    upkeep = PostgresUpkeep(stage.warehouse)
    upkeep.indexes(SALES)
    warehouse.execute('CREATE INDEX of_somebody_else ON dbo."com_5013_APP_4_SALES_202510" ("ID")')
    fewer = changed(SALES, indexes=[["SALES_NO"]])

    changes = upkeep.indexes(fewer)

    assert (len(changes.made), len(changes.dropped)) == (0, 2 * len(MONTHS))
    assert indexes(warehouse, SALES) == expected(fewer, MONTHS)
    assert one(warehouse, "SELECT to_regclass('dbo.of_somebody_else') IS NOT NULL")


def test_a_month_that_was_put_in_place_again_is_indexed_again(stage: Stage, warehouse: Any) -> None:
    load_all(stage.run(), SALES)
    upkeep = PostgresUpkeep(stage.warehouse)
    upkeep.indexes(SALES)

    load(stage.run("again", force=True), SALES, OCTOBER)

    assert indexes(warehouse, SALES) == expected(SALES, MONTHS) - expected(SALES, ["202510"])
    assert set(upkeep.indexes(SALES).made) == expected(SALES, ["202510"])


def test_a_plain_table_and_a_table_of_one_partition_are_indexed(stage: Stage, warehouse: Any) -> None:
    upkeep = PostgresUpkeep(stage.warehouse)
    quantities = changed(QUANTITIES, indexes=[["SALES_DATE"]])

    assert upkeep.indexes(quantities).made == (f"{quantities.target_table}_ix_{index_digits(('SALES_DATE',))}",)
    assert len(upkeep.indexes(EODLOG).made) == 1
    assert upkeep.indexes(quantities) == upkeep.indexes(EODLOG) == IndexChanges()


def test_nothing_is_made_while_a_table_is_loaded_and_the_others_are_done(stage: Stage, warehouse: Any) -> None:
    with whole_table(stage.control_connection, EODLOG, holder="a load", wait=0):
        report = maintained(stage, EODLOG, PRICELOG, steps=[Step.UPKEEP])

    assert [failure.table for failure in report.failures] == [EODLOG.name]
    assert "a load" in report.problems[0]
    assert report.failures[0].is_transient
    assert indexes(warehouse, EODLOG) == set()
    assert report.views == [PRICELOG.name]


def test_a_missing_replica_is_named_and_stops_no_other_table(stage: Stage, warehouse: Any) -> None:
    warehouse.execute(sql.SQL("DROP TABLE {}").format(replica_of(EODLOG)))

    report = maintained(stage, EODLOG, LOCATIONS, PRICELOG, day=None)

    assert {failure.table for failure in report.failures} == {EODLOG.name}
    assert "APP_4_EODLOG" in report.problems[0]
    assert "migrate" in report.problems[0]
    assert set(report.rows) == {LOCATIONS.name, PRICELOG.name}


# views


def insert(connection: psycopg.Connection[Any], table: Table, *rows: dict[str, Any]) -> None:
    for row in rows:
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                replica_of(table),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(map(sql.Literal, row.values())),
            )
        )


def seen(connection: psycopg.Connection[Any], table: Table, column: str) -> list[Any]:
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.Identifier(column), sql.Identifier("dbo", table.view), sql.Identifier(table.key[0])
    )
    return [value for (value,) in connection.execute(query)]


def columns_of(connection: psycopg.Connection[Any], table: Table) -> list[str]:
    return [column.name for column in connection.execute(f'SELECT * FROM dbo."{table.view}" LIMIT 0').description or []]


DATES = {
    "01/10/2025": date(2025, 10, 1),
    "29/02/2024": date(2024, 2, 29),
    "01/10/2025 10:00": date(2025, 10, 1),
    "31/12/9999": date(9999, 12, 31),
    "31/02/2025": None,
    "29/02/2025": None,
    "29/02/1900": None,
    "31/04/2025": None,
    "00/01/2025": None,
    "01/13/2025": None,
    "01/01/0000": None,
    "1/10/2025": None,
    "01/10/20251": None,
    " 01/10/2025": None,
    "2025-10-01": None,
    "soon": None,
    "": None,
    None: None,
}
TIMES = {
    "00:00:00": time(0, 0, 0),
    "23:59:59": time(23, 59, 59),
    "24:00:00": None,
    "12:60:00": None,
    "12:00:60": None,
    "12:00": None,
    "12:00:00 ": None,
    "12:00:00\n": None,
    "12:00:00.5": None,
    "": None,
    None: None,
}
MOMENTS = {
    "29/02/2024 23:59:59": datetime(2024, 2, 29, 23, 59, 59),
    "31/02/2025 10:00:00": None,
    "01/10/2025 24:00:00": None,
    "01/10/2025": None,
    "01/10/2025 10:00:00 pm": None,
    "01/10/2025T10:00:00": None,
    "": None,
    None: None,
}


@pytest.mark.parametrize(
    ("column", "values"),
    [("BUSINESS_DATE", DATES), ("OPENINGTIME", TIMES), ("OPENINGDATETIME", MOMENTS)],
)
def test_a_text_of_the_form_is_typed_and_any_other_is_null(
    stage: Stage, warehouse: Any, column: str, values: dict[str | None, Any]
) -> None:
    maintained(stage, EODLOG, steps=[Step.UPKEEP])
    insert(warehouse, EODLOG, *({"ID": number, column: text} for number, text in enumerate(values)))

    assert seen(warehouse, EODLOG, column) == list(values)
    assert seen(warehouse, EODLOG, f"{column}_TYPED") == list(values.values())


def test_a_deleted_row_is_marked(stage: Stage, warehouse: Any) -> None:
    maintained(stage, EODLOG, steps=[Step.UPKEEP])
    insert(warehouse, EODLOG, *({"ID": number, "WBDELETED": mark} for number, mark in enumerate((1, 0, None))))

    assert seen(warehouse, EODLOG, "IS_DELETED") == [True, False, False]


def test_every_view_of_the_catalog_shows_all_columns_and_is_left_alone_once_right(stage: Stage, warehouse: Any) -> None:
    typed = [table for table in CATALOG if table.typed]
    first = maintained(stage, *typed, steps=[Step.UPKEEP])
    second = maintained(stage, *typed, steps=[Step.UPKEEP])

    assert first.problems == second.problems == []
    assert first.views == [table.name for table in typed]
    assert second.views == []
    for table in typed:
        names = [*table.columns, *(f"{name}_TYPED" for name in table.typed), "IS_DELETED"]
        assert columns_of(warehouse, table) == names


def test_a_new_column_comes_behind_the_others(stage: Stage, warehouse: Any) -> None:
    maintained(stage, EODLOG, steps=[Step.UPKEEP])
    before = columns_of(warehouse, EODLOG)
    warehouse.execute('CREATE VIEW dbo.of_a_report AS SELECT * FROM dbo."vw_APP_4_EODLOG"')
    warehouse.execute(sql.SQL("ALTER TABLE {} ADD COLUMN a_new_one text").format(replica_of(EODLOG)))

    assert columns_of(warehouse, EODLOG) == before
    assert maintained(stage, EODLOG, steps=[Step.UPKEEP]).views == [EODLOG.name]
    assert columns_of(warehouse, EODLOG) == [*before, "a_new_one"]
    assert maintained(stage, EODLOG, steps=[Step.UPKEEP]).views == []


def test_a_view_that_loses_or_changes_a_column_is_made_anew_and_keeps_its_rights(stage: Stage, warehouse: Any) -> None:
    maintained(stage, EODLOG, steps=[Step.UPKEEP])
    warehouse.execute('CREATE ROLE "a reporter"')
    try:
        warehouse.execute('GRANT SELECT ON dbo."vw_APP_4_EODLOG" TO "a reporter"')
        other = {name: form for name, form in EODLOG.typed.items() if name != "OPENINGTIME"}
        other["OPENINGDATETIME"] = "dd/mm/yyyy"
        fewer = changed(EODLOG, typed=other)

        assert maintained(stage, fewer, steps=[Step.UPKEEP]).views == [EODLOG.name]
        assert "OPENINGTIME_TYPED" not in columns_of(warehouse, EODLOG)
        assert one(warehouse, """SELECT has_table_privilege('a reporter', 'dbo."vw_APP_4_EODLOG"', 'SELECT')""")
        assert maintained(stage, fewer, steps=[Step.UPKEEP]).views == []
    finally:
        warehouse.execute('DROP OWNED BY "a reporter"; DROP ROLE "a reporter"')


def test_a_view_does_not_hinder_a_month(stage: Stage, warehouse: Any) -> None:
    load_all(stage.run(), SALES)
    maintained(stage, SALES, steps=[Step.UPKEEP])

    load(stage.run("again", force=True), SALES, OCTOBER)

    assert seen(warehouse, SALES, "SALES_DATE_TYPED")


# statistics


def test_only_what_changed_is_analyzed_again(stage: Stage, warehouse: Any) -> None:
    load_all(stage.run(), SALES)
    name = sql.Literal(f'dbo."{SALES.target_table}"')
    relations = sql.SQL(
        "SELECT relname, last_analyze FROM pg_stat_user_tables WHERE relid IN (SELECT relid FROM pg_partition_tree({}))"
    ).format(name)

    def analyzed() -> dict[str, datetime]:
        warehouse.execute("SELECT pg_stat_clear_snapshot()")
        return dict(warehouse.execute(relations).fetchall())

    upkeep = PostgresUpkeep(stage.warehouse)
    upkeep.statistics(SALES)
    first = analyzed()
    upkeep.statistics(SALES)
    assert analyzed() == first
    assert None not in first.values()

    load(stage.run("again", force=True), SALES, OCTOBER)
    upkeep.statistics(SALES)
    second = analyzed()
    assert {name for name, moment in second.items() if first[name] != moment} == {f"{SALES.target_table}_202510"}


# dimensions


def audits(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute("SELECT * FROM dbo.dimension_refresh_audit ORDER BY id").fetchall()


def test_a_reference_table_is_audited_with_its_last_refresh(stage: Stage, warehouse: Any) -> None:
    insert(warehouse, LOCATIONS, {"LOCATION_INT_ID": 1}, {"LOCATION_INT_ID": 2})
    with stage.warehouse.metadata().connect() as connection:
        for status, inserted in (("verified", 2), ("failed", 9), ("running", 9)):
            values = {
                "run_id": status,
                "table_name": LOCATIONS.name,
                "window_name": WHOLE.name,
                "status": status,
                "attempt": 1,
                "started_at": now(),
                "finished_at": None if status == "running" else now(),
                "rows_inserted": inserted,
                "rows_updated": 1,
                "rows_deleted": 0,
                "seconds_loading": 1.5,
                "seconds_verifying": 0.5,
            }
            connection.execute(etl_progress.insert().values(values))

    report = maintained(stage, LOCATIONS, SALES, steps=[Step.DIMENSIONS])
    (row,) = audits(warehouse)

    assert report.rows == {LOCATIONS.name: 2}
    assert (row["row_count"], row["rows_changed"], row["seconds"]) == (2, 3, 2.0)
    assert row["refreshed_at"] <= row["audited_at"]
    assert len(row["table_hash"]) == 16


def test_the_hash_says_whether_rows_are_the_same_in_any_order(stage: Stage, warehouse: Any) -> None:
    def hashed(*keys: int) -> str:
        warehouse.execute(sql.SQL("DELETE FROM {}").format(replica_of(LOCATIONS)))
        insert(warehouse, LOCATIONS, *({"LOCATION_INT_ID": key} for key in keys))
        maintained(stage, LOCATIONS, steps=[Step.DIMENSIONS])
        (row,) = audits(warehouse)
        assert (row["row_count"], row["rows_changed"], row["refreshed_at"]) == (len(keys), None, None)
        return str(row["table_hash"])

    assert hashed(1, 2) == hashed(2, 1) != hashed(1, 3)


# quality


def metrics(connection: psycopg.Connection[Any], table: Table) -> dict[str, dict[str, Any]]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute("SELECT * FROM dbo.data_quality_metrics WHERE table_name = %s", (table.name,)).fetchall()
    return {row["metric"]: row for row in rows}


def in_window(number: int = 0) -> dict[str, Any]:
    return {"ID": 10_000_000 + number, "DATETIME__SALES_DATE": date(2025, 10, 30)}


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


# the command line


def command_line(stage: Stage, monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> Result:
    for name, value in stage.environment(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "250")
    app = typer.Typer()
    app.command()(cli.maintain)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_tells_what_it_did_and_fails_for_a_breach(
    stage: Stage, warehouse: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = command_line(stage, monkeypatch, tmp_path, EODLOG.name, SALES.name, "--date", "2025-10-31")
    assert done.exit_code == 0
    made = "4 indexes made, 0 dropped, 2 views changed, 1 tables audited, 7 metrics measured"
    assert made in " ".join(done.output.split())

    insert(warehouse, SALES, {**in_window(), "ID": None})
    failed = command_line(stage, monkeypatch, tmp_path, SALES.name, "--date", "2025-10-31")
    assert failed.exit_code == 1
    assert "null_keys" in failed.output


def test_the_command_refuses_what_makes_no_sense(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for arguments, named in ((["APP_4_STAFF"], "APP_4_STAFF"), (["--date", "2999-01-01"], "in the future")):
        refused = command_line(stage, monkeypatch, tmp_path, *arguments)
        assert isinstance(refused.exception, BadRequest)
        assert named in str(refused.exception)
