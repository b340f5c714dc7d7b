"""A MySQL source: pinned, copied and followed under writers, killed at each point, compared row by row."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from include.cdc import health, operate, replicate, state
from include.cdc.begin import begin
from include.cdc.copy import copy_table
from include.cdc.follow import Task, follow
from include.cdc.models import Kind, Replication
from include.cdc.sources.mysql import MysqlCdcSource
from include.cdc.state import State
from include.cdc.swap import swap
from include.cdc.validate import validate
from include.errors import NeedsResync
from tests.integration import mysql
from tests.integration.cdc import CdcStage, kill_at, replication, run_of

pytestmark = mysql.needs_mysql

ROWS = 2000
SHAPES = {
    "customers": "id, name, note, at",
    "orders": "shop, number, total, state",
}


@dataclass(frozen=True)
class Shop:
    """A shop on MySQL, and the replication that follows it."""

    stage: CdcStage
    database: str
    replication: Replication

    def run(self, name: str, **settings: object):
        return run_of(self.stage, name, self.replication, **settings)

    def change(self, *statements: str) -> None:
        mysql.run(self.database, *statements)

    def warehouse(self, query: str) -> list[tuple[object, ...]]:
        with self.stage.connect_warehouse() as session:
            return session.execute(query).fetchall()

    def differences(self) -> dict[str, int]:
        """Return how many rows differ, of the tables that do; read by other queries than those of the code."""
        found = {}
        for table, columns in SHAPES.items():
            with closing(mysql.connect(self.database)) as session, session.cursor() as cursor:
                cursor.execute(f"SELECT {columns} FROM {table}")
                source = sorted(map(tuple, cursor.fetchall()))
            target = sorted(self.warehouse(f"SELECT {columns} FROM shop_copy.{table}"))
            if source != target:
                found[table] = len(set(source) ^ set(target)) or abs(len(source) - len(target))
        return found


@pytest.fixture
def shop(cdc_stage: CdcStage) -> Iterator[Shop]:
    with mysql.fresh_shop(ROWS) as database:
        stage = replace(cdc_stage, source_connection=mysql.connection())
        fields = {"kind": Kind.MYSQL, "tables": [f"{database}.*"], "target_schema": "shop_copy", "chunk_rows": 500}
        yield Shop(stage, database, replication("shop", **fields))


@pytest.mark.timeout(240)
def test_a_replication_killed_at_each_point_equals_its_source(shop: Shop) -> None:
    chance, customers = random.Random(7), f"{shop.database}.customers"
    with mysql.writing(shop.database, ROWS) as writers:
        tables = begin(shop.run("begin"))
        kill_at(shop.run("killed 1"), "slot made", table=customers)
        kill_at(shop.run("killed 2"), "during the copy", 2, table=customers)
        for table in tables:
            copy_table(shop.run("copy"), table)
        kill_at(shop.run("killed 3"), "before the swap is committed")
        swap(shop.run("swap"))
        assert writers.close() > 1000
    with mysql.writing(shop.database, ROWS, pause=0.02) as writers:
        for point in ("before the commit", "after the commit", "during close"):
            kill_at(shop.run(point), point, chance.randint(1, 3))
        writers.close()
    figures = follow(shop.run("last"), Task(compare=True))
    assert shop.differences() == {}
    assert [table for table in figures["compared"] if not table["equal"]] == []
    assert figures["memory_mb"] < 500


def test_a_comparison_under_writers_is_of_one_moment(shop: Shop) -> None:
    replicate.copy(shop.run("copy"))
    with mysql.writing(shop.database, ROWS, pause=0.005):
        figures = follow(shop.run("stream"), Task(compare=True))
    assert [table["equal"] for table in figures["compared"]] == [True, True]
    shop.change("UPDATE orders SET total = 0")
    with shop.stage.connect_warehouse() as session:
        session.execute("UPDATE shop_copy.customers SET name = 'wrong' WHERE id = 1")
    customers, orders = follow(shop.run("wrong"), Task(compare=True))["compared"]
    assert (customers["different"], customers["sample_keys"], orders["equal"]) == (1, [["1"]], True)


def test_nothing_is_started_where_the_log_ends_where_the_last_stream_did(shop: Shop) -> None:
    replicate.copy(shop.run("copy"))
    source = MysqlCdcSource(shop.stage.source_connection)
    for _ in range(5):
        follow(shop.run("first"), Task())
        end = source.end()
        figures, found = follow(shop.run("second"), Task()), health.check(shop.run("look"))
        # other tests may write into the log of the server meanwhile
        if source.end() == end:
            break
    assert figures["events"] == 0
    assert figures["memory_mb"] < 200
    assert (found.status, found.lag_bytes, found.lag_seconds) == ("healthy", 0, 0.0)


def test_the_target_follows_new_columns_and_tables_that_are_emptied(shop: Shop) -> None:
    replicate.copy(shop.run("copy"))
    shop.change(
        "ALTER TABLE customers ADD COLUMN points int NOT NULL DEFAULT 7",
        "UPDATE customers SET points = 8 WHERE id = 1",
        "TRUNCATE orders",
        "INSERT INTO orders VALUES (1, 18446744073709551615, 1.5, 'paid')",
        "UPDATE customers SET id = 100000 WHERE id = 2",
    )
    figures = follow(shop.run("stream"), Task(compare=True))
    assert [table["equal"] for table in figures["compared"]] == [True, True]
    assert shop.warehouse("SELECT points, count(*) FROM shop_copy.customers GROUP BY 1 ORDER BY 1") == [
        (7, ROWS - 1),
        (8, 1),
    ]
    assert shop.differences() == {}


def test_a_table_that_is_emptied_last_is_empty_where_the_stream_ends(shop: Shop) -> None:
    replicate.copy(shop.run("copy"))
    shop.change("UPDATE customers SET note = 'seen'", "TRUNCATE orders")
    follow(shop.run("stream"), Task())
    assert shop.warehouse("SELECT count(*) FROM shop_copy.orders") == [(0,)]
    assert shop.differences() == {}


def test_a_stream_that_goes_on_ends_when_its_time_is_over(shop: Shop) -> None:
    replicate.copy(shop.run("copy"))
    with mysql.writing(shop.database, ROWS, pause=0.01):
        began = time.monotonic()
        figures = follow(shop.run("stream"), Task(minutes=0.1))
        assert 6 < time.monotonic() - began < 30
    assert figures["events"] > 100
    follow(shop.run("rest"), Task())
    assert shop.differences() == {}


def test_a_log_that_was_purged_needs_a_resync(shop: Shop) -> None:
    replicate.copy(shop.run("copy"))
    with shop.stage.in_warehouse() as target:
        row = state.read(target.records, "shop")
        assert row is not None
        assert row.position is not None
        old = {**row.position["offset"], "file": "binlog.000000", "gtids": ""}
        state.write(target.records, "shop", position={**row.position, "offset": old})
    with pytest.raises(NeedsResync, match="has purged binary log"):
        follow(shop.run("stream"), Task())
    assert health.check(shop.run("look")).status == "unhealthy"
    replicate.copy(shop.run("again"), resync=True)
    follow(shop.run("stream"), Task())
    assert shop.differences() == {}


def test_a_stopped_replication_says_how_long_the_log_is_kept(shop: Shop) -> None:
    replicate.copy(shop.run("copy"))
    assert "the source keeps its binary logs for" in operate.stop(shop.run("stop"))
    operate.resume(shop.run("resume"))
    operate.drop(shop.run("drop"))
    with shop.stage.in_warehouse() as target:
        row = state.read(target.records, "shop")
        assert row is not None
        assert row.state is State.DROPPED
        assert target.session.execute("SELECT count(*) FROM dbo.cdc_definitions").fetchone() == (0,)


def test_what_is_in_the_way_is_named_with_its_remedy(shop: Shop) -> None:
    shop.change("CREATE TABLE keyless (n int)", "CREATE TABLE odd (id bit(9) PRIMARY KEY, place point)")
    connections = (shop.stage.source_connection, shop.stage.warehouse_connection, shop.stage.control_connection)
    found = [str(problem) for problem in validate(shop.replication, *connections)]
    assert [text.partition(";")[0].replace(shop.database, "shop") for text in found] == [
        "shop.keyless has no primary key",
        "shop.odd: key column id: Debezium may send another value than the source has",
    ]


def test_a_key_of_each_kind_is_found_again(shop: Shop) -> None:
    kinds = {
        "words": ("varchar(20)", "concat('Ä', n)"),
        "days": ("date", "date'2020-01-01' + interval n day"),
        "bytes": ("varbinary(10)", "unhex(lpad(hex(n), 6, '0'))"),
        "years": ("year", "1950 + n"),
        "sums": ("decimal(9,2)", "n * 1.25"),
    }
    numbers = "WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 150)"
    for name, (kind, value) in kinds.items():
        shop.change(
            f"CREATE TABLE {name} (id {kind} PRIMARY KEY, j json)",
            f"INSERT INTO {name} {numbers} SELECT {value}, '\"2020-01-01\"' FROM s",
        )
    of = shop.replication.model_copy(update={"chunk_rows": 100})
    replicate.copy(run_of(shop.stage, "copy", of))
    shop.change(*(f'UPDATE {name} SET j = \'{{"at": 1e300, "day": "2021-01-01"}}\' LIMIT 20' for name in kinds))
    figures = follow(run_of(shop.stage, "stream", of), Task(compare=True))
    assert [table["table"] for table in figures["compared"] if not table["equal"]] == []
    assert figures["dead"] == 0
