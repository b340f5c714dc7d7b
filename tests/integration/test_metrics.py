"""What tasks send to a real StatsD listener: names, tags and values."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg import sql

from include import catalog
from include.cdc.health import Health, Verdict
from include.errors import TransientError
from include.orders_sync.pipelines import TD
from include.orders_sync.planner import Planned, Reason
from include.orders_sync.summary import Ending, Summary
from include.orders_sync.sync import Result
from include.replication.progress import Phase
from include.replication.run import Report
from include.settings import PROJECT_ROOT
from include.windows import Window
from retail_sync import metrics
from retail_sync.operators.base import REQUEST_KEY
from retail_sync.operators.nightly import NightlyPhaseOperator
from retail_sync.operators.replicate_window import ReplicateWindowOperator
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import inside, replica_of, source_rows

SALES = catalog.load()["APP_4_SALES"]
REQUEST = {"verify": "checksum", "export": False, "force": False, "load": str(OCTOBER), "fix": str(OCTOBER)}


class Listener:
    """A StatsD server that keeps what it is told; the last value of a name counts."""

    def __init__(self, server: socket.socket) -> None:
        self.server = server

    def told(self) -> dict[str, str]:
        """Return the values by name and tags, without those of Airflow itself."""
        found: dict[str, str] = {}
        while True:
            try:
                name, _, value = self.server.recv(65536).decode().partition(":")
            except TimeoutError:
                return found
            if name.startswith("airflow.retail_sync."):
                found[name.removeprefix("airflow.retail_sync.")] = value


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    from airflow.sdk.configuration import conf
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics import stats_utils

    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.getsockname()[1]))
        legacy = conf.getboolean("metrics", "legacy_names_on")
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)
        yield Listener(server)
        monkeypatch.undo()
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)


@pytest.fixture
def context(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in stage.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    instance = SimpleNamespace(dag_id="d", task_id="t", map_index=-1, try_number=1)
    instance.xcom_pull = lambda task_ids, key=REQUEST_KEY: REQUEST if key == REQUEST_KEY else None
    return {"ti": instance, "run_id": "run"}


def test_a_window_tells_rows_bytes_and_seconds(stage: Stage, context: Any, statsd: Listener) -> None:
    rows = sum(source_rows(stage, SALES, OCTOBER).values())

    report = ReplicateWindowOperator(task_id="months", table=SALES.name, window=str(OCTOBER)).execute(context)

    told = statsd.told()
    tags = "table=APP_4_SALES,phase=load"
    assert told[f"rows,{tags}"] == f"{rows}|c"
    assert told[f"bytes,{tags}"] == f"{report['bytes_read']}|c"
    assert 0 < float(told[f"seconds,{tags}"].removesuffix("|g")) < 60
    assert set(told) == {f"{name},{tags}" for name in ("rows", "bytes", "seconds")}


def test_a_fix_tells_what_it_repaired(stage: Stage, context: Any, statsd: Listener) -> None:
    ReplicateWindowOperator(task_id="load", table=SALES.name, window=str(OCTOBER)).execute(context)
    with stage.connect_warehouse() as connection:
        replica, key = replica_of(SALES), sql.Identifier(SALES.key[0])
        some = sql.SQL("SELECT {} FROM {} WHERE {} LIMIT 3").format(key, replica, inside(SALES, OCTOBER))
        connection.execute(sql.SQL("DELETE FROM {} WHERE {} IN ({})").format(replica, key, some))
    statsd.told()

    NightlyPhaseOperator(task_id="fix", phase=Phase.FIX, table=SALES.name).execute(context)

    told = statsd.told()
    assert told["fixes,table=APP_4_SALES,phase=fix,kind=inserted"] == "3|c"
    assert "fixes,table=APP_4_SALES,phase=fix,kind=deleted" not in told


def test_a_window_that_fails_is_counted(context: Any, statsd: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_POS_SOURCE", "postgres://nobody@127.0.0.1:9/nowhere")

    with pytest.raises(TransientError):
        ReplicateWindowOperator(task_id="months", table=SALES.name, window=str(OCTOBER)).execute(context)

    assert statsd.told() == {"failures,table=APP_4_SALES,phase=load": "1|c"}


def test_a_table_that_is_compared_again_reads_nothing_and_tells_its_seconds(statsd: Listener) -> None:
    metrics.of_report(Report("APP_4_SALES", "2025-10", unchanged=True, seconds_verifying=0.5), Phase.LOAD)

    assert statsd.told() == {"seconds,table=APP_4_SALES,phase=load": "0.5|g"}


def test_the_holes_of_every_store_are_told_also_when_there_are_none(statsd: Listener) -> None:
    gap = Planned(Window(date(2026, 1, 1), date(2026, 1, 11)), Reason.GAP)
    due = Planned(Window(date(2026, 2, 1), date(2026, 2, 2)), Reason.TODAY)

    metrics.of_plan(TD.code, ["A 1", "A2"], {"A 1": [gap, due]})

    assert statsd.told() == {
        "holes,pipeline=td_orders_sync,store=A_1,kind=gap": "10|g",
        "holes,pipeline=td_orders_sync,store=A2,kind=gap": "0|g",
    }


def test_an_orders_sync_tells_rows_and_changes_by_store(statsd: Listener) -> None:
    counts = {"orders_ingested": 12, "orders_inserted": 3, "orders_updated": 0, "sales_ingested": 9}
    ending = Ending(TD.code, "A1", "2026-01-01", "2026-01-10", "backfill", "success", counts=counts)

    metrics.of_orders_run(Summary("run", [ending, ending]))

    tags = "pipeline=td_orders_sync,store=A1"
    assert statsd.told() == {
        f"rows,{tags},phase=orders": "12|c",
        f"fixes,{tags},phase=orders,kind=inserted": "3|c",
        f"rows,{tags},phase=sales": "9|c",
    }


def test_a_window_of_a_store_that_failed_is_counted(statsd: Listener) -> None:
    store: Any = SimpleNamespace(code="A1", pipeline=TD)
    item = Planned(Window(date(2026, 1, 1), date(2026, 1, 11)), Reason.BACKFILL)
    for status in ("success", "failed", "not_run"):
        metrics.of_orders_window(Result(store, item, status))

    assert statsd.told() == {"failures,pipeline=td_orders_sync,store=A1": "1|c"}


def test_a_stream_and_its_health_are_told_by_replication(statsd: Listener) -> None:
    metrics.of_copy("shop", "public.orders", 500, 1.25)
    metrics.of_apply("shop", {"upserted": 7, "deleted": 2, "dead": 1, "seconds": 0.5})
    metrics.of_health(Health("shop", Verdict.UNHEALTHY, lag_bytes=4096, lag_seconds=12.5))
    metrics.of_health(Health("tills", Verdict.HEALTHY))

    assert statsd.told() == {
        "rows,replication=shop,table=public.orders,phase=copy": "500|c",
        "seconds,replication=shop,table=public.orders,phase=copy": "1.25|g",
        "rows,replication=shop,phase=apply,kind=upserted": "7|c",
        "rows,replication=shop,phase=apply,kind=deleted": "2|c",
        "failures,replication=shop,phase=apply": "1|c",
        "seconds,replication=shop,phase=apply": "0.5|g",
        "lag_bytes,replication=shop": "4096|g",
        "lag_seconds,replication=shop": "12.5|g",
        "unhealthy,replication=shop": "1.0|g",
        "unhealthy,replication=tills": "0.0|g",
    }


def test_the_dashboard_shows_every_metric_that_the_page_of_operations_names() -> None:
    docs = PROJECT_ROOT / "docs"
    dashboard = json.loads((docs / "grafana.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {
        name for query in queries for name in re.findall(r"airflow_retail_sync_([a-z_]+?)(?=\(_total|\{|\))", query)
    }
    section = (docs / "operations.md").read_text(encoding="utf-8").partition("## Metrics\n")[2].partition("\n## ")[0]

    assert shown == set(re.findall(r"`retail_sync\.([a-z_]+)`", section))
    assert all("$" in query or "unhealthy" in query for query in queries)
