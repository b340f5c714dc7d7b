"""An audit finds every difference of its days and names the rows; it changes nothing unless it is to repair."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from include.catalog import Table
from include.demo.changes import hard_delete, late_arrival, late_fix, move_date
from include.errors import PermanentError, RetailSyncError, SchemaMismatch
from include.replication.audit import audit_table
from include.replication.audit_record import MOST_KEYS, rows_of_audit
from include.replication.audit_report import lines, unrepaired, write_report
from include.windows import Window
from tests.integration.conftest import OCTOBER, WINDOW, Stage, Stages
from tests.integration.helpers import (
    CATALOG,
    SALES,
    Watch,
    load_all,
    one,
    progress_rows,
    replica_of,
    source_of,
    source_rows,
    warehouse_rows,
)

TEXT_DATED = CATALOG["APP_4_SALESQUANTITIES"]
UNVERSIONED = SALES.model_copy(update={"rowversion": None})
KEYLESS = SALES.model_copy(update={"key": ()})
TWO_KEYS = SALES.model_copy(update={"key": ("ID", "SALES_NO")})
NAMELESS = SALES.model_copy(update={"name": "APP_4_GONE"})

FIFTEENTH, SIXTEENTH = date(2025, 10, 15), date(2025, 10, 16)
DAY = Window.inclusive(FIFTEENTH, FIFTEENTH)
NEXT_DAY = Window.inclusive(SIXTEENTH, SIXTEENTH)
SPANS = ["2025-08", "2025-09", "2025-10", "undated"]

Rows = dict[str, dict[str, Any]]


def audit(stage: Stage, table: Table = SALES, window: Window = WINDOW, run_id: str = "audit", **options: Any) -> Rows:
    """Audit a table; returns what is recorded, by window, after making sure that it is what was returned."""
    found = audit_table(stage.run(run_id), table, window, lambda *_: Watch(), **options)
    rows = [row for row in rows_of_audit(stage.warehouse.metadata(), run_id) if row["table_name"] == table.name]
    assert [{**row, "id": None} for row in rows] == [{**finding.as_record(run_id), "id": None} for finding in found]
    return {row["window_name"]: row for row in rows}


def at_source(stage: Stage, *changes: Callable[[psycopg.Connection[Any]], object]) -> list[Any]:
    with stage.connect_source() as connection:
        return [change(connection) for change in changes]


def in_warehouse(stage: Stage, statement: str, *values: Any) -> list[Any]:
    with stage.connect_warehouse() as connection:
        query = sql.SQL(statement).format(replica_of(SALES))  # type: ignore[arg-type]
        return [str(key) for (key,) in connection.execute(query, values or None)]


def tamper(stage: Stage, day: date = FIFTEENTH) -> list[Any]:
    """Change a value of two rows of a day in the warehouse, under the rowversion of the source."""
    return in_warehouse(
        stage,
        'UPDATE {0} SET "BILL_REMARK" = \'by hand\' WHERE "ID" IN'
        ' (SELECT "ID" FROM {0} WHERE "DATETIME__SALES_DATE" = %s ORDER BY "ID" LIMIT 2) RETURNING "ID"',
        day,
    )


def undate(connection: psycopg.Connection[Any]) -> list[str]:
    """Take the date of a sale of the day away at the source."""
    query = sql.SQL(
        'UPDATE {0} SET "DATETIME__SALES_DATE" = NULL WHERE "ID" ='
        ' (SELECT min("ID") FROM {0} WHERE "DATETIME__SALES_DATE" = %s) RETURNING "ID"'
    )
    return [str(one(connection, query.format(source_of(SALES)), FIFTEENTH))]


def texts(keys: Any) -> list[str]:
    return [str(key) for (key,) in sorted(keys)]


def counts(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["rows_missing"], row["rows_different"], row["rows_extra"]


# comparing


@pytest.mark.parametrize("table", [SALES, TEXT_DATED, KEYLESS], ids=["dates", "dates as text", "no key"])
def test_equal_months_have_a_row_each_with_the_rows_of_both_sides(stages: Stages, table: Table) -> None:
    stage = stages.loaded(table)
    rows = audit(stage, table)
    assert list(rows) == SPANS
    assert {(row["equal"], row["found_by"], row["repaired"]) for row in rows.values()} == {(True, "checksum", False)}
    october = rows["2025-10"]
    expected = source_rows(stage, table, OCTOBER).total()
    assert october["rows_source"] == october["rows_warehouse"] == expected > 0
    assert (october["from_date"], october["to_date"]) == (date(2025, 10, 1), date(2025, 10, 31))
    assert (rows["undated"]["from_date"], rows["undated"]["to_date"]) == (None, None)
    assert (*counts(october), october["keys"]) == (None, None, None, None)
    assert unrepaired(list(rows.values())) == []


@pytest.mark.parametrize("table", [SALES, UNVERSIONED], ids=["rowversion", "no rowversion"])
def test_a_late_fix_is_found_by_checksum_and_its_rows_are_named(stages: Stages, table: Table) -> None:
    stage = stages.loaded(table)
    (fixed,) = at_source(stage, lambda c: late_fix(c, SALES, DAY, 3, 1))
    rows = audit(stage, table)
    assert list(rows) == ["2025-08", "2025-09", "2025-10", "2025-10-15", "undated"]
    assert [name for name, row in rows.items() if not row["equal"]] == ["2025-10", "2025-10-15"]
    day, month = rows["2025-10-15"], rows["2025-10"]
    assert (day["found_by"], month["found_by"]) == ("checksum", "checksum")
    assert (day["from_date"], day["to_date"], counts(day)) == (FIFTEENTH, FIFTEENTH, (0, 3, 0))
    assert json.loads(day["keys"]) == {"missing": [], "different": texts(fixed), "extra": []}
    assert day["rows_source"] == day["rows_warehouse"] == source_rows(stage, SALES, DAY).total()


def test_a_value_changed_in_the_warehouse_under_the_same_rowversion_is_found(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    tampered = tamper(stage)
    day = audit(stage)["2025-10-15"]
    assert counts(day) == (0, 2, 0)
    assert json.loads(day["keys"])["different"] == sorted(tampered, key=int)


def test_missing_and_extra_rows_are_found_by_count(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    (gone,) = at_source(stage, lambda c: hard_delete(c, SALES, DAY, 1, 1))
    lost = in_warehouse(stage, 'DELETE FROM {} WHERE "DATETIME__SALES_DATE" = %s RETURNING "ID"', SIXTEENTH)
    (moved,) = at_source(stage, lambda c: move_date(c, SALES, NEXT_DAY, 1, 1, to=date(2025, 8, 3)))
    rows = audit(stage)
    assert {name: row["found_by"] for name, row in rows.items() if not row["equal"]} == dict.fromkeys(
        ["2025-08", "2025-08-03", "2025-10", "2025-10-15", "2025-10-16"], "counts"
    )
    assert json.loads(rows["2025-10-15"]["keys"]) == {"missing": [], "different": [], "extra": texts(gone)}
    left = sorted({*lost} - {*texts(moved)}, key=int)
    assert json.loads(rows["2025-10-16"]["keys"]) == {"missing": left, "different": [], "extra": []}
    assert json.loads(rows["2025-08-03"]["keys"])["missing"] == texts(moved)
    assert (rows["2025-10-16"]["rows_source"], rows["2025-10-16"]["rows_warehouse"]) == (len(left), 0)
    assert unrepaired(list(rows.values())) == [
        "APP_4_SALES: source and warehouse differ on 2025-08-03, 2025-10-15..2025-10-16"
    ]


def test_undated_rows_that_differ_have_one_row_with_their_keys(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    (undated,) = at_source(stage, undate)
    rows = audit(stage)
    assert list(rows) == ["2025-08", "2025-09", "2025-10", "2025-10-15", "undated"]
    assert (rows["undated"]["equal"], counts(rows["undated"])) == (False, (1, 0, 0))
    assert json.loads(rows["undated"]["keys"])["missing"] == undated
    assert json.loads(rows["2025-10-15"]["keys"])["extra"] == undated
    assert unrepaired(list(rows.values())) == ["APP_4_SALES: source and warehouse differ on 2025-10-15, undated"]


def test_a_window_of_one_day_that_differs_has_one_row(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 1, 1))
    rows = audit(stage, window=DAY)
    assert list(rows) == ["2025-10-15", "undated"]
    assert counts(rows["2025-10-15"]) == (0, 1, 0)


def test_only_the_days_of_the_window_are_compared(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 1, 1))
    rows = audit(stage, window=Window(date(2025, 9, 20), FIFTEENTH))
    assert [(name, row["equal"]) for name, row in rows.items()] == [
        ("2025-09-20..2025-09-30", True),
        ("2025-10-01..2025-10-14", True),
        ("undated", True),
    ]


def test_the_lowest_hundred_keys_are_kept_and_all_are_counted(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    (new,) = at_source(stage, lambda c: late_arrival(c, SALES, DAY, MOST_KEYS + 7, 1))
    day = audit(stage)["2025-10-15"]
    assert day["rows_missing"] == MOST_KEYS + 7
    assert json.loads(day["keys"])["missing"] == texts(new)[:MOST_KEYS]


def test_a_key_of_two_columns_is_a_list_of_texts(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    (gone,) = at_source(stage, lambda c: hard_delete(c, SALES, DAY, 1, 1))
    number = texts(gone)[0]
    (sale,) = in_warehouse(stage, 'SELECT "SALES_NO" FROM {} WHERE "ID" = %s', number)
    assert json.loads(audit(stage, TWO_KEYS)["2025-10-15"]["keys"])["extra"] == [[number, sale]]


def test_a_table_without_key_has_counts_only(stages: Stages) -> None:
    stage = stages.loaded(KEYLESS)
    at_source(stage, lambda c: hard_delete(c, SALES, DAY, 1, 1))
    day = audit(stage, KEYLESS)["2025-10-15"]
    assert (day["equal"], day["found_by"], counts(day), day["keys"]) == (False, "counts", (None, None, None), None)
    assert day["rows_warehouse"] == day["rows_source"] + 1


def test_an_optional_table_that_the_source_has_not_is_left_out(stage: Stage) -> None:
    assert audit(stage, NAMELESS.model_copy(update={"optional": True})) == {}
    with pytest.raises(SchemaMismatch, match="APP_4_GONE"):
        audit(stage, NAMELESS)


# what is written


def state(stage: Stage) -> Any:
    """Return the rows of the replica, and the transactions that wrote them."""
    written = in_warehouse(stage, "SELECT xmin::text || '/' || \"ID\" FROM {} ORDER BY 1")
    return warehouse_rows(stage, SALES), written, progress_rows(stage)


def test_without_repair_nothing_of_the_replica_is_touched(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 3, 1), lambda c: hard_delete(c, SALES, NEXT_DAY, 1, 1), undate)
    before = state(stage)
    rows = audit(stage)
    assert {row["repaired"] for row in rows.values()} == {False}
    assert state(stage) == before


def test_a_rerun_replaces_the_rows_of_its_table_and_no_other(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    load_all(stage.run("first"), TEXT_DATED)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 1, 1))
    assert len(audit(stage)) == len(SPANS) + 1
    other, earlier = audit(stage, TEXT_DATED), audit(stage, run_id="another run")
    load_all(stage.run("second"), SALES)

    assert list(audit(stage)) == SPANS

    kept = rows_of_audit(stage.warehouse.metadata(), "audit")
    assert [row for row in kept if row["table_name"] == TEXT_DATED.name] == list(other.values())
    assert rows_of_audit(stage.warehouse.metadata(), "another run") == list(earlier.values())


def test_a_rerun_that_fails_leaves_nothing_of_the_table(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    audit(stage)
    at_source(stage, lambda c: c.execute(sql.SQL("DROP TABLE {} CASCADE").format(source_of(SALES))))
    with pytest.raises(RetailSyncError):
        audit(stage)
    assert rows_of_audit(stage.warehouse.metadata(), "audit") == []


def test_the_file_holds_the_rows_of_the_record(stages: Stages, tmp_path: Path) -> None:
    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 3, 1), undate)
    rows = list(audit(stage, run_id="manual__2025-11-01T04:00:00+08:00/x").values())

    for _ in range(2):
        path = write_report(str(tmp_path), "manual__2025-11-01T04:00:00+08:00/x", rows)

    assert path == f"{tmp_path}/audit/audit_manual__2025-11-01T04_00_00_08_00_x.parquet"
    assert [file.name for file in (tmp_path / "audit").iterdir()] == [Path(path).name]
    assert pq.read_table(path).to_pylist() == [{k: v for k, v in row.items() if k != "id"} for row in rows]


def test_a_report_of_nothing_is_a_file_too_and_a_long_run_id_fits(tmp_path: Path) -> None:
    path = write_report(str(tmp_path), "x" * 250, [])
    assert pq.read_table(path).num_rows == 0
    assert "run_id" in pq.read_schema(path).names


@pytest.mark.parametrize("url", ["nowhere://user:secret@host/path", "{folder}/file"])
def test_a_place_that_cannot_be_written_is_an_error_without_the_url(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PermanentError, match="RETAIL_SYNC_EXPORTS_URL") as failed:
        write_report(url.format(folder=tmp_path), "run", [])
    assert "secret" not in str(failed.value)


def test_the_lines_of_the_log_are_a_table(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 3, 1))
    titles, *found = [line.split() for line in lines(list(audit(stage).values()))]
    assert titles[:2] == ["table", "window"]
    total = source_rows(stage, SALES, DAY).total()
    assert found[3] == ["APP_4_SALES", "2025-10-15", str(total), str(total), "no", "checksum", "0", "0", "3", "no"]
