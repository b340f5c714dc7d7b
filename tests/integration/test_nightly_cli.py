"""The commands ``nightly`` and ``refresh`` as a cron job sees them: exit codes, and the records they leave."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.catalog import Table
from include.demo.changes import hard_delete, late_arrival, late_fix, move_date
from include.windows import UNDATED, Window
from tests.integration.commands import Cli, line_of
from tests.integration.conftest import Stage
from tests.integration.helpers import (
    CATALOG,
    ITEMS,
    PAYMENTS,
    SALES,
    assert_same_rows,
    progress_rows,
    source_of,
    source_rows,
    warehouse_rows,
)

TABLES = (SALES, ITEMS, PAYMENTS)
NAMES = tuple(table.name for table in TABLES)
DAY_BEFORE, DAY = (Window.inclusive(day, day) for day in (date(2025, 10, 30), date(2025, 10, 31)))
VOIDS, VOUCHERS = CATALOG["APP_4_VOIDSALESITEM"], CATALOG["APP_4_VOUCHER"]


@pytest.fixture
def cli(stage: Stage, tmp_path: Path) -> Cli:
    return Cli(stage.environment(tmp_path))


def history(stage: Stage) -> list[dict[str, Any]]:
    """Return the rows of the history, oldest first."""
    query = "SELECT * FROM dbo.replica_run_history ORDER BY id"
    with stage.connect_warehouse() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(query).fetchall()


def of_last_run(stage: Stage) -> dict[str, dict[str, Any]]:
    """Return the history of the run that was begun last, by type."""
    rows = history(stage)
    return {row["run_type"]: row for row in rows if row["run_id"] == rows[-1]["run_id"]}


def told(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("from_date", "to_date", "success", "rows_loaded", "rows_fixed", "error"))


def done_by_last_run(stage: Stage) -> set[tuple[str, str, str, str]]:
    """Return table, phase, window and status of what the last run did."""
    rows = progress_rows(stage, run_id=history(stage)[-1]["run_id"])
    return {(row["table_name"], row["phase"], row["window_name"], row["status"]) for row in rows}


def count(stage: Stage, tables: tuple[Table, ...], *spans: Any) -> int:
    return sum(source_rows(stage, table, span).total() for table in tables for span in spans)


def plant(stage: Stage, day: Window) -> int:
    """Change rows of a day at the source, none of them twice; returns how many."""
    planted = 0
    with stage.connect_source() as connection:
        for seed, table in enumerate(TABLES):
            changed = [
                hard_delete(connection, table, day, 1, seed),
                move_date(connection, table, day, 1, seed, to=date(2025, 9, 3)),
                late_fix(connection, table, day, 2, seed),
                late_arrival(connection, table, day, 2, seed),
            ]
            assert [len(keys) for keys in changed] == [1, 1, 2, 2]
            planted += sum(map(len, changed))
    return planted


def plant_a_value_too_long(stage: Stage) -> date:
    """Make a row of the voids unloadable; returns its day, the last that has any."""
    with stage.connect_source() as connection:
        row = connection.execute(
            sql.SQL('SELECT max("DATETIME__VOID_DATETIME") FROM {}').format(source_of(VOIDS))
        ).fetchone()
        assert row is not None
        connection.execute(sql.SQL('ALTER TABLE {} ALTER "VOID_REASON" TYPE text').format(source_of(VOIDS)))
        connection.execute(
            sql.SQL('UPDATE {} SET "VOID_REASON" = repeat(\'x\', 300) WHERE "DATETIME__VOID_DATETIME" = %s').format(
                source_of(VOIDS)
            ),
            row,
        )
    day: date = row[0]
    return day


def test_a_night_loads_its_day_and_repairs_the_day_before(cli: Cli, stage: Stage) -> None:
    loaded = count(stage, TABLES, DAY, UNDATED)
    missing = count(stage, TABLES, DAY_BEFORE)
    assert min(loaded, missing) > 0

    cli.ok("nightly", *NAMES, "--date", "2025-10-31", "--no-sweep")

    for table in TABLES:
        assert_same_rows(stage, table, DAY)
        assert_same_rows(stage, table, DAY_BEFORE)
    assert {type_: told(row) for type_, row in of_last_run(stage).items()} == {
        "T0": (DAY.start, DAY.start, True, loaded, 0, None),
        "T1": (DAY_BEFORE.start, DAY_BEFORE.start, True, 0, missing, None),
    }
    assert {row["tables"] for row in history(stage)} == {", ".join(NAMES)}
    assert all(row["started_at"] <= row["finished_at"] for row in history(stage))
    spans = [("load", "2025-10-31"), ("load", "undated"), ("fix", "2025-10-30")]
    assert done_by_last_run(stage) == {(name, *span, "verified") for name in NAMES for span in spans}


def test_check_fixes_repairs_the_named_day_and_loads_nothing(cli: Cli, stage: Stage) -> None:
    cli.ok("nightly", *NAMES, "--date", "2025-10-31")
    planted = plant(stage, DAY_BEFORE)

    output = cli.ok("nightly", *NAMES, "--check-fixes", "--date", "2025-10-30")

    for table in TABLES:
        assert_same_rows(stage, table, DAY_BEFORE)
        assert_moved(stage, table)
    assert {type_: told(row) for type_, row in of_last_run(stage).items()} == {
        "T1": (DAY_BEFORE.start, DAY_BEFORE.start, True, 0, planted, None),
    }
    assert done_by_last_run(stage) == {(name, "fix", "2025-10-30", "verified") for name in NAMES}
    assert "load nothing, check 2025-10-30" in output
    cells = line_of(output, "│ APP_4_SALES ", "2025-10-30 fix").split("│")
    assert [cell.strip() for cell in cells[-4:-1]] == ["2", "3", "1"]


def assert_moved(stage: Stage, table: Table) -> None:
    """The row that moved is on its new day, and nowhere else."""
    day = Window.inclusive(date(2025, 9, 3), date(2025, 9, 3))
    found = warehouse_rows(stage, table, day)
    assert found.total() == 1
    assert found <= source_rows(stage, table, day)


def test_the_sweep_fetches_a_fix_of_any_date(cli: Cli, stage: Stage) -> None:
    late = Window.inclusive(date(2025, 10, 7), date(2025, 10, 7))
    cli.ok("nightly", "APP_4_SALES", "--start", "2025-10-01", "--end", "2025-10-31")
    with stage.connect_source() as connection:
        assert len(late_fix(connection, SALES, late, 3, 1)) == 3
    cli.ok("nightly", "APP_4_SALES", "--date", "2025-10-31", "--no-sweep")
    assert warehouse_rows(stage, SALES, late) != source_rows(stage, SALES, late)

    cli.ok("nightly", "APP_4_SALES", "--date", "2025-10-31")

    assert_same_rows(stage, SALES, late)
    assert told(of_last_run(stage)["T1"])[2:] == (True, 0, 3, None)
    assert ("APP_4_SALES", "sweep", "changes", "published") in done_by_last_run(stage)


def test_a_range_is_loaded_and_as_many_days_before_it_checked_as_asked_for(cli: Cli, stage: Stage) -> None:
    options = ("--start", "2025-09-30", "--end", "2025-10-02", "--fix-days", "2", "--no-sweep")
    cli.ok("nightly", "APP_4_SALES", *options)

    loaded, checked = (Window.inclusive(date(2025, 9, 30), date(2025, 10, 2)), Window.parse("2025-09-28/2025-09-30"))
    for window in (loaded, checked):
        assert assert_same_rows(stage, SALES, window) > 0
    assert {type_: told(row)[:3] for type_, row in of_last_run(stage).items()} == {
        "T0": (loaded.start, loaded.last_day, True),
        "T1": (checked.start, checked.last_day, True),
    }
    assert done_by_last_run(stage) == {
        ("APP_4_SALES", "load", "2025-09-30", "verified"),
        ("APP_4_SALES", "load", "2025-10-01..2025-10-02", "verified"),
        ("APP_4_SALES", "load", "undated", "verified"),
        ("APP_4_SALES", "fix", "2025-09-28..2025-09-29", "verified"),
    }


def test_a_table_that_fails_stops_no_other_and_is_named(cli: Cli, stage: Stage) -> None:
    day = plant_a_value_too_long(stage)

    done = cli("nightly", VOIDS.name, VOUCHERS.name, "--date", str(day), "--no-sweep")

    assert done.returncode == 1
    assert "VOID_REASON" in line_of(done.stdout, f"│ {VOIDS.name} ", f"{day} ", "failed")
    assert_same_rows(stage, VOUCHERS, Window.inclusive(day, day))
    rows = of_last_run(stage)
    assert {type_: row["success"] for type_, row in rows.items()} == {"T0": False, "T1": True}
    assert rows["T0"]["error"].startswith(f"{VOIDS.name} {day}: ")
    assert VOUCHERS.name not in rows["T0"]["error"]
    statuses = {(table, phase, window): status for table, phase, window, status in done_by_last_run(stage)}
    assert statuses.pop((VOIDS.name, "load", str(day))) == "failed"
    assert set(statuses.values()) == {"verified"}


@pytest.mark.parametrize("option", ["--sweep", "--check-fixes"])
def test_a_table_that_cannot_be_made_ready_fails_all_that_was_asked_for(cli: Cli, stage: Stage, option: str) -> None:
    with stage.connect_source() as connection:
        connection.execute(sql.SQL("DROP TABLE {}").format(source_of(VOIDS)))

    done = cli("nightly", VOIDS.name, VOUCHERS.name, "--date", "2025-10-31", option)

    assert done.returncode == 1
    rows = of_last_run(stage)
    assert {type_: row["success"] for type_, row in rows.items()} == {
        "T1": False,
        **({"T0": False} if option == "--sweep" else {}),
    }
    assert all(VOIDS.name in row["error"] for row in rows.values())
    statuses = {(table, phase): status for table, phase, _, status in done_by_last_run(stage)}
    assert statuses.pop((VOIDS.name, "load")) == "failed"
    assert (VOUCHERS.name, "fix") in statuses
    assert set(statuses.values()) <= {"verified", "published"}


BAD_REQUESTS = {
    ("nightly", "--date", "2025-10-31", "--start", "2025-10-01"): "date beside start and end",
    ("nightly", "--start", "2025-10-01"): "start without end",
    ("nightly", "--start", "2025-10-31", "--end", "2025-10-01"): "start 2025-10-31 is after end 2025-10-01",
    ("nightly", "--date", "2999-01-01"): "in the future",
    ("nightly", "--date", "31/10/2025"): "date: not a date: '31/10/2025'",
    ("nightly", "--fix-days", "0"): "--fix-days",
    ("nightly", "--fix-days", "367"): "--fix-days",
    ("nightly", "APP_4_STOCK"): "not nightly tables: APP_4_STOCK",
    ("refresh", "APP_4_SALES"): "not reference tables: APP_4_SALES",
    ("refresh", "--start-date", "2025-10-01"): "start_date without end_date",
    ("refresh", "--no-such-option"): "--no-such-option",
}


def test_a_request_that_makes_no_sense_is_exit_code_2_and_begins_nothing(cli: Cli, stage: Stage) -> None:
    for arguments, expected in BAD_REQUESTS.items():
        done = cli(*arguments)
        assert done.returncode == 2, arguments
        assert expected in done.stderr, arguments
    assert progress_rows(stage) == history(stage) == []


STORES = ("LOCATION_DETAIL", "APP_4_CASHIER_DRAWER", "APP_4_STAFF")


def test_refresh_replaces_tables_once_and_records_what_is_not_exposed(cli: Cli, stage: Stage) -> None:
    first = cli.ok("refresh", *STORES)

    exposed = [CATALOG[name] for name in STORES[:2]]
    rows = sum(assert_same_rows(stage, table) for table in exposed)
    assert {type_: told(row) for type_, row in of_last_run(stage).items()} == {
        "reference": (None, None, True, rows, 0, None)
    }
    assert of_last_run(stage)["reference"]["tables"] == "APP_4_STAFF, LOCATION_DETAIL, APP_4_CASHIER_DRAWER"
    statuses = {table: status for table, _, _, status in done_by_last_run(stage)}
    assert statuses == {**dict.fromkeys(STORES, "verified"), "APP_4_STAFF": "not_exposed"}
    assert line_of(first, "│ APP_4_STAFF ", "not exposed by the source")

    again = cli.ok("refresh", *STORES)

    statuses = {table: status for table, _, _, status in done_by_last_run(stage)}
    assert statuses == {**dict.fromkeys(STORES, "unchanged"), "APP_4_STAFF": "not_exposed"}
    assert told(of_last_run(stage)["reference"])[2:] == (True, 0, 0, None)
    assert line_of(again, "│ LOCATION_DETAIL ", "whole ", "unchanged")


def test_refresh_with_dates_replaces_these_days_of_tables_that_have_one(cli: Cli, stage: Stage) -> None:
    logs, stores = CATALOG["APP_4_EODLOG"], CATALOG["LOCATION_DETAIL"]
    cli.ok("refresh", logs.name, stores.name, "--start-date", "2025-10-05", "--end-date", "2025-10-20")

    window = Window.inclusive(date(2025, 10, 5), date(2025, 10, 20))
    rows = assert_same_rows(stage, logs, window)
    assert warehouse_rows(stage, logs).total() == rows > 0
    assert_same_rows(stage, stores)
    assert told(of_last_run(stage)["reference"])[:3] == (window.start, window.last_day, True)
    assert {(table, window) for table, _, window, _ in done_by_last_run(stage)} == {
        (logs.name, "2025-10-05..2025-10-20"),
        (stores.name, "whole"),
    }


def test_a_reference_table_that_fails_stops_no_other_and_is_named(cli: Cli, stage: Stage) -> None:
    cli.ok("refresh", "LOCATION_DETAIL")
    kept = warehouse_rows(stage, CATALOG["LOCATION_DETAIL"])
    with stage.connect_source() as connection:
        connection.execute(sql.SQL("DELETE FROM {}").format(source_of(CATALOG["LOCATION_DETAIL"])))

    done = cli("refresh", "LOCATION_DETAIL", "APP_4_CASHIER_DRAWER")

    assert done.returncode == 1
    assert warehouse_rows(stage, CATALOG["LOCATION_DETAIL"]) == kept
    assert_same_rows(stage, CATALOG["APP_4_CASHIER_DRAWER"])
    row = of_last_run(stage)["reference"]
    assert row["success"] is False
    assert row["error"].startswith("LOCATION_DETAIL whole: ")
    assert "APP_4_CASHIER_DRAWER" not in row["error"]

    cli.ok("refresh", "LOCATION_DETAIL", "--allow-empty")

    assert warehouse_rows(stage, CATALOG["LOCATION_DETAIL"]).total() == 0


def test_a_night_exports_what_it_loads(cli: Cli, stage: Stage, tmp_path: Path) -> None:
    cli.ok("nightly", "APP_4_SALES", "--date", "2025-10-31", "--no-sweep", "--export")

    manifests = list((tmp_path / "exports").glob("*/*.manifest.json"))
    exported = {row["window_name"] for row in progress_rows(stage) if row["export_path"]}
    assert exported == {"2025-10-31", "undated"}
    assert len(manifests) == 2
