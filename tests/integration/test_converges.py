"""Whatever happens at the source, and whichever days are checked in between: at the end the copy is equal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from include.catalog import Catalog
from include.demo.source_schema import create_source
from include.engines.postgres.ddl import create_replica, create_schemas
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.replication.sweep import sweep
from include.windows import UNDATED, Window
from tests.integration.conftest import Stage
from tests.integration.helpers import Watch, assert_same_rows, doubled_keys, replica_of, source_of
from tests.unit.tables import make_table

TABLE = make_table(
    {"ID": "bigint", "DAY": "date", "AMOUNT": "decimal(16,4)", "VERSION": "rowversion"}, rowversion="VERSION"
)
#: Over the end of a month, so that rows move between partitions.
DAYS = Window.inclusive(date(2025, 9, 29), date(2025, 10, 2))

keys = st.integers(1, 6)
days = st.none() | st.integers(0, DAYS.days - 1).map(lambda number: DAYS.start + timedelta(days=number))
windows = (
    st.tuples(st.integers(0, DAYS.days - 1), st.integers(1, DAYS.days))
    .map(lambda pair: (pair[0], min(pair[0] + pair[1], DAYS.days)))
    .map(lambda pair: Window(DAYS.start + timedelta(days=pair[0]), DAYS.start + timedelta(days=pair[1])))
)


@dataclass(frozen=True)
class Put:
    """A row with this key is inserted, or takes the place of the one that has it."""

    key: int
    day: date | None
    amount: int
    anew: bool
    """Whether the old row is deleted first: the key is used again."""

    def apply(self, connection: psycopg.Connection[Any]) -> None:
        if self.anew:
            Delete(self.key).apply(connection)
        connection.execute(
            sql.SQL(
                'INSERT INTO {} ("ID", "DAY", "AMOUNT") VALUES (%s, %s, %s)'
                ' ON CONFLICT ("ID") DO UPDATE SET "DAY" = excluded."DAY", "AMOUNT" = excluded."AMOUNT"'
            ).format(source_of(TABLE)),
            (self.key, self.day, self.amount),
        )


@dataclass(frozen=True)
class Delete:
    key: int

    def apply(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(sql.SQL('DELETE FROM {} WHERE "ID" = %s').format(source_of(TABLE)), (self.key,))


@dataclass(frozen=True)
class Bring:
    """A part of the copy is made equal in one of the ways there are."""

    how: Literal["fix", "load", "sweep"]
    window: Window


changes = st.one_of(st.builds(Put, keys, days, st.integers(0, 3), st.booleans()), st.builds(Delete, keys))
bringing = st.builds(Bring, st.sampled_from(["fix", "fix", "load", "sweep"]), windows)
histories = st.lists(st.tuples(st.lists(changes, min_size=1, max_size=8), bringing), min_size=1, max_size=3)


@pytest.fixture
def small(stage: Stage) -> Stage:
    """Make the small table at both ends."""
    with stage.connect_source() as connection:
        create_source(connection, Catalog({TABLE.name: TABLE}))
    with stage.connect_warehouse() as connection:
        for statement in [*create_schemas(TABLE.target_schema), *create_replica(TABLE)]:
            connection.execute(statement)
    return stage


@contextmanager
def emptied(stage: Stage) -> Iterator[psycopg.Connection[Any]]:
    """Hand out the source, with nothing left of another history."""
    with stage.connect_warehouse() as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(replica_of(TABLE)))
        connection.execute("TRUNCATE dbo.replica_watermarks, dbo.etl_progress")
    with stage.connect_source() as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(source_of(TABLE)))
        yield connection


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
def test_every_history_ends_with_an_equal_copy(small: Stage, history: list[tuple[list[Put | Delete], Bring]]) -> None:
    with emptied(small) as source:
        for made, bring in history:
            for one in made:
                one.apply(source)
            if bring.how == "sweep":
                sweep(small.run(), TABLE, Watch())
            elif bring.how == "load":
                for part in {day.replace(day=1): day for day in (bring.window.start, bring.window.last_day)}.values():
                    replicate(small.run(), TABLE, Window.of_month(part), Watch())
                    assert_same_rows(small, TABLE, Window.of_month(part))
            else:
                reconcile(small.run(), TABLE, bring.window, Watch())
                assert_same_rows(small, TABLE, bring.window)
                assert reconcile(small.run(), TABLE, bring.window, Watch()).unchanged
            assert doubled_keys(small, TABLE) == []
        reconcile(small.run(), TABLE, DAYS, Watch())
        assert_same_rows(small, TABLE, DAYS)
        again = reconcile(small.run(), TABLE, DAYS, Watch())
        assert (again.unchanged, again.rows_read, again.bytes_read) == (True, 0, 0)
        replicate(small.run(), TABLE, UNDATED, Watch())
        assert_same_rows(small, TABLE)
