"""Parquet files of windows and their manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.engines.arrow import arrow_schema
from include.engines.base import DaySum, Digest
from include.replication.export import ExportFile, ExportTarget
from include.windows import UNDATED, Span, Window
from tests.unit.tables import make_table

OCTOBER = Window.of_month(date(2025, 10, 1))
TABLE = make_table(
    {
        "ID": "bigint",
        "DAY": "date",
        "AMOUNT": "decimal(16,4)",
        "SOLD_AT": "datetime",
        "FLAG": "tinyint",
        "PHOTO": "varbinary(max)",
        "NOTE": "nvarchar(max)",
        "VERSION": "rowversion",
    }
)
EXTREMES: dict[str, list[Any]] = {
    "ID": [-(2**63), 2**63 - 1, 0, None],
    "DAY": [date(1, 1, 1), date(9999, 12, 31), date(2025, 10, 31), None],
    "AMOUNT": [Decimal("999999999999.9999"), Decimal("-999999999999.9999"), Decimal("0.0001"), None],
    "SOLD_AT": [
        *map(datetime.fromisoformat, ("1753-01-01", "9999-12-31T23:59:59.997", "2025-10-31T00:00:00.003")),
        None,
    ],
    "FLAG": [0, 255, 1, None],
    "PHOTO": [b"\x00\x01\x00", b"", b"\xff", None],
    "NOTE": ["Größe 尺寸 🧺", "", "trailing  ", None],
    "VERSION": [b"\x00" * 8, b"\xff" * 8, b"\x00\x00\x00\x00\x00\x00\x07\xd0", None],
}
DIGEST = Digest("postgres-column-hash", {date(2025, 10, 1): DaySum(1, 7), date(2025, 10, 31): DaySum(3, 2**64 - 1)})


def batch_of(values: dict[str, list[Any]], rows: slice = slice(None)) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: column[rows] for name, column in values.items()}, arrow_schema(TABLE))


def batches() -> Iterator[pa.RecordBatch]:
    yield batch_of(EXTREMES, slice(0, 3))
    yield batch_of(EXTREMES, slice(3, None))


def export(tmp_path: Path, span: Span = OCTOBER, run_id: str = "run 1") -> ExportFile:
    return ExportTarget(str(tmp_path)).file(TABLE, span, run_id)


def written(file: ExportFile, digest: Digest = DIGEST) -> Path:
    rows = sum(batch.num_rows for batch in file.tee(batches()))
    return Path(file.finish(digest, rows))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_batches_are_handed_on_as_they_came(tmp_path: Path) -> None:
    assert list(export(tmp_path).tee(batches())) == list(batches())


def test_a_batch_is_handed_on_before_the_next_one_is_read(tmp_path: Path) -> None:
    asked = []

    def reading() -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(batches()):
            asked.append(number)
            yield batch

    handed_on = export(tmp_path).tee(reading())
    next(handed_on)
    assert asked == [0]
    handed_on.close()


def test_until_it_is_finished_there_is_nothing_but_a_temporary(tmp_path: Path) -> None:
    file = export(tmp_path)
    for _ in file.tee(batches()):
        assert [name for name in names_in(tmp_path / "SALES") if not name.startswith(".tmp-")] == []
    assert names_in(tmp_path / "SALES") == {".tmp-SALES_2025-10.parquet"}
    assert file.manifest() is None
    assert not file.holds(DIGEST)


def test_a_finished_file_has_its_name_and_a_manifest(tmp_path: Path) -> None:
    file = export(tmp_path)
    assert written(file) == tmp_path / "SALES" / "SALES_2025-10.parquet"
    assert names_in(tmp_path / "SALES") == {"SALES_2025-10.parquet", "SALES_2025-10.manifest.json"}
    assert file.holds(DIGEST)


@pytest.mark.parametrize(
    ("span", "name"),
    [
        (Window.inclusive(date(2025, 10, 5), date(2025, 10, 20)), "SALES_2025-10-05..2025-10-20.parquet"),
        (Window.inclusive(date(2025, 10, 31), date(2025, 10, 31)), "SALES_2025-10-31.parquet"),
        (UNDATED, "SALES_undated.parquet"),
    ],
)
def test_each_span_has_a_file_of_its_own(tmp_path: Path, span: Span, name: str) -> None:
    assert written(export(tmp_path, span)).name == name


def test_the_manifest_tells_what_is_in_the_file(tmp_path: Path) -> None:
    path = written(export(tmp_path))
    manifest = json.loads(path.with_name("SALES_2025-10.manifest.json").read_text())
    when = datetime.fromisoformat(manifest.pop("written_at"))
    assert abs((datetime.now(UTC) - when).total_seconds()) < 60
    assert manifest == {
        "table": "SALES",
        "window": "2025-10",
        "from_date": "2025-10-01",
        "to_date": "2025-10-31",
        "path": str(path),
        "rows": 4,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "checksum": {"method": "postgres-column-hash", "value": "0000000000000006"},
        "rows_per_day": {"2025-10-01": 1, "2025-10-31": 3},
        "schema": {
            "ID": "int64",
            "DAY": "date32[day]",
            "AMOUNT": "decimal128(16, 4)",
            "SOLD_AT": "timestamp[us]",
            "FLAG": "uint8",
            "PHOTO": "binary",
            "NOTE": "string",
            "VERSION": "binary",
        },
        "source_types": {name: str(type_) for name, type_ in TABLE.columns.items()},
        "run_id": "run 1",
    }


def test_the_manifest_of_rows_without_a_date_says_so(tmp_path: Path) -> None:
    file = export(tmp_path, UNDATED)
    written(file, Digest("counts", {None: DaySum(4)}))
    manifest = file.manifest()
    assert manifest is not None
    assert (manifest["window"], manifest["from_date"], manifest["to_date"]) == ("undated", None, None)
    assert manifest["rows_per_day"] == {"undated": 4}


def test_a_window_without_rows_is_a_file_with_its_columns(tmp_path: Path) -> None:
    file = export(tmp_path)
    assert list(file.tee(iter([]))) == []
    path = file.finish(Digest("counts", {}), 0)
    found = pq.read_table(path)
    assert (found.num_rows, found.schema.names) == (0, list(TABLE.columns))
    assert file.holds(Digest("counts", {}))


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    file = export(tmp_path)
    list(file.tee(batches()))
    file.discard()
    assert names_in(tmp_path / "SALES") == set()
    file.discard()


def test_discarding_spares_the_file_that_was_finished_before(tmp_path: Path) -> None:
    written(export(tmp_path))
    again = export(tmp_path, run_id="run 2")
    next(again.tee(batches()))
    again.discard()
    assert again.holds(DIGEST)
    assert names_in(tmp_path / "SALES") == {"SALES_2025-10.parquet", "SALES_2025-10.manifest.json"}


def test_what_a_dead_run_left_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "SALES"
    folder.mkdir()
    (folder / ".tmp-SALES_2025-10.parquet").write_bytes(b"half a file")
    (folder / ".tmp-SALES_2025-10.manifest.json").write_bytes(b'{"table": ')
    path = written(export(tmp_path))
    assert names_in(folder) == {"SALES_2025-10.parquet", "SALES_2025-10.manifest.json"}
    assert pq.read_table(path).num_rows == 4


def test_a_file_is_replaced_by_a_later_run(tmp_path: Path) -> None:
    written(export(tmp_path))
    later = export(tmp_path, run_id="run 2")
    path = Path(later.finish(Digest("counts", {}), sum(batch.num_rows for batch in later.tee(iter([])))))
    manifest = later.manifest()
    assert manifest is not None
    assert (manifest["run_id"], manifest["rows"]) == ("run 2", 0)
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_window_that_is_read_twice_is_written_once(tmp_path: Path) -> None:
    file = export(tmp_path)
    next(file.tee(batches()))
    path = written(file)
    manifest = file.manifest()
    assert manifest is not None
    assert (manifest["rows"], manifest["bytes"]) == (4, path.stat().st_size)
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_old_manifest_never_stands_beside_a_new_file(tmp_path: Path) -> None:
    written(export(tmp_path))
    again = export(tmp_path)
    list(again.tee(batches()))
    (tmp_path / "SALES" / ".tmp-SALES_2025-10.manifest.json").mkdir()
    with pytest.raises(OSError):
        again.finish(DIGEST, 4)
    assert again.manifest() is None
    assert not again.holds(DIGEST)


def test_a_stream_that_breaks_leaves_the_file_before_as_it_was(tmp_path: Path) -> None:
    def breaking() -> Iterator[pa.RecordBatch]:
        yield batch_of(EXTREMES)
        raise ConnectionError

    before = written(export(tmp_path)).read_bytes()
    again = export(tmp_path)
    with pytest.raises(ConnectionError):
        list(again.tee(breaking()))
    assert Path(again.path).read_bytes() == before
    assert again.holds(DIGEST)


@pytest.mark.parametrize(
    "digest",
    [
        Digest("counts", DIGEST.days),
        Digest(DIGEST.method, {date(2025, 10, 1): DaySum(4, 7)}),
        Digest(DIGEST.method, {date(2025, 10, 1): DaySum(5, 6)}),
        Digest(DIGEST.method, {}),
    ],
    ids=["another method", "another sum", "another count", "nothing"],
)
def test_a_file_of_other_rows_does_not_hold_these(tmp_path: Path, digest: Digest) -> None:
    file = export(tmp_path)
    written(file)
    assert not file.holds(digest)


def test_a_file_without_its_manifest_holds_nothing(tmp_path: Path) -> None:
    file = export(tmp_path)
    written(file)
    Path(file.manifest_path).unlink()
    assert not file.holds(DIGEST)


def test_a_manifest_without_its_file_holds_nothing(tmp_path: Path) -> None:
    file = export(tmp_path)
    written(file).unlink()
    assert not file.holds(DIGEST)


def test_a_file_that_was_cut_holds_nothing(tmp_path: Path) -> None:
    file = export(tmp_path)
    path = written(file)
    path.write_bytes(path.read_bytes()[:-1])
    assert not file.holds(DIGEST)


def test_polars_reads_every_value_with_its_type(tmp_path: Path) -> None:
    found = pl.read_parquet(written(export(tmp_path)))
    assert dict(found.schema) == {
        "ID": pl.Int64,
        "DAY": pl.Date,
        "AMOUNT": pl.Decimal(16, 4),
        "SOLD_AT": pl.Datetime("us"),
        "FLAG": pl.UInt8,
        "PHOTO": pl.Binary,
        "NOTE": pl.String,
        "VERSION": pl.Binary,
    }
    assert found.to_dict(as_series=False) == EXTREMES


def test_duckdb_reads_every_value_with_its_type(tmp_path: Path) -> None:
    path = written(export(tmp_path))
    with duckdb.connect() as connection:
        found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        types = {name: str(type_) for name, type_, *_ in found.description}
        rows = found.fetchall()
    assert types == {
        "ID": "BIGINT",
        "DAY": "DATE",
        "AMOUNT": "DECIMAL(16,4)",
        "SOLD_AT": "TIMESTAMP",
        "FLAG": "UTINYINT",
        "PHOTO": "BLOB",
        "NOTE": "VARCHAR",
        "VERSION": "BLOB",
    }
    assert {name: list(column) for name, column in zip(EXTREMES, zip(*rows, strict=True), strict=True)} == EXTREMES


def test_the_file_is_compressed_by_snappy(tmp_path: Path) -> None:
    group = pq.ParquetFile(written(export(tmp_path))).metadata.row_group(0)
    assert {group.column(place).compression for place in range(group.num_columns)} == {"SNAPPY"}


def test_memory_is_bounded_by_row_groups(tmp_path: Path) -> None:
    rows = 70_000
    values = {name: [column[2]] * rows for name, column in EXTREMES.items()}
    file = export(tmp_path)
    list(file.tee(iter([batch_of(values)])))
    metadata = pq.ParquetFile(file.finish(Digest("counts", {}), rows)).metadata
    assert metadata.num_rows == rows
    assert max(metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)) <= 65536


def test_exports_may_go_to_a_url(tmp_path: Path) -> None:
    file = ExportTarget(f"file://{tmp_path}/lake/").file(TABLE, OCTOBER, "run 1")
    list(file.tee(batches()))
    assert file.finish(DIGEST, 4) == f"{tmp_path}/lake/SALES/SALES_2025-10.parquet"
    assert file.holds(DIGEST)


def test_a_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ExportTarget("exports").file(TABLE, OCTOBER, "run 1").path == (
        f"{tmp_path}/exports/SALES/SALES_2025-10.parquet"
    )
