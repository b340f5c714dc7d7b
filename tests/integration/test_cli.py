"""The command line as a cron job sees it: exit codes, and what it prints."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from include import migrations
from include.connections import parse
from include.demo.postgres import EmbeddedPostgres
from include.settings import PROJECT_ROOT
from include.windows import Window
from tests.integration.commands import Cli, Process, line_of
from tests.integration.conftest import Stage, drop_database, fresh_database
from tests.integration.helpers import (
    CATALOG,
    PAYMENTS,
    SALES,
    assert_same_rows,
    one,
    progress_rows,
    replica_of,
    source_of,
)

OCTOBER = ("--start-date", "2025-10-01", "--end-date", "2025-10-31")
MONTH = Window.inclusive(date(2025, 10, 1), date(2025, 10, 31))


@pytest.fixture
def cli(stage: Stage, tmp_path: Path) -> Cli:
    return Cli(stage.environment(tmp_path))


@pytest.fixture
def unmigrated(server: EmbeddedPostgres, stage: Stage) -> Iterator[Stage]:
    """A stage whose warehouse and control database are empty."""
    names = {part: fresh_database(server, part) for part in ("warehouse", "control")}
    yield replace(
        stage,
        warehouse_connection=parse("warehouse", server.uri(names["warehouse"])),
        control_connection=parse("control", server.uri(names["control"])),
    )
    for name in names.values():
        drop_database(server, name)


def test_replicate_verify_and_status_tell_what_is_there(cli: Cli, stage: Stage) -> None:
    tables = ("APP_4_SALES", "APP_4_PAYMENT")
    output = cli.ok("replicate", *tables, *OCTOBER, "--max-workers", "2")
    rows = assert_same_rows(stage, SALES, MONTH)
    assert f" {rows:,} " in line_of(output, "│ APP_4_SALES", "2025-10 ", "verified")
    again = cli.ok("replicate", *tables, *OCTOBER)
    assert [line.count("unchanged") for line in again.splitlines() if "2025-10 " in line and "│" in line] == [1, 1]

    with stage.connect_warehouse() as connection:
        changed = connection.execute(
            sql.SQL(
                'UPDATE {0} SET "BILL_REMARK" = \'by hand\' WHERE "ID" ='
                ' (SELECT min("ID") FROM {0} WHERE "DATETIME__SALES_DATE" = \'2025-10-31\')'
            ).format(replica_of(SALES))
        )
        assert changed.rowcount == 1
    found = cli("verify", *tables, *OCTOBER)
    assert found.returncode == 1
    assert "2025-10-31" in line_of(found.stdout, "APP_4_SALES", "2025-10 ", "│ no ")
    assert " yes " in line_of(found.stdout, "APP_4_PAYMENT", "2025-10 ")

    cli.ok("replicate", *tables, *OCTOBER)
    cli.ok("verify", *tables, *OCTOBER)
    newest = json.loads(cli.ok("status", "--json"))
    assert {(row["table_name"], row["window_name"], row["status"]) for row in newest} == {
        (table, window, "verified") for table in tables for window in ("2025-10", "undated")
    }
    run_id = newest[0]["run_id"]
    assert len({row["run_id"] for row in progress_rows(stage)}) == 3
    of_run = cli.ok("status", "--run-id", run_id)
    assert of_run.count(run_id) == 4


def test_replicate_takes_all_ten_tables_and_exports(cli: Cli, stage: Stage, tmp_path: Path) -> None:
    Process(cli.environment).ok("replicate", "--start-date", "2025-10-30", "--end-date", "2025-10-31", "--export")
    rows = progress_rows(stage)
    assert [row["table_name"] for row in rows[::2]] == [table.name for table in CATALOG.group("sales")]
    assert {(row["window_name"], row["status"]) for row in rows} == {
        ("2025-10-30..2025-10-31", "verified"),
        ("undated", "verified"),
    }
    assert len(list((tmp_path / "exports").glob("*/*.manifest.json"))) == 20


def test_a_window_that_fails_is_exit_code_1_and_named(cli: Cli, stage: Stage) -> None:
    with stage.connect_warehouse() as connection:
        connection.execute(
            sql.SQL('ALTER TABLE {} ADD CONSTRAINT "[/rule]" CHECK ("ID" < 0)').format(replica_of(SALES))
        )
    done = cli("replicate", "APP_4_SALES", "APP_4_PAYMENT", *OCTOBER)
    assert done.returncode == 1
    assert "[/rule]" in line_of(done.stdout, "│ APP_4_SALES", "2025-10 ", "failed")
    assert "verified" in line_of(done.stdout, "│ APP_4_PAYMENT", "2025-10 ")
    assert_same_rows(stage, PAYMENTS, MONTH)
    assert "[/rule]" in line_of(cli.ok("status"), "APP_4_SALES", "2025-10 ", "failed")


BAD_REQUESTS = {
    ("--start-date", "2025-10-01"): "--end-date",
    ("--start-date", "2025-10-31", "--end-date", "2025-10-01"): "start_date 2025-10-31 is after end_date 2025-10-01",
    ("--start-date", "2025-10-01", "--end-date", "2999-01-01"): "in the future",
    ("--start-date", "01/10/2025", "--end-date", "2025-10-31"): "start_date: not a date: '01/10/2025'",
    ("NO_SUCH_TABLE", *OCTOBER): "NO_SUCH_TABLE",
    (*OCTOBER, "--verify", "maybe"): "--verify",
    (*OCTOBER, "--no-such-option"): "--no-such-option",
    (*OCTOBER, "--max-workers", "0"): "--max-workers",
    ("APP_4_STOCK", *OCTOBER): "not nightly tables: APP_4_STOCK",
}


def test_a_request_that_makes_no_sense_is_exit_code_2_and_begins_nothing(cli: Cli, stage: Stage) -> None:
    for arguments, expected in BAD_REQUESTS.items():
        done = cli("replicate", *arguments)
        assert done.returncode == 2, arguments
        assert expected in done.stderr, arguments
    assert progress_rows(stage) == []


def test_a_setting_that_makes_no_sense_is_exit_code_2(cli: Cli) -> None:
    done = Cli({**cli.environment, "RETAIL_SYNC_MAX_WORKERS": "none"})("replicate", *OCTOBER)
    assert done.returncode == 2
    assert "max_workers" in done.stderr


def test_without_connections_it_says_what_to_set(tmp_path: Path) -> None:
    done = Process({"RETAIL_SYNC_LOCAL_DIR": str(tmp_path)})("replicate", *OCTOBER)
    assert done.returncode == 2
    assert "export AIRFLOW_CONN_POS_SOURCE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_that_is_down_is_exit_code_1(cli: Cli, stage: Stage) -> None:
    uri = "postgres://reader:hidden-word@127.0.0.1:1/pos"
    down = Process({**cli.environment, "AIRFLOW_CONN_POS_SOURCE": uri})
    done = down("replicate", "APP_4_SALES", *OCTOBER)
    assert done.returncode == 1
    assert "connecting to pos_source (postgres reader@127.0.0.1:1/pos)" in done.stdout
    assert "hidden-word" not in done.stdout + done.stderr
    assert progress_rows(stage) == []


def test_before_migrate_it_says_to_migrate(unmigrated: Stage, tmp_path: Path) -> None:
    done = Cli(unmigrated.environment(tmp_path))("replicate", "APP_4_SALES", *OCTOBER)
    assert done.returncode == 1
    assert "python -m include migrate" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def no_airflow(tmp_path: Path) -> str:
    """A Python with the project's packages that has no airflow command beside it."""
    link = tmp_path / "bin" / "python"
    link.parent.mkdir()
    link.symlink_to(sys.executable)
    return str(link)


def test_check_tells_what_is_missing_until_migrate_made_it(unmigrated: Stage, tmp_path: Path, no_airflow: str) -> None:
    environment = unmigrated.environment(tmp_path) | {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": sysconfig.get_path("purelib"),
    }
    secret = environment["AIRFLOW_CONN_POS_SOURCE"].replace("postgres@", "postgres:hidden-word@")
    bare = Process({**environment, "AIRFLOW_CONN_POS_SOURCE": secret}, python=no_airflow)

    before = bare("check")
    assert before.returncode == 1
    assert "python -m include migrate" in line_of(before.stdout, "warehouse: migrations", "│ no ", "at nothing")
    assert "python -m include migrate" in line_of(before.stdout, "warehouse: tables", "com_5013_APP_4_SALES")
    assert "│ no " in line_of(before.stdout, "control: migrations", "at nothing")
    assert "PostgreSQL 1" in line_of(before.stdout, "│ pos_source ", " yes ", "postgres postgres@127.0.0.1")
    assert "optional and not exposed: APP_4_STAFF, APP_4_TERMINAL" in line_of(before.stdout, "pos_source: tables")

    migrated = Cli(unmigrated.environment(tmp_path)).ok("migrate")
    assert [line.split(" ")[0] for line in migrated.splitlines()] == ["control", "warehouse"]
    for target in ("control", "warehouse"):
        connection = getattr(unmigrated, f"{target}_connection")
        assert migrations.state(target, connection).up_to_date  # type: ignore[arg-type]

    after = bare.ok("check")
    assert "│ no " not in after
    assert "hidden-word" not in before.stdout + before.stderr + after


def test_check_names_a_database_that_is_down(cli: Cli, tmp_path: Path, no_airflow: str) -> None:
    environment = {**cli.environment, "PATH": "/usr/bin:/bin", "PYTHONPATH": sysconfig.get_path("purelib")}
    environment["AIRFLOW_CONN_WAREHOUSE"] = "postgres://writer:hidden-word@127.0.0.1:1/warehouse"
    done = Process(environment, python=no_airflow)("check")
    assert done.returncode == 1
    assert "│ no " in line_of(done.stdout, "│ warehouse ", "writer@127.0.0.1:1/warehouse")
    assert " yes " in line_of(done.stdout, "│ control ")
    assert "hidden-word" not in done.stdout + done.stderr


def test_migrate_prints_what_a_dba_can_run(unmigrated: Stage, tmp_path: Path) -> None:
    printed = Cli(unmigrated.environment(tmp_path)).ok("migrate", "--sql")
    control, warehouse = printed.split("-- warehouse\n")
    for connection, script in ((unmigrated.control_connection, control), (unmigrated.warehouse_connection, warehouse)):
        assert migrations.state(connection.id, connection).current is None  # type: ignore[arg-type]
        with psycopg.connect(unmigrated.server.dsn(connection.database), autocommit=True) as session:
            session.execute(script)  # type: ignore[arg-type]
        assert migrations.state(connection.id, connection).up_to_date  # type: ignore[arg-type]


def test_a_table_is_added_by_one_line_and_one_command(cli: Cli, stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    for name in ("include", "migrations"):
        shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    own = Process(cli.environment, folder=folder)
    tables, columns = (folder / "include" / "catalog" / name for name in ("tables.yaml", "columns.json"))
    before = columns.read_text()

    unknown = cli("add-table", "BRAND_NEW")
    assert unknown.returncode == 2
    assert "tables.yaml: BRAND_NEW: not there; write its line first" in unknown.stderr

    with tables.open("a") as file:
        file.write("  BRAND_NEW: {strategy: window, date: DAY, groups: [nightly], soft_delete: null}\n")
    missing = own("add-table", "BRAND_NEW")
    assert missing.returncode == 1
    assert "the source has no such table" in missing.stderr
    assert columns.read_text() == before

    new = SALES.model_copy(update={"name": "BRAND_NEW"})
    with stage.connect_source() as connection:
        connection.execute(
            sql.SQL(
                'CREATE TABLE {} ("ID" bigint PRIMARY KEY, "DAY" date, "NOTE" varchar(20), "UPDATE_TIMESTAMP" bytea)'
            ).format(source_of(new))
        )
        connection.execute(
            sql.SQL(
                "INSERT INTO {} SELECT n, date '2025-10-01' + n, 'row ' || n, int8send(n) FROM generate_series(0, 30) n"
            ).format(source_of(new))
        )
    assert "BRAND_NEW: 4 columns" in own.ok("add-table", "BRAND_NEW")
    assert json.loads(columns.read_text()) == {
        **json.loads(before),
        "BRAND_NEW": {"ID": "bigint", "DAY": "date", "NOTE": "varchar(20)", "UPDATE_TIMESTAMP": "rowversion"},
    }
    own.ok("migrate")
    own.ok("replicate", "BRAND_NEW", *OCTOBER)
    with stage.connect_warehouse() as connection:
        assert one(connection, 'SELECT count(*) FROM dbo."com_5013_BRAND_NEW"') == 31
