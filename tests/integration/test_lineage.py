"""What a task tells OpenLineage: as facets, and as events over HTTP from Airflow's own listener."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from include import catalog
from include.connections import Connection
from include.settings import Settings
from retail_sync.lineage import lineage_of, namespace_of
from retail_sync.operators.replicate_window import ReplicateWindowOperator
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import source_rows

CUSTOMER, SALES = catalog.load()["APP_4_CUSTOMER"], catalog.load()["APP_4_SALES"]
REQUEST = {"verify": "checksum", "export": False, "force": False}


@pytest.fixture
def context(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in stage.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    instance = SimpleNamespace(dag_id="d", task_id="t", map_index=-1, try_number=1)
    instance.xcom_pull = lambda task_ids, key=None: REQUEST
    return {"ti": instance, "run_id": "run"}


def test_a_window_tells_its_datasets_with_columns_before_it_begins(stage: Stage, context: Any) -> None:
    task = ReplicateWindowOperator(task_id="months", table=SALES.name, window=str(OCTOBER))

    lineage = task.get_openlineage_facets_on_start()

    (source,), (replica,) = lineage.inputs, lineage.outputs
    server = f"postgres://127.0.0.1:{stage.source_connection.port}"
    assert (source.namespace, source.name) == (
        server,
        f"{stage.source_connection.database}.{SALES.source_schema}.{SALES.name}",
    )
    assert (replica.namespace, replica.name) == (
        server,
        f"{stage.warehouse_connection.database}.{SALES.target_schema}.{SALES.target_table}",
    )
    for dataset in (source, replica):
        fields = {field.name: field.type for field in dataset.facets["schema"].fields}
        assert fields == {name: str(type_) for name, type_ in SALES.columns.items()}
    assert not source.inputFacets
    assert not replica.outputFacets


def test_a_window_that_is_done_tells_its_rows_and_bytes(stage: Stage, context: Any) -> None:
    task = ReplicateWindowOperator(task_id="months", table=SALES.name, window=str(OCTOBER))
    report = task.execute(context)

    lineage = task.get_openlineage_facets_on_complete(None)

    rows = sum(source_rows(stage, SALES, OCTOBER).values())
    for statistics in (
        lineage.inputs[0].inputFacets["inputStatistics"],
        lineage.outputs[0].outputFacets["outputStatistics"],
    ):
        assert (statistics.rowCount, statistics.size) == (rows, report["bytes_read"])


def test_a_column_that_never_leaves_the_source_is_no_column_of_the_input(context: Any) -> None:
    lineage = lineage_of(CUSTOMER, [], Settings())

    read, written = (
        {field.name for field in dataset.facets["schema"].fields} for dataset in (*lineage.inputs, *lineage.outputs)
    )
    assert written - read == {"PASSWORD", "API_PASSWORD"}


@pytest.mark.parametrize(
    ("kind", "port", "expected"),
    [
        ("mssql", None, "mssql://db.example.com:1433"),
        ("postgres", None, "postgres://db.example.com:5432"),
        ("postgres", 6000, "postgres://db.example.com:6000"),
    ],
)
def test_a_server_has_one_name(kind: Any, port: int | None, expected: str) -> None:
    assert namespace_of(Connection("x", kind, "db.example.com", port, "pos", "login", "")) == expected


@contextmanager
def backend() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a server that keeps the events it is sent."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", events
        finally:
            server.shutdown()


def test_the_events_of_a_window_reach_a_backend_over_http(stage: Stage, context: Any) -> None:
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter
    from airflow.sdk import DAG, TaskInstanceState
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    with DAG("sales_replication", schedule=None):
        task = ReplicateWindowOperator(task_id="months", table=SALES.name, window=str(OCTOBER))
    run: Any = SimpleNamespace(run_id="run")
    job: dict[str, Any] = {"run_id": str(uuid4()), "job_name": "sales_replication.months", "job_description": None}
    job |= dict.fromkeys(("nominal_start_time", "nominal_end_time", "owners", "tags"))
    now = "2025-11-01T00:00:00+00:00"
    with backend() as (url, events):
        adapter = OpenLineageAdapter(OpenLineageClient(transport=HttpTransport(HttpConfig.from_dict({"url": url}))))

        def lineage(state: TaskInstanceState) -> Any:
            return ExtractorManager().extract_metadata(run, task, state, context["ti"])

        adapter.start_task(event_time=now, task=lineage(TaskInstanceState.RUNNING), **job)
        report = task.execute(context)
        adapter.complete_task(end_time=now, task=lineage(TaskInstanceState.SUCCESS), **job)

    began, ended = events
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert began["outputs"][0]["name"].endswith(f".{SALES.target_schema}.{SALES.target_table}")
    assert len(began["inputs"][0]["facets"]["schema"]["fields"]) == len(SALES.columns)
    assert ended["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == report["rows_read"]
    assert ended["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == report["rows_published"] > 0
