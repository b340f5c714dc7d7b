"""Begin, copy, swap, stop, resync and drop a followed shop on a real server."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from include.cdc import begin as begin_module
from include.cdc import copy as copy_module
from include.cdc import incidents, names, operate, replicate, state
from include.cdc.batches import Batches
from include.cdc.begin import begin
from include.cdc.copy import copy_table
from include.cdc.embedded.readable import assert_readable
from include.cdc.follow import Task, follow
from include.cdc.gaps import CAPTURE_GAP
from include.cdc.run import CdcRun
from include.cdc.sources.base import Gaps
from include.cdc.sources.postgres import PostgresCdcSource
from include.cdc.state import ReplicationRow, State, Status, TableRow
from include.cdc.swap import swap
from include.demo import shop
from include.demo.tills import working
from include.errors import BadRequest, LockTimeout, NeedsResync, NotReady
from tests.integration.cdc import SHOP, CdcStage, differences, kill_at, replication, run_of

EVERY = {"shop.carts", "shop.customers", "shop.orders", "shop.products"}


@pytest.fixture
def stage(cdc_stage: CdcStage) -> CdcStage:
    with cdc_stage.connect_source() as session:
        shop.fill(session, 2000)
    return cdc_stage


def row_of(stage: CdcStage) -> ReplicationRow:
    with stage.in_warehouse() as target:
        row = state.read(target.records, SHOP.name)
    assert row is not None
    return row


def tables_of(stage: CdcStage) -> dict[str, TableRow]:
    row = row_of(stage)
    with stage.in_warehouse() as target:
        return state.tables(target.records, SHOP.name, row.next_epoch or row.epoch or "")


def slots_of(stage: CdcStage) -> list[str]:
    with stage.connect_source() as session:
        return stage.source.slots(session, SHOP.name)


def value(session: psycopg.Connection[Any], query: str) -> Any:
    row = session.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_what_three_tills_do_meanwhile_is_in_the_copy_or_in_the_stream(stage: CdcStage) -> None:
    with working(stage.server.dsn(stage.source_connection.database)) as tills:
        copied = replicate.copy(run_of(stage, "start"))
        assert tills.close() > 300
    assert {table.table for table in copied} == EVERY
    figures = follow(run_of(stage, "first"), Task(compare=True))
    assert differences(stage) == {}
    assert [table["equal"] for table in figures["compared"]] == [True] * 4
    assert figures["events"] > 0
    assert figures["memory_mb"] < 500
    before = row_of(stage)

    again = follow(run_of(stage, "second"), Task())
    assert (again["events"], again["upserted"], again["deleted"]) == (0, 0, 0)
    assert replicate.copy(run_of(stage, "start again")) == []
    assert row_of(stage).epoch == before.epoch


def test_rows_that_happen_to_be_there_are_no_copy(stage: CdcStage) -> None:
    stage.at_warehouse("CREATE SCHEMA shop_copy", "CREATE TABLE shop_copy.customers AS SELECT 1::bigint AS id")
    with pytest.raises(NotReady, match=r"shop_copy\.customers is there and was not copied"):
        replicate.copy(run_of(stage, "start"))
    assert set(begin(run_of(stage, "begin"))) == EVERY


def test_a_copy_goes_on_after_its_last_piece_unless_the_columns_have_changed(
    stage: CdcStage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    begin(run_of(stage, "begin"))
    kill_at(run_of(stage, "killed"), "during the copy", 3)
    assert tables_of(stage)["shop.customers"].rows_copied == 1500
    pieces: list[int] = []
    copied = copy_table(run_of(stage, "copy"), "shop.customers", lambda row: pieces.append(row.rows_copied))
    assert (copied.rows, pieces) == (2000, [2000, 2000])
    assert "shop.customers goes on after 1500 rows" in caplog.text

    kill_at(run_of(stage, "killed"), "during the copy", 2, "shop.orders")
    stage.at_source("ALTER TABLE shop.orders ALTER total TYPE double precision")
    pieces.clear()
    copy_table(run_of(stage, "copy"), "shop.orders", lambda row: pieces.append(row.rows_copied))
    assert (pieces[0], pieces[-1]) == (500, 10_000)


def test_a_table_that_is_rewritten_when_its_copy_begins_is_not_copied_as_empty(
    stage: CdcStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(run_of(stage, "begin"))
    with ThreadPoolExecutor(1) as pool, stage.connect_source() as migration:

        def pinned(run: CdcRun) -> str:
            epoch = begin_module.pinned(run)
            migration.execute("ALTER TABLE shop.carts ADD rewritten float DEFAULT random()")
            return epoch

        monkeypatch.setattr(copy_module, "pinned", pinned)
        with migration.transaction():
            copying = pool.submit(copy_table, run_of(stage, "copy"), "shop.carts")
            wait_for(stage, "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'shop.carts'::regclass AND NOT granted")
        assert copying.result().rows == 200


def test_readers_see_the_old_copy_until_the_new_one_is_whole(stage: CdcStage) -> None:
    run = run_of(stage, "start")
    replicate.copy(run)
    old = row_of(stage).epoch
    stage.at_warehouse(
        "CREATE VIEW shop_copy.names AS SELECT id, name FROM shop_copy.customers",
        "GRANT SELECT ON shop_copy.orders TO pg_monitor",
    )
    dsn = stage.server.dsn(stage.source_connection.database)
    with working(dsn, pause=0.02) as tills, ThreadPoolExecutor(1) as pool:
        stream = pool.submit(follow, run_of(stage, "beside"), Task(minutes=0.1))
        while row_of(stage).events == 0:
            time.sleep(0.1)
            assert not stream.done()
        for table in begin(run_of(stage, "resync"), resync=True):
            copy_table(run_of(stage, "resync"), table)
            assert row_of(stage).epoch == old
        # the stream of the old copy goes on beside
        assert stream.result()["events"] > 0
        assert len(slots_of(stage)) == 2
        swap(run_of(stage, "swap"))
        tills.close()
    assert row_of(stage).epoch not in {None, old}
    assert slots_of(stage) == [names.slot("shop", row_of(stage).epoch or "")]
    follow(run_of(stage, "after"), Task())
    assert differences(stage) == {}
    with stage.connect_warehouse() as session:
        counted = "SELECT (SELECT count(*) FROM shop_copy.names) = (SELECT count(*) FROM shop_copy.customers)"
        assert value(session, counted)
        assert value(session, "SELECT has_table_privilege('pg_monitor', 'shop_copy.orders', 'SELECT')")


def test_a_swap_steps_back_for_readers(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start"))
    impatient = run_of(stage, "resync", publish_lock_wait=0.2, publish_wait=0.5)
    for table in begin(impatient, resync=True):
        copy_table(impatient, table)
    with stage.connect_warehouse() as reader:
        with reader.transaction():
            reader.execute("SELECT FROM shop_copy.orders LIMIT 1")
            with pytest.raises(LockTimeout):
                swap(impatient)
        assert row_of(stage).next_epoch is not None
        assert set(swap(impatient)) == EVERY


def test_a_table_that_is_added_has_what_was_written_before_it_was_published(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start"))
    stage.at_source("CREATE TABLE shop.extra (id int PRIMARY KEY)", "INSERT INTO shop.carts VALUES (9999, 'late')")
    with ThreadPoolExecutor(1) as pool, stage.connect_source() as writer:
        with writer.transaction():
            writer.execute("INSERT INTO shop.extra VALUES (1)")
            copying = pool.submit(replicate.copy, run_of(stage, "start again"))
            wait_for(stage, "SELECT count(*) = 5 FROM pg_publication_tables WHERE pubname = 'rs_shop'")
        assert [(table.table, table.rows) for table in copying.result()] == [("shop.extra", 1)]

    assert begin(run_of(stage, "resync"), resync=True, tables=["shop.carts"]) == ["shop.carts"]
    assert "shop.carts is copied again" in follow(run_of(stage, "waits"), Task())["waiting"]
    copy_table(run_of(stage, "resync"), "shop.carts")
    assert swap(run_of(stage, "swap")) == ["shop.carts"]
    follow(run_of(stage, "goes on"), Task())
    assert differences(stage) == {}


def wait_for(stage: CdcStage, query: str) -> None:
    with stage.connect_source() as session:
        for _ in range(200):
            if value(session, query):
                return
            session.execute("SELECT pg_sleep(0.05)")
    raise AssertionError(query)


def test_a_table_that_is_not_followed_for_a_while_does_not_count_as_copied(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start"))
    less = replication("shop", tables=["shop.*"], exclude=["shop.carts"], target_schema="shop_copy")
    with stage.in_warehouse() as target:
        Batches.of(run_of(stage, "less", less), target, row_of(stage))
    assert "shop.carts" not in tables_of(stage)
    with pytest.raises(NotReady, match=r"shop_copy\.carts is there and was not copied"):
        replicate.copy(run_of(stage, "start again"))


def test_a_stopped_replication_keeps_its_slot_and_a_dropped_one_its_tables(
    stage: CdcStage, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BadRequest, match="was not started"):
        operate.resume(run_of(stage, "resume"))
    replicate.copy(run_of(stage, "start"))
    assert "up to 512MB" in operate.stop(run_of(stage, "stop"))
    assert "the source keeps its log for it" in caplog.text
    stage.at_source("UPDATE shop.carts SET content = 'changed'")
    assert follow(run_of(stage, "stopped"), Task())["waiting"] == "it is stopped; run it with action=resume"
    assert len(slots_of(stage)) == 1
    operate.resume(run_of(stage, "resume"))
    assert follow(run_of(stage, "resumed"), Task())["upserted"] == 200

    operate.drop(run_of(stage, "drop"))
    assert slots_of(stage) == []
    with stage.connect_source() as source, stage.connect_warehouse() as warehouse:
        assert stage.source.published(source, names.publication("shop")) is None
        assert value(warehouse, "SELECT count(*) FROM shop_copy.carts WHERE content = 'changed'") == 200
    with pytest.raises(BadRequest, match="was not started"):
        follow(run_of(stage, "dropped"), Task())


def test_without_its_slot_nothing_is_applied_until_a_resync(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start"))
    stage.at_source(
        f"SELECT pg_drop_replication_slot('{slots_of(stage)[0]}')", "DELETE FROM shop.carts", "DELETE FROM shop.orders"
    )
    for text in ("is not there any more: changes are lost", "run it with action=resync"):
        with pytest.raises(NeedsResync, match=text):
            follow(run_of(stage, "lost"), Task())
    assert replicate.copy(run_of(stage, "start again")) == []
    assert row_of(stage).state is State.NEEDS_RESYNC
    assert set(differences(stage)) == {"shop.carts", "shop.orders"}

    replicate.copy(run_of(stage, "resync"), resync=True)
    assert row_of(stage).state is State.STREAMING
    assert differences(stage) == {}


def test_a_table_that_was_made_anew_needs_a_resync(stage: CdcStage) -> None:
    run = run_of(stage, "start")
    replicate.copy(run)
    with stage.in_warehouse() as target:
        assert_readable(run, target, row_of(stage), tables_of(stage))
        stage.at_source("DROP TABLE shop.carts; CREATE TABLE shop.carts (id int PRIMARY KEY)")
        with pytest.raises(NeedsResync, match=r"shop\.carts was taken off"):
            assert_readable(run, target, row_of(stage), tables_of(stage))
    assert row_of(stage).state is State.NEEDS_RESYNC


def test_a_table_whose_changes_are_lost_stops_the_stream_until_it_is_copied_again(
    stage: CdcStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(stage, "start")
    replicate.copy(run)
    asked: list[Mapping[str, str | None]] = []

    def gaps(_: PostgresCdcSource, __: ReplicationRow, seen: Mapping[str, str | None]) -> Gaps:
        asked.append(seen)
        lost = {} if len(asked) > 1 else {"shop.carts": "its capture was switched off and on again"}
        return Gaps(lost, {"shop.orders": "seen later"})

    monkeypatch.setattr(PostgresCdcSource, "gaps", gaps)
    with stage.in_warehouse() as target:
        incidents.report(target, "shop", CAPTURE_GAP, "shop.orders")
        with pytest.raises(NeedsResync, match=r"shop\.carts: its capture was switched off"):
            assert_readable(run, target, row_of(stage), tables_of(stage))
        (incident,) = incidents.open_incidents(target.records, "shop")
        assert (incident.subject, incident.severity) == ("shop.carts", "unhealthy")
        assert row_of(stage).state is State.STREAMING
        before = tables_of(stage)
        assert asked[0] == {name: table.snapshot for name, table in before.items()}

        assert_readable(run, target, row_of(stage), before)
        assert incidents.open_incidents(target.records, "shop") == []
    after = tables_of(stage)
    assert after.pop("shop.orders").snapshot == "seen later"
    assert after.items() <= before.items()


def test_what_is_begun_is_whole(stage: CdcStage) -> None:
    with pytest.raises(BadRequest, match="has no copy yet"):
        begin(run_of(stage, "too early"), resync=True, tables=["shop.carts"])
    with stage.in_warehouse() as target:
        assert state.read(target.records, "shop") is None
    begin(run_of(stage, "begin"))
    stage.at_source("CREATE TABLE shop.newer (id int PRIMARY KEY)")
    for table in sorted(EVERY - {"shop.carts"}):
        copy_table(run_of(stage, "copy"), table)
    assert swap(run_of(stage, "too early")) == []
    copy_table(run_of(stage, "copy"), "shop.carts")
    assert set(swap(run_of(stage, "swap"))) == EVERY
    assert {table.status for table in tables_of(stage).values()} == {Status.LIVE}
    assert begin(run_of(stage, "next")) == ["shop.newer"]
