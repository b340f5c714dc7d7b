"""A replication's health follows from facts of both databases, and each cause is one incident while it lasts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.cdc import incidents, names, state
from include.cdc.health import Cause, Facts, Verdict, check, health, judge
from include.cdc.incidents import Incident, Severity
from include.cdc.prerequisites.kafka import KafkaParts
from include.cdc.run import CdcRun
from include.cdc.sources.base import LogFacts, Slot
from include.cdc.state import ReplicationRow, State, Status
from include.engines.factory import metadata_engine
from include.overview.replications import replications
from include.settings import Settings
from tests.integration.cdc import CdcStage, replication
from tests.integration.connect_server import LOGIN, PASSWORD, Connector, ConnectServer

NOW = datetime(2026, 2, 3, 12, tzinfo=UTC)
EPOCH = "20260203000000"
SHOP = replication(max_lag_seconds=60, max_lag_bytes=1000)
SLOT = Slot(names.slot("shop", EPOCH), False, "reserved", "0/1", 10**9, 500)
ROW = ReplicationRow("shop", State.STREAMING, EPOCH, None, {"pinned": "0/1"}, None, 1, NOW, NOW, 42, None)
LOG = LogFacts({SLOT.name: SLOT}, kept_bytes=2 * 10**9)
FACTS = Facts(NOW, ROW, log=LOG, caught_up_at=NOW, last_at=NOW)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def facts(
    *,
    slot: dict[str, Any] | None = None,
    row: dict[str, Any] | None = None,
    log: dict[str, Any] | None = None,
    **others: Any,
) -> Facts:
    slots = {"slots": {SLOT.name: replace(SLOT, **slot)}} if slot else {}
    return replace(FACTS, row=replace(ROW, **(row or {})), log=replace(LOG, **slots, **(log or {})), **others)


def incident(kind: str) -> Incident:
    return Incident(kind, "public.orders", Severity.DEGRADED, "refused", 1, NOW, NOW)


def test_a_stream_that_keeps_up_is_healthy() -> None:
    found = judge(SHOP, FACTS)
    assert (found.status, found.reasons, found.lag_bytes, found.lag_seconds) == (Verdict.HEALTHY, [], 500, 0.0)
    assert (found.slot, found.applied_at, found.events) == (SLOT, NOW, 42)


@pytest.mark.parametrize(
    ("given", "status", "kinds"),
    [
        (facts(log={"slots": {SLOT.name: None}}), Verdict.UNHEALTHY, [Cause.SLOT_MISSING]),
        (facts(slot={"wal_status": "lost"}), Verdict.UNHEALTHY, [Cause.SLOT_LOST]),
        (facts(slot={"wal_status": "unreserved"}), Verdict.UNHEALTHY, [Cause.SLOT_AT_RISK]),
        (facts(slot={"wal_status": "extended"}), Verdict.DEGRADED, [Cause.SLOT_AT_RISK]),
        (facts(slot={"safe_bytes": 10**8}), Verdict.DEGRADED, [Cause.SLOT_AT_RISK]),
        (facts(slot={"safe_bytes": None}, log={"kept_bytes": None}), Verdict.HEALTHY, []),
        (facts(slot={"behind": 1001}), Verdict.DEGRADED, [Cause.LAG_BYTES]),
        (facts(slot={"behind": 4001}), Verdict.UNHEALTHY, [Cause.LAG_BYTES]),
        (facts(row={"source_at": ago(61)}, caught_up_at=ago(61)), Verdict.DEGRADED, [Cause.LAG_SECONDS]),
        (facts(row={"source_at": ago(999)}, caught_up_at=None), Verdict.UNHEALTHY, [Cause.LAG_SECONDS]),
        (facts(last_at=ago(61)), Verdict.DEGRADED, [Cause.APPLY_LATE]),
        (facts(last_at=ago(241)), Verdict.UNHEALTHY, [Cause.APPLY_LATE]),
        (facts(dead_letters=3), Verdict.DEGRADED, [Cause.DEAD_LETTERS]),
        (facts(incidents=[incident("schema_change")]), Verdict.DEGRADED, ["schema_change"]),
        (facts(incidents=[incident(Cause.LAG_BYTES)]), Verdict.HEALTHY, []),
        (facts(source_error="no route", log={"slots": {}}), Verdict.UNHEALTHY, [Cause.SOURCE]),
        (facts(connector=["task 0 has failed: x"]), Verdict.UNHEALTHY, [Cause.CONNECTOR]),
        (facts(connector=[]), Verdict.HEALTHY, []),
        (facts(row={"state": State.NEEDS_RESYNC, "reason": "gone"}), Verdict.UNHEALTHY, [Cause.NEEDS_RESYNC]),
        (facts(row={"state": State.STOPPED}, last_at=ago(9999)), Verdict.STOPPED, [Cause.LOG_GROWS]),
        (facts(row={"state": State.STOPPED}, slot={"behind": 0}), Verdict.STOPPED, []),
        (
            facts(row={"state": State.STOPPED}, slot={"wal_status": "lost"}),
            Verdict.UNHEALTHY,
            [Cause.SLOT_LOST],
        ),
        (facts(row={"state": State.COPYING, "epoch": None}, last_at=ago(9999)), Verdict.COPYING, []),
        (facts(row={"state": State.DROPPED}), Verdict.NEW, []),
        (Facts(NOW), Verdict.NEW, []),
        (Facts(NOW, warehouse_error="no route"), Verdict.UNHEALTHY, [Cause.WAREHOUSE]),
    ],
)
def test_each_cause_has_its_weight(given: Facts, status: Verdict, kinds: list[str]) -> None:
    found = judge(SHOP, given)
    assert (found.status, [reason.kind for reason in found.reasons]) == (status, kinds)


def test_an_old_change_is_no_lag_when_nothing_came_after_it() -> None:
    quiet = facts(row={"source_at": ago(9999)})
    assert judge(SHOP, quiet).lag_seconds == 0.0  # a stream that began now has caught up
    assert judge(SHOP, replace(quiet, caught_up_at=None)).lag_seconds == 9999.0
    assert judge(SHOP, facts(row={"source_at": ago(9999)}, caught_up_at=None, slot={"behind": 0})).lag_seconds == 0.0


def test_a_stopped_replication_warns_of_a_disk_that_may_fill() -> None:
    stopped = facts(row={"state": State.STOPPED}, log={"kept_bytes": None})
    (reason,) = judge(SHOP, stopped).reasons
    assert reason.severity is Severity.DEGRADED
    assert "500 bytes" in reason.text
    assert "its disk may fill" in reason.text


@pytest.fixture
def run(cdc_stage: CdcStage) -> CdcRun:
    """A replication that streams: its slot is there, and its table is live."""
    cdc_stage.at_source("CREATE TABLE orders (id int PRIMARY KEY)")
    with cdc_stage.source.export(SLOT.name) as pin, cdc_stage.in_warehouse() as target:
        position = {"pinned": pin.lsn, "offset": None}
        values = {"epoch": EPOCH, "position": position, "applied_at": datetime.now(UTC), "source_at": datetime.now(UTC)}
        state.write(target.records, "shop", state=State.STREAMING, **values)
        state.write_table(target.records, "shop", EPOCH, "public.orders", target_table="orders", status=Status.LIVE)
    chosen = replication()
    connections = (cdc_stage.source_connection, cdc_stage.warehouse_connection, cdc_stage.control_connection)
    return CdcRun("test", chosen, *connections, Settings(lock_wait=0.0), "test")


@pytest.fixture
def stage(cdc_stage: CdcStage, run: CdcRun) -> CdcStage:
    return cdc_stage


def test_both_databases_are_asked(run: CdcRun, stage: CdcStage) -> None:
    stage.at_source("SET synchronous_commit = on", "INSERT INTO orders SELECT generate_series(1, 1000)")
    found = check(run)
    assert (found.status, found.reasons) == (Verdict.HEALTHY, [])
    assert found.lag_bytes is not None
    assert found.lag_bytes > 0
    assert replications(metadata_engine(run.warehouse), ["shop"])["replications"][0]["lag_bytes"] == found.lag_bytes
    assert found.slot is not None
    assert (found.slot.name, found.tables, found.incidents) == (SLOT.name, {"live": 1}, [])


def test_a_lost_slot_is_one_incident_until_it_is_mended(run: CdcRun, stage: CdcStage) -> None:
    stage.at_source(f"SELECT pg_drop_replication_slot('{SLOT.name}')")
    assert check(run).status is Verdict.UNHEALTHY
    (open_one,) = check(run).incidents
    assert (open_one.kind, open_one.severity, open_one.seen) == (Cause.SLOT_MISSING, Severity.UNHEALTHY, 2)
    assert "resync" in open_one.detail
    with stage.source.export(SLOT.name):
        pass
    found = check(run)
    assert (found.status, found.incidents) == (Verdict.HEALTHY, [])
    with stage.connect_warehouse() as session:
        rows = session.execute("SELECT kind, closed_at IS NULL FROM dbo.cdc_incidents").fetchall()
    assert rows == [(Cause.SLOT_MISSING, False)]


def test_a_source_that_does_not_answer_is_a_cause_and_leaves_what_it_hides_open(run: CdcRun, stage: CdcStage) -> None:
    stage.at_source(f"SELECT pg_drop_replication_slot('{SLOT.name}')")
    check(run)
    cut_off = replace(run, source=replace(run.source, port=1))
    found = check(cut_off)
    assert [reason.kind for reason in found.reasons] == [Cause.SOURCE]
    assert {incident.kind for incident in found.incidents} == {Cause.SLOT_MISSING, Cause.SOURCE}


def test_a_warehouse_that_does_not_answer_is_a_cause(run: CdcRun) -> None:
    found = check(replace(run, warehouse=replace(run.warehouse, port=1)))
    assert [reason.kind for reason in found.reasons] == [Cause.WAREHOUSE]
    with run.in_warehouse() as target:
        target.session.close()
        found = health(run, target)
    assert (found.status, [reason.kind for reason in found.reasons]) == (Verdict.UNHEALTHY, [Cause.WAREHOUSE])


def test_a_replication_that_was_never_started_is_new(run: CdcRun) -> None:
    found = check(replace(run, replication=replication("other", mode="kafka_connect")))
    assert (found.status, found.reasons) == (Verdict.NEW, [])


def test_a_connector_that_does_not_run_is_a_cause_once_there_is_a_copy(run: CdcRun) -> None:
    server = ConnectServer()
    connect = {"conn_type": "http", "host": server.url, "login": LOGIN, "password": PASSWORD, "extra": {}}
    in_kafka = replace(run, replication=replication(mode="kafka_connect"), kafka=KafkaParts({}, connect, {}))
    (reason,) = check(in_kafka).reasons
    assert (reason.kind, reason.text) == (Cause.CONNECTOR, "Kafka Connect has no connector retail_sync_shop")
    server.cluster.connectors["retail_sync_shop"] = Connector({})
    assert check(in_kafka).reasons == []
    server.stop()
    with run.in_warehouse() as target:
        state.write(target.records, "shop", state=State.COPYING, epoch=None, next_epoch=EPOCH)
    assert check(in_kafka).reasons == []


def test_dead_letters_and_incidents_of_others_count(run: CdcRun, stage: CdcStage) -> None:
    stage.at_warehouse(
        "INSERT INTO dbo.cdc_dead_letters (replication, epoch, source_table, row_key, content, reason, created_at)"
        f" VALUES ('shop', '{EPOCH}', 'public.orders', '1', '', 'too long', now())"
    )
    with stage.in_warehouse() as target:
        incidents.report(target, "shop", "schema_change", "public.orders", "degraded", "id: resync the table")
        incidents.report(target, "shop", "schema_change", "public.goods", "degraded", "x")
    found = check(run)
    assert found.status is Verdict.DEGRADED
    texts = [reason.text for reason in found.reasons]
    assert texts[0].startswith("1 changes were refused")
    assert texts[1] == "public.orders: id: resync the table"
    assert len(check(run).incidents) == 3


def test_an_incident_is_open_once_a_kind_and_subject(stage: CdcStage) -> None:
    with stage.in_warehouse() as target:
        for subject in ("public.a", "public.b", "public.a"):
            incidents.report(target, "shop", "schema_change", subject, Severity.DEGRADED, f"about {subject}")
        incidents.report(target, "shop", "schema_change", "public.a", Severity.UNHEALTHY, "worse")
        first, second = incidents.open_incidents(target.records, "shop")
        assert (first.subject, first.seen, first.severity, first.detail) == (
            "public.a",
            3,
            Severity.UNHEALTHY,
            "worse",
        )
        assert (second.subject, second.seen) == ("public.b", 1)
        assert incidents.close(target.records, "shop", "schema_change", "public.b") == 1
        assert incidents.close(target.records, "shop", "schema_change") == 1
        assert incidents.open_incidents(target.records, "shop") == []
        incidents.report(target, "shop", "schema_change", "public.a")
        assert [incident.seen for incident in incidents.open_incidents(target.records, "shop")] == [1]
