"""Windows of a pair of databases that have no checksum in common: summed here, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from include.demo.changes import hard_delete, late_fix
from include.engines.base import Level
from include.engines.postgres.warehouse import PostgresWarehouse
from include.engines.rowsums import method, sum_rows
from include.errors import CountMismatch
from include.replication.export import ExportTarget
from include.replication.replicate import replicate
from include.replication.verify import compare
from include.windows import UNDATED
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import CATALOG, ITEMS, SALES, Watch, assert_same_rows, load, load_all, progress_rows

TEXT_DATED = next(table for table in CATALOG if table.strategy == "window" and table.date_is_text)


@pytest.fixture(autouse=True)
def _nothing_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresWarehouse, "own_checksum", None)


@pytest.mark.parametrize("table", [SALES, ITEMS, TEXT_DATED], ids=lambda table: table.name)
def test_a_loaded_window_is_verified_by_its_rows(stage: Stage, table: Any) -> None:
    (report,) = load(stage.run(), table, OCTOBER)
    assert report.status == "verified"
    assert report.rows_published == assert_same_rows(stage, table, OCTOBER) > 0
    found = compare(stage.source, stage.warehouse, table, OCTOBER, Level.CHECKSUM)
    assert found.equal
    assert found.source.method == method()
    assert found.source.total == report.checksum == progress_rows(stage)[0]["checksum"]


def test_its_days_are_those_that_the_server_counts(stage: Stage) -> None:
    with stage.source.snapshot(SALES, OCTOBER) as snapshot:
        here, there = snapshot.digest(Level.CHECKSUM, portable=True), snapshot.digest(Level.COUNTS)
    assert {day: total.rows for day, total in here.days.items()} == {day: sum_.rows for day, sum_ in there.days.items()}


@pytest.mark.parametrize("table", [SALES, TEXT_DATED], ids=lambda table: table.name)
def test_rows_without_a_date_have_a_day_of_their_own(stage: Stage, table: Any) -> None:
    with stage.source.snapshot(table, UNDATED) as snapshot:
        here, there = snapshot.digest(Level.CHECKSUM, portable=True), snapshot.digest(Level.COUNTS)
    assert set(here.days) == set(there.days) <= {None}
    assert here.rows == there.rows


def test_neither_order_nor_size_of_batches_matters(stage: Stage) -> None:
    with stage.source.snapshot(SALES, OCTOBER) as snapshot:
        whole = pa.Table.from_batches(snapshot.batches(1 << 24))
    turned = whole.take(pa.array(reversed(range(whole.num_rows))))
    sums = [sum_rows(SALES, iter(part.to_batches(max_chunksize=size))) for part in (whole, turned) for size in (7, 999)]
    assert sums[0].rows == whole.num_rows
    assert all(sums[0] == other for other in sums)


def test_a_rerun_reads_and_changes_nothing_and_a_fix_is_found(stage: Stage) -> None:
    load_all(stage.run("first"), SALES)
    assert all(report.unchanged for report in load_all(stage.run("second"), SALES))
    with stage.connect_source() as connection:
        late_fix(connection, SALES, OCTOBER, 3, 1)
        hard_delete(connection, SALES, OCTOBER, 2, 2)
    (report,) = load(stage.run("third"), SALES, OCTOBER)
    assert not report.unchanged
    assert_same_rows(stage, SALES)


def test_a_value_that_differs_is_found_by_day(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    with stage.connect_warehouse() as connection:
        connection.execute(
            'UPDATE dbo."com_5013_APP_4_SALES" SET "BILL_REMARK" = \'changed \' WHERE "ID" ='
            ' (SELECT min("ID") FROM dbo."com_5013_APP_4_SALES" WHERE "DATETIME__SALES_DATE" = \'2025-10-05\')'
        )
    found = compare(stage.source, stage.warehouse, SALES, OCTOBER, Level.CHECKSUM)
    assert [str(day) for day in found.days] == ["2025-10-05"]


def test_a_copy_that_does_not_equal_its_source_is_no_success(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from include.engines.postgres.warehouse import PostgresStaging

    kept = PostgresStaging.as_kept

    def lossy(self: PostgresStaging, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(kept(self, batches)):
            yield batch if number else batch.slice(1)

    monkeypatch.setattr(PostgresStaging, "as_kept", lossy)
    with pytest.raises(CountMismatch, match="rows were loaded, the source counts"):
        replicate(stage.run(), SALES, OCTOBER, Watch())


def test_an_export_is_made_of_the_same_rows(stage: Stage, tmp_path: Any) -> None:
    run = stage.run(export=ExportTarget(str(tmp_path)))
    (report,) = load(run, SALES, OCTOBER)
    assert report.export_path
    manifest = run.export.file(SALES, OCTOBER, run.id).manifest() if run.export else None
    assert manifest
    assert manifest["checksum"] == {"method": method(), "value": report.checksum}
    (again,) = load(stage.run("again", export=run.export), SALES, OCTOBER)
    assert again.unchanged
