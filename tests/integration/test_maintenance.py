"""What reports need after a load, on a real server: indexes, statistics, the audit, and the command for it all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

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
from include.settings import Settings
from include.windows import WHOLE
from tests.integration.commands import invoked
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import CATALOG, SALES, load, load_all, one, replica_of

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


def insert(connection: psycopg.Connection[Any], table: Table, *rows: dict[str, Any]) -> None:
    for row in rows:
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                replica_of(table),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(map(sql.Literal, row.values())),
            )
        )


def in_window(number: int = 0) -> dict[str, Any]:
    return {"ID": 10_000_000 + number, "DATETIME__SALES_DATE": date(2025, 10, 30)}


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


# the command line


def test_the_command_tells_what_it_did_and_fails_for_a_breach(stage: Stage, warehouse: Any, tmp_path: Path) -> None:
    done = invoked(cli.maintain, stage.environment(tmp_path), EODLOG.name, SALES.name, "--date", "2025-10-31")
    assert done.exit_code == 0
    made = "4 indexes made, 0 dropped, 2 views changed, 1 tables audited, 7 metrics measured"
    assert made in " ".join(done.output.split())

    insert(warehouse, SALES, {**in_window(), "ID": None})
    failed = invoked(cli.maintain, stage.environment(tmp_path), SALES.name, "--date", "2025-10-31")
    assert failed.exit_code == 1
    assert "null_keys" in failed.output


def test_the_command_refuses_what_makes_no_sense(stage: Stage, tmp_path: Path) -> None:
    for arguments, named in ((["APP_4_STAFF"], "APP_4_STAFF"), (["--date", "2999-01-01"], "in the future")):
        refused = invoked(cli.maintain, stage.environment(tmp_path), *arguments)
        assert isinstance(refused.exception, BadRequest)
        assert named in str(refused.exception)
