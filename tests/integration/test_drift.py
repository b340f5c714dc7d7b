"""The source's columns change: what is new is copied, what is gone is NULL, what would lose values is refused."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from include.engines.base import Level
from include.engines.postgres import PostgresSource, PostgresWarehouse
from include.errors import ConnectionLost, LockTimeout, SchemaMismatch, ValueDoesNotFit
from include.replication.drift import current_table
from include.replication.export import ExportTarget
from include.replication.prepare import prepare
from include.replication.replicate import Report, Run
from include.replication.verify import compare
from include.settings import Settings
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import SALES, assert_same_rows, load, load_all, one, progress_rows, warehouse_rows
from tests.integration.test_replicate import PART

SOURCE = '"COM_5013"."APP_4_SALES"'
REPLICA = 'dbo."com_5013_APP_4_SALES"'


#: Loaded through the pipe of PostgreSQL, and as Arrow because of the export.
both_ways = pytest.mark.parametrize("export", [False, True], ids=["pipe", "arrow"])


def at_source(stage: Stage, *statements: str) -> None:
    with stage.connect_source() as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def in_warehouse(stage: Stage, *statements: str) -> None:
    with stage.connect_warehouse() as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def run_october(stage: Stage, run_id: str, exports: Path | None = None) -> Report:
    run = stage.run(run_id, export=ExportTarget(str(exports)) if exports else None)
    assert prepare(run, SALES)
    return load(run, SALES, OCTOBER)[0]


def test_a_new_column_is_added_and_copied_also_into_months_that_were_loaded_before(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    load_all(stage.run("before"), SALES)
    at_source(stage, f'ALTER TABLE {SOURCE} ADD COLUMN "BRAND_NEW" varchar(20)')
    at_source(stage, f'UPDATE {SOURCE} SET "BRAND_NEW" = \'n\' || "ID"')
    with caplog.at_level(logging.WARNING):
        report = run_october(stage, "after")
    assert "APP_4_SALES: new columns of the source, added to the warehouse: BRAND_NEW varchar(20)" in caplog.text
    assert "add-table APP_4_SALES" in caplog.text
    assert (report.unchanged, report.status) == (False, "verified")
    now = current_table(stage.source, stage.warehouse, SALES)
    assert list(now.columns) == [*SALES.columns, "BRAND_NEW"]
    assert assert_same_rows(stage, now, OCTOBER) > 0
    assert run_october(stage, "again").unchanged
    with stage.connect_warehouse() as connection:
        query = f'SELECT count(*) FROM {REPLICA} WHERE "DATETIME__SALES_DATE" < \'2025-10-01\' AND "BRAND_NEW" IS NULL'
        assert one(connection, query) > 0
    load_all(stage.run("the rest"), SALES)
    assert_same_rows(stage, now)


def test_a_difference_in_a_new_column_is_found(stage: Stage) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} ADD COLUMN "BRAND_NEW" integer DEFAULT 7')
    run_october(stage, "first")
    assert compare(stage.source, stage.warehouse, SALES, OCTOBER, Level.CHECKSUM).equal
    with stage.connect_warehouse() as connection:
        connection.execute(f'UPDATE {REPLICA} SET "BRAND_NEW" = 8')  # type: ignore[arg-type]
    assert not compare(stage.source, stage.warehouse, SALES, OCTOBER, Level.CHECKSUM).equal


def test_a_part_of_a_month_takes_a_new_column_too(stage: Stage) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} ADD COLUMN "BRAND_NEW" integer DEFAULT 7')
    assert prepare(stage.run(), SALES)
    load(stage.run(), SALES, PART)
    assert assert_same_rows(stage, current_table(stage.source, stage.warehouse, SALES), PART) > 0


def test_an_export_has_the_columns_of_now(stage: Stage, tmp_path: Path) -> None:
    at_source(
        stage,
        f'ALTER TABLE {SOURCE} ADD COLUMN "BRAND_NEW" integer DEFAULT 7',
        f'ALTER TABLE {SOURCE} DROP COLUMN "BILL_REMARK"',
    )
    report = run_october(stage, "exported", tmp_path)
    exported = pq.read_table(report.export_path)
    assert exported.column_names == [*(name for name in SALES.columns if name != "BILL_REMARK"), "BRAND_NEW"]
    assert set(exported.column("BRAND_NEW").to_pylist()) == {7}


@both_ways
@pytest.mark.parametrize(
    ("type_", "value", "arrives"),
    [
        ("char(5)", "'ab'", "ab   "),
        ("timestamptz(3)", "'2025-10-03 10:00:00.123+08'", "2025-10-03 02:00:00.123 +00:00"),
        ("timestamp", "'2025-10-03 10:00:00.123456'", "2025-10-03 10:00:00.123456"),
    ],
)
def test_a_type_of_postgres_itself_is_copied_before_and_after_it_is_in_the_catalog(
    stage: Stage, tmp_path: Path, type_: str, value: str, arrives: str, export: bool
) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} ADD COLUMN "BRAND_NEW" {type_} DEFAULT {value}')
    assert run_october(stage, "before", tmp_path if export else None).status == "verified"
    columns = stage.source.column_types("COM_5013", "APP_4_SALES") or {}
    known = SALES.model_copy(update={"columns": {**SALES.columns, "BRAND_NEW": columns["BRAND_NEW"]}})
    assert prepare(stage.run("after"), known)
    assert load(stage.run("after"), known, OCTOBER)[0].unchanged
    with stage.connect_warehouse() as connection:
        assert one(connection, f'SELECT DISTINCT "BRAND_NEW"::text FROM {REPLICA}') == arrives


def impatient(stage: Stage) -> Run:
    settings = Settings(lock_wait=0.0, publish_lock_wait=0.2)
    return replace(stage.run(), warehouse=PostgresWarehouse(stage.warehouse_connection, settings=settings))


def test_adding_a_column_does_not_queue_behind_a_reader(stage: Stage) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} ADD COLUMN "BRAND_NEW" integer')
    with stage.connect_warehouse() as reader, reader.transaction():
        reader.execute(f"SELECT count(*) FROM {REPLICA}")  # type: ignore[arg-type]
        with pytest.raises(LockTimeout, match="APP_4_SALES: adding columns to the replica"):
            prepare(impatient(stage), SALES)
    assert prepare(impatient(stage), SALES)


def test_a_column_that_was_added_before_keeps_no_reader_out(stage: Stage) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} ADD COLUMN "BRAND_NEW" integer')
    assert prepare(stage.run(), SALES)
    with stage.connect_warehouse() as reader, reader.transaction():
        reader.execute(f"SELECT count(*) FROM {REPLICA}")  # type: ignore[arg-type]
        assert prepare(impatient(stage), SALES)


def test_two_runs_may_add_a_column_at_once(stage: Stage) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} ADD COLUMN "BRAND_NEW" integer')
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda n: prepare(stage.run(f"run {n}"), SALES), range(4)))
    assert "BRAND_NEW" in (stage.warehouse.shape(SALES) or {})


def test_a_column_that_is_gone_stays_and_is_null(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    load_all(stage.run("before"), SALES)
    at_source(stage, f'ALTER TABLE {SOURCE} DROP COLUMN "BILL_REMARK", DROP COLUMN "SALE_REMARK"')
    with caplog.at_level(logging.WARNING):
        report = run_october(stage, "after")
    assert "the source has no column SALE_REMARK, BILL_REMARK any more; it is NULL" in caplog.text or (
        "the source has no column BILL_REMARK, SALE_REMARK any more; it is NULL" in caplog.text
    )
    assert report.status == "verified"
    assert_same_rows(stage, current_table(stage.source, stage.warehouse, SALES), OCTOBER)
    load(stage.run("forced", force=True), SALES, OCTOBER)
    with stage.connect_warehouse() as connection:
        filled = f'SELECT count("BILL_REMARK") FROM {REPLICA} WHERE "DATETIME__SALES_DATE"'
        assert one(connection, f"{filled} >= '2025-10-01'") == 0
        assert one(connection, f"{filled} < '2025-10-01'") > 0


@pytest.mark.parametrize("column", ["ID", "DATETIME__SALES_DATE", "UPDATE_TIMESTAMP"])
def test_a_column_that_the_replication_needs_may_not_go(stage: Stage, column: str) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} DROP COLUMN "{column}" CASCADE')
    with pytest.raises(SchemaMismatch, match=f"no column {column}, which is date, key or rowversion"):
        prepare(stage.run(), SALES)


def test_narrowed_and_changed_types_are_refused_and_both_sides_shown(stage: Stage) -> None:
    at_source(
        stage,
        f'ALTER TABLE {SOURCE} ALTER COLUMN "BILL_REMARK" TYPE varchar(5) USING left("BILL_REMARK", 5)',
        f'ALTER TABLE {SOURCE} ALTER COLUMN "DOUBLE_COST" TYPE double precision',
    )
    with pytest.raises(SchemaMismatch) as told:
        prepare(stage.run(), SALES)
    message = str(told.value)
    assert message.startswith("APP_4_SALES: types in the source and in the catalog differ: ")
    assert "BILL_REMARK (varchar(5), varchar(max))" in message
    assert "DOUBLE_COST (float, decimal(16,4))" in message
    assert "add-table APP_4_SALES" in message


def test_a_wider_type_is_warned_about(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} ALTER COLUMN "SALES_NO" TYPE text')
    with caplog.at_level(logging.WARNING):
        assert run_october(stage, "wide").status == "verified"
    assert "types at the source are wider than in the catalog: SALES_NO (varchar(max), varchar(" in caplog.text


WIDER = {
    "BOOL_IS_CASH_SALES": "integer",
    "INT_PRINTBILLCOUNT": "bigint",
    "DOUBLE_COST": "numeric(30,4)",
    "TERMS_START_DATE": "timestamp(6)",
    "XCARD": "text",
}


def widened(relation: str, *names: str) -> list[str]:
    return [f'ALTER TABLE {relation} ALTER COLUMN "{name}" TYPE {WIDER[name]}' for name in names]


@both_ways
def test_values_that_fit_arrive_from_wider_types(stage: Stage, tmp_path: Path, export: bool) -> None:
    at_source(stage, *widened(SOURCE, *WIDER))
    assert run_october(stage, "wide", tmp_path if export else None).status == "verified"
    assert_same_values(stage)
    assert run_october(stage, "again").unchanged


@both_ways
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOOL_IS_CASH_SALES", "70000"),
        ("INT_PRINTBILLCOUNT", "3000000000"),
        ("DOUBLE_COST", "12345678901234567890.5"),
        ("TERMS_START_DATE", "'2025-10-03 10:00:00.123456'"),
        ("XCARD", "repeat('x', 21)"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_before_it_is_published(
    stage: Stage, tmp_path: Path, name: str, value: str, export: bool
) -> None:
    at_source(stage, *widened(SOURCE, name), f'UPDATE {SOURCE} SET "{name}" = {value}')
    with pytest.raises(ValueDoesNotFit, match=f"column {name}") as told:
        run_october(stage, "misfit", tmp_path if export else None)
    assert value.strip("'") not in str(told.value)
    assert not warehouse_rows(stage, SALES)


@both_ways
def test_a_warehouse_with_wider_types_is_fine(stage: Stage, tmp_path: Path, export: bool) -> None:
    in_warehouse(stage, *widened(REPLICA, *WIDER))
    assert run_october(stage, "wide", tmp_path if export else None).status == "verified"
    assert_same_values(stage)
    assert run_october(stage, "again").unchanged


def assert_same_values(stage: Stage) -> None:
    """Digits that a wider type writes more of are no difference."""
    names = ", ".join(f'"{name}"' for name in WIDER)
    query = f"SELECT \"ID\", {names} FROM {{}} WHERE date_trunc('month', \"DATETIME__SALES_DATE\") = '2025-10-01'"
    with stage.connect_source() as source, stage.connect_warehouse() as warehouse:
        there = set(source.execute(query.format(SOURCE)).fetchall())  # type: ignore[arg-type]
        here = set(warehouse.execute(query.format(REPLICA)).fetchall())  # type: ignore[arg-type]
    assert there == here != set()


def test_a_new_column_of_a_type_that_cannot_be_replicated_is_left_out(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    at_source(stage, f'ALTER TABLE {SOURCE} ADD COLUMN "PLACE" point')
    with caplog.at_level(logging.WARNING):
        run_october(stage, "left out")
    assert "cannot be replicated are left out: PLACE point" in caplog.text
    assert assert_same_rows(stage, SALES, OCTOBER) == warehouse_rows(stage, SALES, OCTOBER).total()


def test_a_warehouse_whose_column_is_narrower_is_refused(stage: Stage) -> None:
    with stage.connect_warehouse() as connection:
        connection.execute(f'ALTER TABLE {REPLICA} ALTER COLUMN "SALES_NO" TYPE varchar(5)')  # type: ignore[arg-type]
    with pytest.raises(SchemaMismatch, match=r"types in the warehouse .* SALES_NO \(varchar\(5\), varchar"):
        prepare(stage.run(), SALES)


def test_a_warehouse_without_the_table_says_what_to_run(stage: Stage) -> None:
    with stage.connect_warehouse() as connection:
        connection.execute(f"DROP TABLE {REPLICA} CASCADE")  # type: ignore[arg-type]
    with pytest.raises(
        SchemaMismatch, match="the warehouse has no table com_5013_APP_4_SALES; run `python -m include migrate`"
    ):
        prepare(stage.run(), SALES)


def test_a_source_that_is_not_there_is_recorded(stage: Stage) -> None:
    nowhere = PostgresSource(replace(stage.source_connection, port=1))
    with pytest.raises(ConnectionLost):
        load(replace(stage.run("lost"), source=nowhere), SALES, OCTOBER)
    (row,) = progress_rows(stage, run_id="lost")
    assert row["status"] == "failed"
    assert "connecting to" in row["error"]
    assert row["finished_at"] is not None


def test_a_column_that_the_catalog_got_before_the_warehouse_is_added(stage: Stage) -> None:
    load_all(stage.run("before"), SALES)
    with stage.connect_warehouse() as connection:
        connection.execute(f'ALTER TABLE {REPLICA} DROP COLUMN "BILL_REMARK"')  # type: ignore[arg-type]
    assert run_october(stage, "after").status == "verified"
    assert_same_rows(stage, SALES, OCTOBER)


def test_a_key_that_the_warehouse_lacks_is_not_added(stage: Stage) -> None:
    with stage.connect_warehouse() as connection:
        connection.execute(f'ALTER TABLE {REPLICA} DROP COLUMN "ID"')  # type: ignore[arg-type]
    with pytest.raises(SchemaMismatch, match="the warehouse has no column ID; add it"):
        prepare(stage.run(), SALES)
