"""What a stream makes of a source that changes its rows, its tables and its mind; each is a Debezium of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from include.cdc import health, names, replicate
from include.cdc.begin import begin
from include.cdc.embedded.child import written
from include.cdc.follow import Task, follow
from include.cdc.health import Verdict
from include.errors import LockHeld, LockTimeout
from include.settings import PROJECT_ROOT
from tests.integration.cdc import SHOP, CdcStage, differences, kill_at, replication, run_of

BULK = "CREATE TABLE shop.bulk (id int PRIMARY KEY, note text)"
#: Follows until its input ends; the first line of that says what.
PARENT = """
import sys
from include.cdc.embedded.child import read_task
from include.cdc.follow import follow
run, task = read_task(sys.stdin.readline())
follow(run, task)
"""


@pytest.fixture
def stage(cdc_stage: CdcStage) -> CdcStage:
    cdc_stage.at_source("CREATE SCHEMA shop", BULK, "INSERT INTO shop.bulk SELECT i, 'n' FROM generate_series(1, 10) i")
    return cdc_stage


def asked(stage: CdcStage, query: str) -> list[tuple[Any, ...]]:
    with stage.connect_warehouse() as session:
        return session.execute(query.encode()).fetchall()


def soon(stage: CdcStage, query: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while asked(stage, query) != [(True,)]:
        assert time.monotonic() < deadline, query
        time.sleep(0.1)


def test_no_row_of_a_copy_and_no_half_of_a_changed_key_is_lost_by_a_kill(stage: CdcStage) -> None:
    """Debezium goes on after a place in the log, where many rows may be."""
    stage.at_source("INSERT INTO shop.bulk SELECT i, 'moves' FROM generate_series(100, 3500) i")
    replicate.copy(run_of(stage, "start"))
    # of an odd number of events a full batch ends between two halves
    stage.at_source("DELETE FROM shop.bulk WHERE id = 1", "UPDATE shop.bulk SET id = -id WHERE id >= 100")
    with stage.connect_source() as session, session.cursor().copy("COPY shop.bulk FROM STDIN") as rows:
        for number in range(10_000, 20_000):
            rows.write_row((number, f"row {number}"))
    for count in (1, 1, 3, 2):
        kill_at(run_of(stage, "killed"), "after the commit", count)
    figures = follow(run_of(stage, "last"), Task(compare=True))
    assert differences(stage) == {}
    assert [table["equal"] for table in figures["compared"]] == [True]


def test_a_moved_row_keeps_its_large_value_where_the_copy_has_another_one_under_its_old_key(stage: CdcStage) -> None:
    stage.at_source(
        "CREATE TABLE shop.large (id int PRIMARY KEY, big text)",
        "ALTER TABLE shop.large ALTER big SET STORAGE EXTERNAL",
        "INSERT INTO shop.large SELECT i, repeat(i::text, 3000) FROM generate_series(1, 1000) i",
    )
    begin(run_of(stage, "begin"))
    kill_at(run_of(stage, "killed"), "during the copy", 1, "shop.large")
    stage.at_source(
        "UPDATE shop.large SET id = 2000 WHERE id = 900",
        "INSERT INTO shop.large VALUES (900, repeat('another', 3000))",
    )
    replicate.copy(run_of(stage, "start again"))
    follow(run_of(stage, "first"), Task())
    assert differences(stage) == {}


def test_a_comparison_reads_rows_again_as_they_are_at_its_moment(stage: CdcStage) -> None:
    # an interval of nothing is read again whenever it comes
    stage.at_source(
        "CREATE TABLE shop.clock (id int PRIMARY KEY, ticks int, since interval)",
        "INSERT INTO shop.clock VALUES (1, 0)",
    )
    replicate.copy(run_of(stage, "start"))
    over = threading.Event()

    def tick() -> None:
        with stage.connect_source() as session:
            while not over.wait(0.01):
                session.execute("UPDATE shop.clock SET ticks = ticks + 1, since = '0'")

    with ThreadPoolExecutor(1) as pool:
        ticking = pool.submit(tick)
        try:
            figures = follow(run_of(stage, "first"), Task(compare=True))
        finally:
            over.set()
        ticking.result()
    assert figures["events"] > 0
    assert [table["table"] for table in figures["compared"] if not table["equal"]] == []


def test_a_marker_of_an_earlier_run_does_not_end_a_later_one(stage: CdcStage) -> None:
    run = run_of(stage, "cleared")
    replicate.copy(run)
    for content in ("cleared", "cleared 00000000000000000000000000000000"):
        stage.at_source(f"SELECT pg_logical_emit_message(true, '{names.MARKER_PREFIX}', '{content}')")
    stage.at_source("INSERT INTO shop.bulk VALUES (100, 'after')")
    assert follow(run, Task())["events"] == 1
    assert differences(stage) == {}


def test_tables_follow_their_columns_and_what_does_not_fit_is_told(stage: CdcStage) -> None:
    stage.at_source(
        "CREATE TABLE shop.wide (id int PRIMARY KEY, gone text, grows varchar(5), turns int, big int)",
        "INSERT INTO shop.wide SELECT i, 'old', 'abc', i, i FROM generate_series(1, 5) i",
    )
    replicate.copy(run_of(stage, "start"))
    stage.at_warehouse("ALTER TABLE shop_copy.bulk ADD CONSTRAINT short CHECK (length(note) < 10)")
    stage.at_source(
        "UPDATE shop.wide SET gone = 'older' WHERE id = 1",
        "ALTER TABLE shop.wide DROP gone, ALTER big TYPE bigint, ALTER grows TYPE varchar(50),"
        " ALTER turns TYPE text USING turns::text",
        "INSERT INTO shop.wide VALUES (6, repeat('x', 50), 'abc', 5000000000), (7, 'y', '7', 7)",
        "UPDATE shop.bulk SET note = 'fits' WHERE id = 2",
        "ALTER TABLE shop.bulk ADD added varchar(10) NOT NULL DEFAULT 'here'",
        "UPDATE shop.bulk SET note = 'much too long' WHERE id = 1",
        "UPDATE shop.bulk SET added = 'there' WHERE id = 3",
    )
    figures = follow(run_of(stage, "first"), Task())
    assert figures["dead"] == 2
    assert asked(stage, "SELECT gone, count(*) FROM shop_copy.wide GROUP BY 1 ORDER BY 1") == [
        ("old", 4),
        ("older", 1),
        (None, 1),
    ]
    assert asked(stage, "SELECT length(grows), turns, big FROM shop_copy.wide WHERE id > 5") == [(1, 7, 7)]
    assert asked(stage, "SELECT note, added FROM shop_copy.bulk WHERE id < 5 ORDER BY id") == [
        ("n", "here"),
        ("fits", "here"),
        ("n", "there"),
        ("n", "here"),
    ]
    letters = asked(stage, "SELECT source_table, row_key, reason FROM dbo.cdc_dead_letters ORDER BY 1")
    assert [letter[:2] for letter in letters] == [("shop.bulk", '{"id": "1"}'), ("shop.wide", '{"id": "6"}')]
    assert "short" in letters[0][2]
    assert not any("much too long" in letter[2] for letter in letters)
    checked = health.check(run_of(stage, "health"))
    assert checked.status is Verdict.DEGRADED
    assert {reason.kind for reason in checked.reasons} == {"dead_letters", "schema_change"}
    assert any("column turns is text at the source" in reason.text for reason in checked.reasons)

    stage.at_source("UPDATE shop.bulk SET note = 'short' WHERE id = 1", "UPDATE shop.wide SET turns = '1' WHERE id = 6")
    assert follow(run_of(stage, "second"), Task())["dead"] == 0
    assert asked(stage, "SELECT count(*) FROM dbo.cdc_dead_letters WHERE resolved_at IS NULL") == [(0,)]
    assert {reason.kind for reason in health.check(run_of(stage, "health")).reasons} == {"schema_change"}
    replicate.copy(run_of(stage, "resync"), resync=True, tables=["shop.wide"])
    assert differences(stage) == {}


def test_names_and_keys_of_every_kind_and_soft_deletes(stage: CdcStage) -> None:
    many = ", ".join(f'"column {number}" int DEFAULT {number}' for number in range(200))
    stage.at_source(
        'CREATE SCHEMA "Sales"',
        f'CREATE TABLE "Sales"."Order-Lines" ("Größe" text COLLATE "C", "a.b" char(3), "User" text, {many},'
        ' PRIMARY KEY ("a.b", "Größe"))',
        'INSERT INTO "Sales"."Order-Lines" ("Größe", "a.b", "User")'
        " SELECT k, i, 'x' FROM generate_series(1, 40) i, unnest(ARRAY['a10', 'a9', 'Ä', 'z''\"', '']) k",
        "CREATE TABLE shop.secrets (id int PRIMARY KEY, secret text, kept text)",
        "INSERT INTO shop.secrets SELECT i, 's', 'k' FROM generate_series(1, 3) i",
    )
    of = replication(
        "odd",
        tables=["shop.*", "Sales.*"],
        target_schema="Odd",
        rename={"Sales.Order-Lines": "Lines of Orders"},
        without={"shop.secrets": ["secret"]},
        deletes="soft",
        chunk_rows=100,
    )
    replicate.copy(run_of(stage, "start", of))
    stage.at_source(
        """UPDATE "Sales"."Order-Lines" SET "User" = 'y', "column 7" = NULL WHERE "a.b" = '7'""",
        """UPDATE "Sales"."Order-Lines" SET "Größe" = 'moved' WHERE "a.b" = '8' AND "Größe" = 'a9'""",
        """DELETE FROM "Sales"."Order-Lines" WHERE "a.b" = '9'""",
        "DELETE FROM shop.secrets WHERE id < 3",
    )
    figures = follow(run_of(stage, "first", of), Task(compare=True))
    assert [table["table"] for table in figures["compared"] if not table["equal"]] == []
    alive = """SELECT count(*), count(_deleted_at) FROM "Odd"."Lines of Orders" """
    assert asked(stage, alive) == [(201, 6)]
    deleted = 'SELECT id, _deleted_at IS NULL, kept FROM "Odd".secrets ORDER BY 1'
    assert asked(stage, deleted) == [(1, False, "k"), (2, False, "k"), (3, True, "k")]

    stage.at_source("INSERT INTO shop.secrets VALUES (2, 's', 'again')")
    replicate.copy(run_of(stage, "resync", of), resync=True)
    assert asked(stage, alive) == [(201, 6)]
    assert asked(stage, deleted) == [(1, False, "k"), (2, True, "again"), (3, True, "k")]
    assert asked(stage, "SELECT attname FROM pg_attribute WHERE attname = 'secret' AND attnum > 0") == []


def test_a_stream_goes_on_for_its_minutes_and_is_alone(stage: CdcStage) -> None:
    replicate.copy(run_of(stage, "start"))
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(follow, run_of(stage, "first"), Task(minutes=0.15))
        for number in (100, 101):
            stage.at_source(f"INSERT INTO shop.bulk VALUES ({number}, 'now')")
            soon(stage, f"SELECT count(*) = 1 FROM shop_copy.bulk WHERE id = {number}")
            assert not stream.done()
        with pytest.raises(LockHeld):
            follow(run_of(stage, "second"), Task())
        figures = stream.result()
    assert (figures["events"], figures["lag"] < 2) == (2, True)
    assert 9 <= figures["seconds"] < 25
    assert asked(stage, "SELECT caught_up, error FROM dbo.cdc_applies") == [(True, None)]


def test_a_stream_that_is_killed_leaves_no_files(stage: CdcStage, tmp_path: Path) -> None:
    replicate.copy(run_of(stage, "start"))
    parent = following(stage, tmp_path)
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("*/log4j2.properties")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for child in children_of(parent):
        os.kill(child, signal.SIGKILL)
    assert parent.wait(20) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_stream_ends_with_its_parent_and_gives_way_to_readers(stage: CdcStage, tmp_path: Path) -> None:
    replicate.copy(run_of(stage, "start"))
    parent = following(stage, tmp_path)
    stage.at_source("INSERT INTO shop.bulk VALUES (100, 'now')")
    soon(stage, "SELECT count(*) = 1 FROM shop_copy.bulk WHERE id = 100")
    children = children_of(parent)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 15
    while any(_lives(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []

    stage.at_source("TRUNCATE shop.bulk", "INSERT INTO shop.bulk VALUES (1, 'after')")
    with stage.connect_warehouse() as reader, reader.transaction():
        reader.execute("SELECT FROM shop_copy.bulk")
        with pytest.raises(LockTimeout):
            follow(run_of(stage, "gives way"), Task())
        assert reader.execute("SELECT count(*) FROM shop_copy.bulk").fetchone() == (11,)
    follow(run_of(stage, "last"), Task())
    assert differences(stage, SHOP) == {}


def following(stage: CdcStage, folder: Path) -> subprocess.Popen[str]:
    """Start a process that follows in a process of its own, for minutes; what is temporary is in the folder."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=PROJECT_ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert parent.stdin is not None
    parent.stdin.write(written(run_of(stage, "first"), Task(minutes=5)) + "\n")
    parent.stdin.flush()
    return parent


def children_of(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
