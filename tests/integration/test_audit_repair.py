"""What an audit found is mended, or told to be left."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from include.catalog import Table
from include.cli import audit as cli
from include.demo.changes import hard_delete, late_arrival, late_fix, move_date
from include.engines.base import Level
from include.errors import BadRequest, LockHeld
from include.replication.audit import audit_tables
from include.replication.audit_record import Finding, rows_of_audit
from include.replication.audit_report import unrepaired
from include.replication.audit_request import AuditRequest
from include.replication.claims import whole_table
from include.replication.history import RunType, history_of
from include.windows import UNDATED, Window
from tests.integration.commands import invoked
from tests.integration.conftest import OCTOBER, WINDOW, Stage, Stages
from tests.integration.helpers import (
    SALES,
    Watch,
    assert_same_rows,
    load_all,
    progress_rows,
)
from tests.integration.test_audit import (
    DAY,
    KEYLESS,
    NAMELESS,
    NEXT_DAY,
    SPANS,
    UNVERSIONED,
    at_source,
    audit,
    in_warehouse,
    state,
    tamper,
    undate,
)


def assert_all_equal(stage: Stage, table: Table = SALES, **options: Any) -> None:
    rows = audit(stage, table, run_id="again", **options)
    assert [row["equal"] for row in rows.values()] == [True] * len(SPANS)


@pytest.mark.parametrize("table", [SALES, UNVERSIONED, KEYLESS], ids=["rowversion", "no rowversion", "no key"])
def test_repair_mends_everything_and_the_next_audit_is_equal(stages: Stages, table: Table) -> None:
    stage = stages.loaded(table)
    at_source(
        stage,
        lambda c: late_fix(c, SALES, DAY, 3, 1),
        lambda c: hard_delete(c, SALES, NEXT_DAY, 1, 2),
        lambda c: late_arrival(c, SALES, Window.inclusive(date(2025, 9, 30), date(2025, 9, 30)), 2, 3),
        lambda c: move_date(c, SALES, Window.inclusive(date(2025, 8, 5), date(2025, 8, 5)), 1, 4, to=date(2025, 10, 1)),
        undate,
    )
    tamper(stage, date(2025, 10, 20))

    rows = audit(stage, table, repair=True)

    differing = [name for name, row in rows.items() if not row["equal"]]
    days = ["2025-08-05", "2025-09-30", "2025-10-01", "2025-10-15", "2025-10-16", "2025-10-20"]
    assert sorted(differing) == sorted(["2025-08", "2025-09", "2025-10", *days, "undated"])
    assert {row["repaired"] for row in rows.values() if not row["equal"]} == {True}
    assert unrepaired(list(rows.values())) == []
    assert_same_rows(stage, SALES)
    assert_all_equal(stage, table)


def test_days_that_follow_each_other_are_repaired_at_once(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 1, 1), lambda c: late_fix(c, SALES, NEXT_DAY, 1, 2))
    turn = Window.inclusive(date(2025, 9, 30), date(2025, 10, 1))
    for number, first in enumerate((date(2025, 9, 30), date(2025, 10, 1))):
        at_source(stage, lambda c, n=number, d=first: late_fix(c, SALES, Window.inclusive(d, d), 1, n))  # type: ignore[misc]

    rows = audit(stage, repair=True)

    assert [row["window_name"] for row in progress_rows(stage, run_id="audit")] == [
        turn.name,
        "2025-10-15..2025-10-16",
    ]
    assert [(name, row["repaired"]) for name, row in rows.items() if not row["equal"]] == [
        (name, True) for name in ("2025-09", "2025-09-30", "2025-10", "2025-10-01", "2025-10-15", "2025-10-16")
    ]


def test_undated_rows_tampered_with_are_repaired(stage: Stage) -> None:
    at_source(stage, undate)
    load_all(stage.run("first"), SALES)
    in_warehouse(stage, 'UPDATE {} SET "BILL_REMARK" = \'by hand\' WHERE "DATETIME__SALES_DATE" IS NULL RETURNING "ID"')
    rows = audit(stage, repair=True)
    assert [(name, row["repaired"]) for name, row in rows.items() if not row["equal"]] == [("undated", True)]
    assert_same_rows(stage, SALES)
    assert_all_equal(stage)


def test_a_repair_of_an_equal_table_does_nothing(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    before = state(stage)
    rows = audit(stage, repair=True)
    assert {row["repaired"] for row in rows.values()} == {False}
    assert state(stage) == before


def test_what_changes_again_during_the_repair_is_not_called_repaired(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.replication import audit as module

    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 1, 1), lambda c: late_fix(c, SALES, NEXT_DAY, 1, 2))
    repair = module.reconcile

    def interrupted(*arguments: Any, **options: Any) -> Any:
        done = repair(*arguments, **options)
        at_source(stage, lambda c: late_fix(c, SALES, DAY, 1, 9))
        return done

    monkeypatch.setattr(module, "reconcile", interrupted)
    rows = audit(stage, repair=True)
    assert {name: row["repaired"] for name, row in rows.items() if not row["equal"]} == {
        "2025-10": False,
        "2025-10-15": False,
        "2025-10-16": True,
    }
    assert unrepaired(list(rows.values())) == ["APP_4_SALES: source and warehouse differ on 2025-10-15"]


def test_a_repair_that_is_held_off_is_an_error_and_what_was_found_is_kept(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 1, 1))
    with (
        whole_table(stage.control_connection, SALES, holder="other", wait=0),
        pytest.raises(LockHeld, match="locked by other"),
    ):
        audit(stage, repair=True)
    rows = rows_of_audit(stage.warehouse.metadata(), "audit")
    assert [(row["window_name"], row["repaired"]) for row in rows if not row["equal"]] == [
        ("2025-10", False),
        ("2025-10-15", False),
    ]


def test_a_table_that_fails_does_not_stop_the_others(stages: Stages) -> None:
    stage = stages.loaded(SALES)
    request = AuditRequest((NAMELESS, SALES), WINDOW)
    (error,) = audit_tables(stage.run("audit"), request, lambda *_: Watch())
    assert "APP_4_GONE" in str(error)
    assert {row["table_name"] for row in rows_of_audit(stage.warehouse.metadata(), "audit")} == {SALES.name}


def test_a_day_or_the_undated_rows_are_days_and_a_month_is_not() -> None:
    def found(span: Any, *, equal: bool = False) -> bool:
        return Finding("T", span, 1, 2, equal, Level.COUNTS).is_differing_day

    assert (found(DAY), found(UNDATED), found(OCTOBER), found(DAY, equal=True)) == (True, True, False, False)


MONTH = (SALES.name, "--start-date", "2025-10-01", "--end-date", "2025-10-31")


def run_id_of(result: Result) -> str:
    return result.output.split("run ", 1)[1].split(": ", 1)[0]


def test_the_command_fails_for_a_difference_until_it_is_repaired(stages: Stages, tmp_path: Path) -> None:
    stage = stages.loaded(SALES)
    at_source(stage, lambda c: late_fix(c, SALES, DAY, 3, 1))

    left = invoked(cli.audit, stage.environment(tmp_path), *MONTH)
    mended = invoked(cli.audit, stage.environment(tmp_path), *MONTH, "--repair")
    equal = invoked(cli.audit, stage.environment(tmp_path), *MONTH)

    assert [result.exit_code for result in (left, mended, equal)] == [1, 0, 0]
    assert "APP_4_SALES: source and warehouse differ on 2025-10-15" in left.output
    assert len(list((tmp_path / "exports" / "audit").glob("audit_manual__*.parquet"))) == 3
    (record,) = history_of(stage.warehouse.metadata(), run_id_of(left))
    assert (record["run_type"], record["success"], record["tables"]) == (RunType.AUDIT, False, SALES.name)
    assert (record["from_date"], record["to_date"]) == (date(2025, 10, 1), date(2025, 10, 31))
    (record,) = history_of(stage.warehouse.metadata(), run_id_of(mended))
    assert (record["success"], record["rows_fixed"]) == (True, 3)
    assert record["finished_at"] >= record["started_at"]


def test_the_command_refuses_what_makes_no_sense(stage: Stage, tmp_path: Path) -> None:
    for arguments, named in (
        (["APP_4_ITEM"], "not nightly tables: APP_4_ITEM"),
        (["--start-date", "2025-10-01"], "start_date without end_date"),
        (["--start-date", "2025-10-01", "--end-date", "2999-01-01"], "end_date 2999-01-01 is in the future"),
    ):
        refused = invoked(cli.audit, stage.environment(tmp_path), *arguments)
        assert isinstance(refused.exception, BadRequest)
        assert named in str(refused.exception)
