from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.cdc.changes import TargetTable
from include.cdc.drift import Drift, compare, follow
from include.cdc.sources.base import Column
from include.cdc.sources.postgres_rows import PostgresRows
from include.cdc.targets.postgres import PostgresTarget
from include.connections import parse
from include.demo.postgres import EmbeddedPostgres
from include.errors import SchemaMismatch
from tests.integration.cdc import leaving_nothing
from tests.integration.conftest import drop_database, fresh_database

SOURCE = """
    CREATE TYPE public.mood AS ENUM ('good');
    CREATE DOMAIN public.short AS varchar(20);
    CREATE DOMAIN public.shorter AS public.short;
    CREATE DOMAIN public.numbers AS integer[];
    CREATE TABLE public.t (
        id bigint PRIMARY KEY, n numeric(12, 4), m public.mood, s public.shorter, a public.numbers,
        g bigint GENERATED ALWAYS AS (id + 1) STORED, gone text
    );
    ALTER TABLE public.t DROP gone;
    INSERT INTO public.t VALUES (1);
    ALTER TABLE public.t ADD u uuid DEFAULT gen_random_uuid();
    ALTER TABLE public.t ADD word text DEFAULT 'it''s', ADD many int[] DEFAULT '{1,2}', ADD nothing date,
        ADD at timestamptz(3) DEFAULT now();
    CREATE SCHEMA target;
    CREATE TABLE target.t (id bigint PRIMARY KEY, n numeric(10, 2), old text NOT NULL, _deleted_at timestamptz);
    INSERT INTO target.t VALUES (1, 1.50, 'kept');
"""
TARGET = TargetTable("public.t", "target", "t", ("id",), {"id": "bigint", "n": "numeric(10,2)", "old": "text"})


@pytest.fixture(scope="module")
def database(server: EmbeddedPostgres) -> Iterator[str]:
    name = fresh_database(server, "cdc_drift")
    yield name
    drop_database(server, name)


@pytest.fixture
def target(server: EmbeddedPostgres, database: str) -> Iterator[PostgresTarget]:
    with leaving_nothing(parse("warehouse", server.uri(database))) as target:
        target.session.execute(SOURCE)
        yield target


def test_the_columns_of_a_source_come_with_types_that_can_be_replicated_and_what_old_rows_have(target):
    columns = PostgresRows(target.session).columns("public.t")
    at = columns.pop("at")
    assert at.type == "timestamp(3) with time zone"
    assert at.missing is not None
    assert columns == {
        "id": Column("bigint", None, rewritten=False),
        "n": Column("numeric(12,4)", None, rewritten=False),
        "m": Column("text", None, rewritten=False),
        "s": Column("character varying(20)", None, rewritten=False),
        "a": Column("public.numbers", None, rewritten=False),
        "word": Column("text", "it's", rewritten=False),
        "many": Column("integer[]", "{1,2}", rewritten=False),
        "nothing": Column("date", None, rewritten=False),
        "u": Column("uuid", None, rewritten=True),
    }


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("smallint", "bigint"),
        ("real", "double precision"),
        ("character varying(5)", "character varying(9)"),
        ("character varying(5)", "character varying"),
        ("character varying", "text"),
        ("numeric(10,2)", "numeric(12,4)"),
        ("numeric(10,2)", "numeric"),
        ("timestamp(3) without time zone", "timestamp without time zone"),
    ],
)
def test_a_wider_type_is_followed_and_a_narrower_one_refused(before, now):
    def target(type_text: str) -> TargetTable:
        return TargetTable("public.t", "target", "t", ("id",), {"id": "bigint", "c": type_text})

    assert compare({"id": "bigint", "c": now}, target(before)) == Drift(widened={"c": now})
    assert compare({"id": "bigint", "c": before}, target(now)) == Drift(
        refused={"c": f"is {before} at the source, {now} at the target"}
    )


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("integer", "text"),
        ("numeric(10,4)", "numeric(11,2)"),
        ("numeric(10,2)", "numeric(10,4)"),
        ("timestamp without time zone", "timestamp with time zone"),
        ("character(3)", "character(5)"),
    ],
)
def test_another_type_is_refused(before, now):
    target = TargetTable("public.t", "target", "t", ("id",), {"id": "bigint", "c": before})
    assert list(compare({"id": "bigint", "c": now}, target).refused) == ["c"]


def test_what_cannot_be_replicated_and_a_lost_key_are_refused():
    drift = compare({"n": "numeric(10,2)", "old": "text", "p": "point"}, TARGET)
    assert drift == Drift(
        refused={
            "p": "is new, and point cannot be replicated",
            "id": "is part of the key, and gone at the source",
        }
    )


def test_the_target_follows_and_older_changes_get_what_older_rows_have(target):
    columns = PostgresRows(target.session).columns("public.t")
    drift = compare({name: column.type for name, column in columns.items()}, TARGET)
    assert (drift.dropped, list(drift.refused)) == (("old",), ["a"])
    drift.added.pop("m")
    drift.added.pop("word")
    missing = {name: column.missing for name, column in columns.items()}
    followed = follow(target, TARGET, Drift({"m": "text", "word": "text"}, (), drift.widened), missing)
    assert followed.columns == {**TARGET.columns, "n": "numeric(12,4)", "m": "text", "word": "text"}
    followed = follow(target, followed, Drift(drift.added, drift.dropped), missing)
    target.session.execute("INSERT INTO target.t (id) VALUES (2)")
    rows = target.session.execute("SELECT id, n::text, old, word, many, s FROM target.t ORDER BY id").fetchall()
    assert rows == [(1, "1.5000", "kept", "it's", [1, 2], None), (2, None, None, "it's", [1, 2], None)]
    again = compare({name: columns[name][0] for name in columns if name != "a"}, followed)
    assert again == Drift(dropped=("old",))
    assert follow(target, followed, again, missing) == followed


def test_a_column_under_a_new_name_is_not_taken_for_a_new_one(target):
    with pytest.raises(SchemaMismatch, match="column renamed may be old under a new name"):
        follow(target, TARGET, Drift(added={"renamed": "text"}, dropped=("old",)), {})


def test_a_column_dropped_long_ago_does_not_stand_in_the_way_of_a_new_one(target):
    follow(target, TARGET, Drift(dropped=("old",)), {})
    followed = follow(target, TARGET, Drift(added={"new": "text"}, dropped=("old",)), {})
    assert "new" in followed.columns
