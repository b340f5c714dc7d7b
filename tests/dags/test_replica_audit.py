from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, ParamValidationError

from include import catalog
from include.engines.base import Level
from include.errors import LockHeld, PermanentError, SchemaMismatch
from include.replication.audit_record import Finding
from include.replication.audit_request import DEFAULTS
from include.settings import Settings
from include.windows import Window

TABLES = [table.name for table in catalog.load().group("nightly")]
TASKS = ["plan", "audit", "report"]
DAY = Window(date(2025, 10, 15), date(2025, 10, 16))


@pytest.fixture
def dag(dag_bag: Any) -> Any:
    return dag_bag.dags["replica_audit"]


def test_the_tables_are_audited_side_by_side_and_reported_together(dag: Any) -> None:
    edges = {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}

    assert set(dag.task_ids) == set(TASKS)
    assert edges == set(pairwise(TASKS))
    assert {task.task_id for task in dag.tasks if task.is_mapped} == {"audit"}


def test_it_runs_on_sundays_in_the_business_timezone(dag: Any) -> None:
    zone = ZoneInfo("Asia/Kuala_Lumpur")

    assert dag.timetable.expression == "0 4 * * 0"
    assert str(dag.timetable.timezone) == zone.key
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.start_date.astimezone(zone) == datetime(2018, 1, 1, tzinfo=zone)


def test_what_reads_the_source_runs_in_its_pool(dag: Any) -> None:
    assert [task.task_id for task in dag.tasks if task.pool == "pos_source"] == ["audit"]


def test_the_report_is_written_whatever_failed(dag: Any) -> None:
    rules = {task.task_id: task.trigger_rule for task in dag.tasks}

    assert rules == {"plan": "all_success", "audit": "all_success", "report": "all_done"}


def test_tasks_are_tried_again_with_growing_pauses(dag: Any) -> None:
    for task in dag.tasks:
        assert (task.retries, task.retry_delay) == (3, timedelta(seconds=30))
        assert task.retry_exponential_backoff
        assert task.max_retry_delay == timedelta(minutes=10)


def test_the_params_are_those_of_a_request(dag: Any) -> None:
    assert dict(dag.params.dump()) == DEFAULTS
    assert {dag.params.get_param(name).schema["format"] for name in ("start_date", "end_date")} == {"date"}
    assert dag.params.get_param("tables").schema["examples"] == TABLES


@pytest.mark.parametrize("conf", [{"tables": ["APP_4_ITEM"]}, {"end_date": "01/10/2025"}, {"repair": "yes"}])
def test_a_bad_value_is_refused_when_the_dag_is_triggered(dag: Any, conf: dict[str, Any]) -> None:
    ((name, value),) = conf.items()

    with pytest.raises(ParamValidationError, match=name):
        dag.params[name] = value


class Instance:
    """A task instance of a run whose tasks have these states and whose plan left this request."""

    dag_id, run_id, task_id, map_index, try_number = "replica_audit", "run", "report", -1, 2

    def __init__(self, request: dict[str, Any] | None = None, states: dict[str, str] | None = None) -> None:
        self.pushed = {"request": request} if request else {}
        self.states = states or {}

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        return {self.run_id: self.states}

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        assert task_ids == "plan"
        return self.pushed.get(key)

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.pushed[key] = value


class Records:
    """Stands for the history of runs; notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, engine: Any, run_id: str, run_type: str) -> Any:
        assert (engine, run_id, run_type) == ("engine", "run", "audit")
        return SimpleNamespace(
            begin=lambda *values: self.calls.append(("begin", *values)),
            end=lambda errors: self.calls.append(("end", list(errors))),
        )


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    from include.replication import history
    from retail_sync.operators.base import RunOperator

    warehouse = SimpleNamespace(metadata=lambda: "engine")
    run = SimpleNamespace(id="run", warehouse=warehouse, settings=Settings(exports_url="exports"))
    known = {"verify", "export", "force"}
    monkeypatch.setattr(RunOperator, "open_run", lambda _, context, request: run if known <= set(request) else None)
    monkeypatch.setattr(history, "RunRecord", records := Records())
    return records


STARTED = datetime(2025, 11, 1, 21, tzinfo=UTC)


def planned(**conf: Any) -> tuple[list[str], dict[str, Any]]:
    from retail_sync.operators.audit import PlanAuditOperator

    instance = Instance()
    # 21:00 UTC of November 1st is November 2nd in Kuala Lumpur
    dag_run = SimpleNamespace(conf=conf, run_after=STARTED, start_date=STARTED)
    context: Any = {"dag_run": dag_run, "params": {**DEFAULTS, **conf}, "ti": instance}
    return PlanAuditOperator(task_id="plan").execute(context), instance.pushed["request"]


def test_without_dates_the_last_35_days_up_to_yesterday_are_meant(records: Records) -> None:
    tables, request = planned()

    assert tables == request["tables"] == TABLES
    assert (request["window"], request["repair"]) == ("2025-09-28/2025-11-02", False)
    window = Window.parse(request["window"])
    assert (window.days, window.last_day) == (35, date(2025, 11, 1))
    assert records.calls == [("begin", window, TABLES, STARTED)]


def test_the_named_days_are_inclusive_and_the_tables_in_the_order_of_a_run(records: Records) -> None:
    conf = {"start_date": "2025-10-15", "end_date": "2025-10-15", "tables": ["APP_4_ORDER", "APP_4_SALES"]}

    tables, request = planned(**conf, repair=True)

    assert tables == ["APP_4_SALES", "APP_4_ORDER"]
    assert (request["window"], request["repair"]) == (str(DAY), True)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"start_date": "2025-10-01"}, "start_date without end_date: give both, or neither"),
        ({"start_date": "2025-10-02", "end_date": "2025-10-01"}, "is after end_date"),
        ({"start_date": "2025-10-01", "end_date": "2999-01-01"}, "is in the future"),
        ({"start_date": "2025-02-30", "end_date": "2025-03-01"}, "start_date: not a date"),
        ({"tables": ["APP_4_ITEM"]}, "not nightly tables: APP_4_ITEM"),
        ({"repair": "yes"}, "repair: expected true or false"),
        ({"repare": True}, "unknown parameters: repare"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(records: Records, conf: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        planned(**conf)
    assert records.calls == []


REQUEST = {
    "tables": ["APP_4_SALES", "APP_4_ORDER"],
    "window": str(DAY),
    "repair": True,
    "verify": "checksum",
    "export": False,
    "force": False,
}


def audited(monkeypatch: pytest.MonkeyPatch, outcome: Any, request: dict[str, Any] | None = REQUEST) -> Any:
    from include.replication import audit
    from retail_sync.operators.audit import AuditTableOperator

    def audit_table(run: Any, table: Any, window: Any, observe: Any, *, repair: bool, attempt: int) -> Any:
        assert (run.id, table.name, window, repair, attempt) == ("run", "APP_4_ORDER", DAY, True, 2)
        observe(table, DAY)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(audit, "audit_table", audit_table)
    context: Any = {"ti": Instance(request), "run_id": "run"}
    return AuditTableOperator(task_id="audit", table="APP_4_ORDER").execute(context)


def finding(span: Window, **values: Any) -> Finding:
    return Finding("APP_4_ORDER", span, 2, 1, found_by=Level.COUNTS, **{"equal": False, **values})


def test_a_table_returns_counts_and_leaves_it_to_the_report_to_fail(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        finding(Window.of_month(DAY.start)),
        finding(DAY, repaired=True),
        finding(Window(date(2025, 10, 16), date(2025, 10, 17))),
    ]

    assert audited(monkeypatch, found) == {"findings": 3, "days_differing": 2, "days_repaired": 1}


def test_a_table_is_tried_again_only_where_that_may_help(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LockHeld):
        audited(monkeypatch, LockHeld("held"))
    with pytest.raises(AirflowFailException, match="gone"):
        audited(monkeypatch, SchemaMismatch("gone"))


def test_a_table_of_a_refused_run_is_skipped(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowSkipException):
        audited(monkeypatch, [], request=None)


def row(table: str, **values: Any) -> dict[str, Any]:
    return {"run_id": "run", **finding(DAY).as_record("run"), "table_name": table, **values}


EQUAL = [row(table, equal=True) for table in REQUEST["tables"]]


def reported(
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]],
    states: dict[str, str] | None = None,
    error: Exception | None = None,
) -> Any:
    from include.replication import audit_record, audit_report
    from retail_sync.operators.audit import ReportAuditOperator

    def write_report(url: str, run_id: str, written: Any) -> str:
        assert (url, run_id, written) == ("exports", "run", rows)
        if error:
            raise error
        return "path"

    monkeypatch.setattr(audit_record, "rows_of_audit", lambda engine, run_id: rows)
    monkeypatch.setattr(audit_report, "write_report", write_report)
    context: Any = {"ti": Instance(REQUEST, states), "run_id": "run"}
    return ReportAuditOperator(task_id="report").execute(context)


def test_a_run_without_differences_is_a_success(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reported(monkeypatch, EQUAL) == {"path": "path", "rows": 2}
    assert records.calls == [("end", [])]


def test_a_difference_that_was_repaired_is_a_success(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    reported(monkeypatch, [EQUAL[0], row("APP_4_ORDER", repaired=True)])

    assert records.calls == [("end", [])]


def test_a_difference_that_was_left_fails_the_run_and_is_named_without_its_rows(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AirflowFailException) as failed:
        reported(monkeypatch, [EQUAL[0], row("APP_4_ORDER", keys='{"missing": ["4711"]}')])

    assert str(failed.value) == "APP_4_ORDER: source and warehouse differ on 2025-10-15"
    assert records.calls == [("end", [str(failed.value)])]


def test_a_table_that_was_not_audited_fails_the_run_by_name(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowFailException) as failed:
        reported(monkeypatch, EQUAL[:1], {"plan": "success", "audit_0": "success", "audit_1": "failed"})

    assert "APP_4_ORDER: not audited" in str(failed.value)
    assert "failed tasks: audit_1" in str(failed.value)
    assert "APP_4_SALES" not in str(failed.value)


def test_a_file_that_cannot_be_written_fails_the_run_once_it_is_recorded(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AirflowFailException, match="no room"):
        reported(monkeypatch, EQUAL, error=PermanentError("no room"))
    assert records.calls == [("end", ["no room"])]


def test_the_report_of_a_refused_run_says_so(records: Records) -> None:
    from retail_sync.operators.audit import ReportAuditOperator

    context: Any = {"ti": Instance(None, {"plan": "failed", "audit": "upstream_failed"}), "run_id": "run"}
    with pytest.raises(AirflowFailException, match="refused, see the log of: audit, plan"):
        ReportAuditOperator(task_id="report").execute(context)
    assert records.calls == []
