"""The way through Arrow brings the same rows as the pipe, and leaves a Parquet file of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from include.catalog import Table
from include.demo.changes import late_fix
from include.engines.arrow import arrow_schema
from include.engines.base import Level, Published
from include.engines.postgres.ddl import create_replica
from include.engines.postgres.types import postgres_type
from include.errors import ValueDoesNotFit
from include.replication.export import ExportTarget
from include.replication.progress import ProgressRow
from include.replication.verify import Verify
from include.windows import UNDATED, Span, Window, months
from tests.integration.conftest import OCTOBER, WINDOW, Stage
from tests.integration.helpers import (
    CATALOG,
    ITEMS,
    SALES,
    assert_same_rows,
    load,
    load_all,
    progress_rows,
    source_of,
    source_rows,
    staging_tables,
    warehouse_rows,
)

PART = Window.inclusive(date(2025, 10, 5), date(2025, 10, 20))
BATCH = 256 * 1024


def load_by_arrow(stage: Stage, table: Table, span: Span) -> int:
    """Load and publish a span as batches, without the replication around it."""
    progress = ProgressRow(stage.warehouse.metadata(), "arrow", table, span)

    def record(published: Published) -> Any:
        return progress.update({"rows_published": published.rows})

    with stage.source.snapshot(table, span) as snapshot, stage.warehouse.staging(table, span) as staging:
        loaded = staging.load(snapshot.batches(BATCH), lambda rows, size: None)
        assert stage.warehouse.publish(staging, record, lambda: None).rows == loaded.rows
    return loaded.rows


@pytest.mark.parametrize(
    "name",
    [
        *("APP_4_SALES", "APP_4_SALESITEM", "APP_4_PAYMENT", "APP_4_EPAYMENTLOG", "APP_4_ORDERITEM"),
        "APP_4_SALESDEBITNOTE",
    ],
)
def test_arrow_and_the_pipe_bring_the_same_rows(stage: Stage, name: str) -> None:
    table = CATALOG[name]
    for span in (*months(WINDOW), UNDATED):
        rows = load_by_arrow(stage, table, span)
        by_arrow = stage.warehouse.digest(table, span, Level.CHECKSUM)
        assert by_arrow.rows == rows
        with stage.source.snapshot(table, span) as snapshot:
            assert snapshot.digest(Level.CHECKSUM) == by_arrow
    by_arrow_rows = warehouse_rows(stage, table)
    assert by_arrow_rows == source_rows(stage, table)
    load_all(stage.run("pipe", force=True), table)
    assert warehouse_rows(stage, table) == by_arrow_rows


#: The smallest and the largest values of each type of SQL Server that is kept, or others that are hard to carry.
EDGES = {
    "tinyint": ("0", "255"),
    "smallint": ("-32768", "32767"),
    "int": ("-2147483648", "2147483647"),
    "bigint": ("-9223372036854775808", "9223372036854775807"),
    "bit": ("false", "true"),
    "real": ("-3.4e38", "3.4e38"),
    "float": ("-1.7e308", "1e-300"),
    "money": ("-922337203685477.5808", "922337203685477.5807"),
    "smallmoney": ("-214748.3648", "214748.3647"),
    "decimal(38,10)": ("-9999999999999999999999999999.9999999999", "0.0000000001"),
    "date": ("0001-01-01", "9999-12-31"),
    "time(6)": ("00:00:00.000001", "23:59:59.999999"),
    "datetime": ("1753-01-01 00:00:00.003", "9999-12-31 23:59:59.997"),
    "smalldatetime": ("1900-01-01 00:01:00", "2079-06-06 23:59:00"),
    "datetime2(6)": ("0001-01-01 00:00:00.000001", "9999-12-31 23:59:59.999999"),
    "datetimeoffset(7)": ("0001-01-02 00:00:00.0000001 +08:00", "9999-12-31 23:59:59.9999999 -11:30"),
    "datetime2(7)": ("0001-01-01 00:00:00.000001", "9999-12-31 23:59:59.999999"),
    "time(7)": ("00:00:00.000001", "23:59:59.999999"),
    "varchar(20)": ("", "x   "),
    "nvarchar(max)": ("", "\U0001f600 \u4e2d\n\t\\"),
    "varbinary(max)": (r"\x", r"\x00ff"),
    "uniqueidentifier": ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "rowversion": (r"\x0000000000000000", r"\xffffffffffffffff"),
    "xml": ("<a/>", "<b>&amp;</b>"),
}


@pytest.fixture
def of_all_types(stage: Stage) -> Table:
    """A table at the source with a column of each type: three rows, the last of them NULLs."""
    columns = {"ID": "bigint", "DAY": "date"} | {f"C{place}": text for place, text in enumerate(EDGES)}
    named = {"name": "ALL_TYPES", "target_table": "com_5013_ALL_TYPES", "date": "DAY", "key": ["ID"]}
    shared = SALES.model_dump(include={"strategy", "source_schema", "target_schema"})
    table = Table.model_validate({**shared, **named, "columns": columns})
    lines = [sql.SQL(f'"{name}" {postgres_type(type_)}') for name, type_ in table.columns.items()]
    insert = sql.SQL("INSERT INTO {} VALUES ({})").format(
        source_of(table), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
    )
    with stage.connect_source() as connection, stage.connect_warehouse() as warehouse:
        connection.execute(sql.SQL("CREATE TABLE {} ({})").format(source_of(table), sql.SQL(", ").join(lines)))
        for key, values in enumerate([*zip(*EDGES.values(), strict=True), [None] * len(EDGES)]):
            connection.execute(insert, [key, OCTOBER.last_day, *values])
        for statement in create_replica(table):
            warehouse.execute(statement)
    return table


def test_every_type_goes_through_arrow(stage: Stage, of_all_types: Table) -> None:
    assert load_by_arrow(stage, of_all_types, OCTOBER) == 3
    assert assert_same_rows(stage, of_all_types) == 3


def test_every_type_can_be_exported(stage: Stage, of_all_types: Table, tmp_path: Path) -> None:
    load(stage.run(export=ExportTarget(str(tmp_path))), of_all_types, OCTOBER)
    assert assert_same_rows(stage, of_all_types) == 3
    frame = polars.read_parquet(tmp_path / "ALL_TYPES" / "ALL_TYPES_2025-10.parquet").sort("ID")
    place = {text: f"C{number}" for number, text in enumerate(EDGES)}
    assert frame[place["decimal(38,10)"]].to_list() == [*map(Decimal, EDGES["decimal(38,10)"]), None]
    assert frame[place["money"]].to_list() == [*map(Decimal, EDGES["money"]), None]
    assert frame[place["nvarchar(max)"]].to_list() == [*EDGES["nvarchar(max)"], None]
    assert frame[place["date"]].to_list() == [date.min, date.max, None]
    assert frame[place["uniqueidentifier"]].to_list() == [*EDGES["uniqueidentifier"], None]
    assert frame[place["tinyint"]].to_list() == [0, 255, None]


def test_batches_are_bounded_and_of_the_catalogs_types(stage: Stage) -> None:
    with stage.source.snapshot(ITEMS, OCTOBER) as snapshot:
        batches = list(snapshot.batches(BATCH))
    assert len(batches) > 3
    assert max(batch.nbytes for batch in batches) < 4 * BATCH
    assert {batch.schema for batch in batches} == {arrow_schema(ITEMS)}
    assert sum(batch.num_rows for batch in batches) == source_rows(stage, ITEMS, OCTOBER).total()


def test_decimals_are_exact(stage: Stage) -> None:
    column = "DOUBLE_COST"
    with stage.source.snapshot(SALES, OCTOBER) as snapshot:
        arrived = {value for batch in snapshot.batches(BATCH) for value in batch.column(column).to_pylist()}
    with stage.connect_source() as connection:
        query = sql.SQL('SELECT DISTINCT {} FROM {} WHERE "DATETIME__SALES_DATE" >= %s').format(
            sql.Identifier(column), source_of(SALES)
        )
        there = {value for (value,) in connection.execute(query, (OCTOBER.start,))}
    assert arrived == there
    assert all(value is None or isinstance(value, Decimal) for value in arrived)


class Broken(Exception):
    """Raised in the middle of a stream."""


@pytest.mark.parametrize("earlier", [False, True], ids=["empty", "older version"])
def test_a_stream_that_breaks_leaves_nothing(stage: Stage, earlier: bool) -> None:
    if earlier:
        load(stage.run(), ITEMS, OCTOBER)
        with stage.connect_source() as connection:
            late_fix(connection, ITEMS, OCTOBER, 5, 1)
    before = warehouse_rows(stage, ITEMS)

    def breaking(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(batches):
            if number == 2:
                raise Broken
            yield batch

    with (
        pytest.raises(Broken),
        stage.source.snapshot(ITEMS, OCTOBER) as snapshot,
        stage.warehouse.staging(ITEMS, OCTOBER) as staging,
    ):
        staging.load(breaking(snapshot.batches(BATCH)), lambda rows, size: None)
    assert warehouse_rows(stage, ITEMS) == before
    assert staging_tables(stage) == []


@pytest.mark.parametrize("span", [OCTOBER, PART, UNDATED], ids=["month", "part", "undated"])
def test_an_export_holds_the_rows_and_its_manifest_says_so(stage: Stage, tmp_path: Path, span: Span) -> None:
    (report,) = load(stage.run("exporting", export=ExportTarget(str(tmp_path))), SALES, span)
    rows = assert_same_rows(stage, SALES, span)
    folder = tmp_path / "APP_4_SALES"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"APP_4_SALES_{span.name}.manifest.json",
        f"APP_4_SALES_{span.name}.parquet",
    ]
    parquet = folder / f"APP_4_SALES_{span.name}.parquet"
    manifest = json.loads((folder / f"APP_4_SALES_{span.name}.manifest.json").read_text())
    assert manifest["path"] == report.export_path == str(parquet)
    assert manifest["sha256"] == hashlib.sha256(parquet.read_bytes()).hexdigest()
    assert (manifest["rows"], manifest["bytes"]) == (rows, parquet.stat().st_size)
    assert manifest["checksum"]["value"] == report.checksum
    assert (manifest["run_id"], manifest["table"], manifest["window"]) == ("exporting", "APP_4_SALES", span.name)
    if isinstance(span, Window):
        assert (manifest["from_date"], manifest["to_date"]) == (str(span.start), str(span.last_day))
        days = [span.start + timedelta(days=n) for n in range(span.days)]
        assert set(manifest["rows_per_day"]) <= {str(day) for day in days}
    assert sum(manifest["rows_per_day"].values()) == rows
    assert list(manifest["schema"]) == list(SALES.columns)
    assert progress_rows(stage)[0]["export_path"] == str(parquet)


def test_an_export_has_the_values_of_the_source(stage: Stage, tmp_path: Path) -> None:
    load(stage.run(export=ExportTarget(str(tmp_path))), SALES, OCTOBER)
    file = tmp_path / "APP_4_SALES" / "APP_4_SALES_2025-10.parquet"
    frame = polars.read_parquet(file)
    assert frame.columns == list(SALES.columns)
    assert frame.schema["DOUBLE_COST"] == polars.Decimal(16, 4)
    assert frame.schema["DATETIME__SALES_DATE"] == polars.Date()
    # year 1 and year 9999 are as far as Python's own dates go
    columns = sql.SQL(", ").join(map(sql.Identifier, SALES.columns))
    query = sql.SQL('SELECT {} FROM {} WHERE "DATETIME__SALES_DATE" >= %s ORDER BY "ID"').format(
        columns, source_of(SALES)
    )
    with psycopg.connect(stage.server.dsn(stage.source_connection.database)) as connection:
        expected = connection.execute(query, (OCTOBER.start,)).fetchall()
    assert frame.sort("ID").rows() == expected
    total = duckdb.sql(f"SELECT count(*), sum(DOUBLE_COST) FROM '{file}'").fetchall()
    assert total == [(len(expected), sum(row[frame.columns.index("DOUBLE_COST")] or 0 for row in expected))]


def test_an_export_that_is_there_is_not_written_again(stage: Stage, tmp_path: Path) -> None:
    target = ExportTarget(str(tmp_path))
    load(stage.run("first"), SALES, OCTOBER)
    (second,) = load(stage.run("second", export=target), SALES, OCTOBER)
    assert not second.unchanged
    file = target.file(SALES, OCTOBER, "look")
    written = Path(file.path).stat().st_mtime_ns
    (third,) = load(stage.run("third", export=target), SALES, OCTOBER)
    assert third.unchanged
    assert Path(file.path).stat().st_mtime_ns == written
    with stage.connect_source() as connection:
        late_fix(connection, SALES, OCTOBER, 1, 1)
    load(stage.run("fourth", export=target), SALES, OCTOBER)
    manifest = file.manifest()
    assert manifest is not None
    assert manifest["run_id"] == "fourth"


@pytest.mark.parametrize("verify", [Verify.NONE, Verify.COUNTS])
def test_an_export_goes_with_every_level_of_verification(stage: Stage, tmp_path: Path, verify: Verify) -> None:
    load(stage.run(export=ExportTarget(str(tmp_path)), verify=verify), SALES, OCTOBER)
    (again,) = load(stage.run("again", export=ExportTarget(str(tmp_path)), verify=verify), SALES, OCTOBER)
    assert again.unchanged
    frame = polars.read_parquet(tmp_path / "APP_4_SALES" / "APP_4_SALES_2025-10.parquet")
    assert frame.height == assert_same_rows(stage, SALES, OCTOBER)


def test_a_value_of_another_type_at_the_source_names_its_column(stage: Stage, tmp_path: Path) -> None:
    with stage.connect_source() as connection:
        connection.execute(
            sql.SQL('UPDATE {} SET "BOOL_IS_WEBSALES" = 300 WHERE "DATETIME__SALES_DATE" = %s').format(
                source_of(SALES)
            ),
            (OCTOBER.start,),
        )
    with pytest.raises(ValueDoesNotFit, match="column BOOL_IS_WEBSALES"):
        load(stage.run(export=ExportTarget(str(tmp_path))), SALES, OCTOBER)
    assert not list((tmp_path / "APP_4_SALES").iterdir())
    assert not warehouse_rows(stage, SALES)
