from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from include import migrations
from include.cdc import letters
from include.cdc.apply import Applied, apply
from include.cdc.changes import UNAVAILABLE, Change, Op, TargetTable
from include.cdc.collapse import collapse
from include.cdc.targets.postgres import PostgresTarget, opened
from include.connections import parse
from include.demo.postgres import EmbeddedPostgres
from tests.integration.cdc import leaving_nothing
from tests.integration.conftest import drop_database, fresh_database
from tests.unit.test_cdc_collapse import TIMES, Source, batches, played
from tests.unit.test_cdc_events import ARRIVALS

COLUMNS = {"id": "integer", "name": "character varying(5)", "amount": "numeric(6,2)", "big": "text"}
TABLE = TargetTable("public.t", "public", "t", ("id",), COLUMNS)
SOFT = TargetTable("public.t", "public", "t", ("id",), COLUMNS, soft=True)
WHOLE = {"name": "ab", "amount": "1.50", "big": "x"}
DDL = """
    CREATE TABLE public.t (
        id integer PRIMARY KEY, name varchar(5), amount numeric(6, 2), big text NOT NULL, _deleted_at timestamptz
    )
"""


@pytest.fixture(scope="module")
def database(server: EmbeddedPostgres) -> Iterator[str]:
    name = fresh_database(server, "cdc_apply")
    yield name
    drop_database(server, name)


@pytest.fixture
def target(server: EmbeddedPostgres, database: str) -> Iterator[PostgresTarget]:
    with leaving_nothing(parse("warehouse", server.uri(database))) as target:
        target.session.execute(DDL)
        yield target


def change(op: Op, key: int, values: Mapping[str, Any] | None = None, **more: Any) -> Change:
    return Change("public.t", op, {"id": key}, None if values is None else {"id": key, **values}, 5, 86_400_000, **more)


class Dead(list[tuple[Any, ...]]):
    def __call__(self, *letter: Any) -> None:
        self.append(letter)


def nothing(table: str, keys: Sequence[Mapping[str, str]]) -> list[dict[str, str | None]]:
    raise AssertionError(f"{table} was read again")


def put(
    target: PostgresTarget,
    changes: Sequence[Change],
    table: TargetTable = TABLE,
    fetch: Callable[..., Any] = nothing,
    on_dead: Callable[..., None] | None = None,
    **more: Any,
) -> Applied:
    tables = {table.source: table}
    dead = Dead()
    applied = apply(
        target, collapse(changes, tables), tables, fetch=fetch, on_dead=dead if on_dead is None else on_dead, **more
    )
    assert not dead
    return applied


def rows(target: PostgresTarget) -> list[tuple[Any, ...]]:
    return target.session.execute(
        "SELECT id, name, amount::text, big, _deleted_at::date::text FROM public.t ORDER BY id"
    ).fetchall()


def test_rows_are_inserted_updated_and_deleted(target):
    assert put(target, [change(Op.CREATE, key, WHOLE) for key in (1, 2, 3)]) == Applied(upserted=3)
    batch = [change(Op.UPDATE, 1, {**WHOLE, "name": None}), change(Op.DELETE, 2), change(Op.UPDATE, 3, WHOLE)]
    assert put(target, batch) == Applied(upserted=1, deleted=1)
    assert rows(target) == [(1, None, "1.50", "x", None), (3, "ab", "1.50", "x", None)]


def test_a_change_that_changes_nothing_writes_nothing(target):
    put(target, [change(Op.CREATE, 1, WHOLE)])
    assert put(target, [change(Op.UPDATE, 1, WHOLE)]) == Applied()


def test_a_value_that_is_only_written_otherwise_is_written(target):
    target.session.execute("CREATE TABLE public.n (id integer PRIMARY KEY, c numeric, j json)")
    table = TargetTable("public.n", "public", "n", ("id",), {"id": "integer", "c": "numeric", "j": "json"})
    for value in ("1.5", "1.50"):
        put(target, [Change("public.n", Op.UPDATE, {"id": 1}, {"id": 1, "c": value, "j": "{}"})], table)
    assert target.session.execute("SELECT c::text FROM public.n").fetchone() == ("1.50",)


def test_a_value_that_was_not_touched_stays(target):
    put(target, [change(Op.CREATE, 1, WHOLE)])
    put(target, [change(Op.UPDATE, 1, {"name": "new", "amount": "2.00", "big": UNAVAILABLE})])
    assert rows(target) == [(1, "new", "2.00", "x", None)]


def test_a_row_under_a_new_key_is_read_again_for_what_was_not_touched(target):
    """Under its old key the target may have another row, of a copy that is newer than the change."""
    put(target, [change(Op.CREATE, 1, WHOLE), change(Op.CREATE, 2, {**WHOLE, "big": "y"})])
    swap = []
    for old, new in ((1, 3), (2, 1), (3, 2)):
        swap += [
            change(Op.DELETE, old, other_key={"id": new}),
            change(Op.CREATE, new, {**WHOLE, "big": UNAVAILABLE}, other_key={"id": old}),
        ]
    found = [{"id": key, **WHOLE, "big": f"of {key}"} for key in ("1", "2")]
    put(target, swap, fetch=lambda table, keys: found)
    assert [(row[0], row[3]) for row in rows(target)] == [(1, "of 1"), (2, "of 2")]


def test_what_the_target_does_not_have_is_read_again_and_what_is_gone_is_deleted(target):
    put(target, [change(Op.CREATE, 2, WHOLE)])
    asked = []

    def fetch(table: str, keys: Sequence[Mapping[str, str]]) -> list[dict[str, str | None]]:
        asked.extend([table, *keys])
        return [{"id": "1", "name": "now", "amount": "3.00", "big": None}, {"id": "4", "big": "z"}]

    put(target, [change(Op.DELETE, 2)])
    target.session.execute("ALTER TABLE public.t ALTER big DROP NOT NULL")
    untouched = [change(Op.UPDATE, key, {**WHOLE, "big": UNAVAILABLE}) for key in (1, 2, 4)]
    put(target, untouched, fetch=fetch)
    assert asked == ["public.t", {"id": "1"}, {"id": "2"}, {"id": "4"}]
    assert rows(target) == [(1, "now", "3.00", None, None), (4, None, None, "z", None)]


def test_a_row_that_lacks_a_refused_change_is_read_again(target):
    put(target, [change(Op.CREATE, 1, WHOLE)])
    untouched = [change(Op.UPDATE, 1, {**WHOLE, "big": UNAVAILABLE})]
    found = {"id": "1", **WHOLE, "big": "as it is"}
    put(target, untouched, fetch=lambda table, keys: [found], doubted={"public.t": {("1",)}})
    assert rows(target) == [(1, "ab", "1.50", "as it is", None)]


def test_a_change_older_than_a_column_takes_its_default_or_leaves_it(target):
    target.session.execute("ALTER TABLE public.t ADD later text NOT NULL DEFAULT 'was there'")
    table = TargetTable("public.t", "public", "t", ("id",), {**COLUMNS, "later": "text"})
    put(target, [change(Op.CREATE, 1, WHOLE), change(Op.CREATE, 2, {**WHOLE, "later": "new"})], table)
    put(target, [change(Op.UPDATE, 2, WHOLE)], table)
    found = target.session.execute("SELECT id, later FROM public.t ORDER BY id").fetchall()
    assert found == [(1, "was there"), (2, "new")]


def test_a_truncate_empties_the_table_before_what_comes_after_it(target):
    put(target, [change(Op.CREATE, 1, WHOLE)])
    applied = put(target, [change(Op.UPDATE, 1, WHOLE), Change("public.t", Op.TRUNCATE), change(Op.CREATE, 2, WHOLE)])
    assert (applied.truncated, rows(target)) == (1, [(2, "ab", "1.50", "x", None)])


def test_soft_deletes_keep_the_row_with_the_time_until_it_comes_back(target):
    put(target, [change(Op.CREATE, 1, WHOLE), change(Op.CREATE, 2, WHOLE)], SOFT)
    assert put(target, [change(Op.DELETE, 1)], SOFT).deleted == 1
    assert [row[4] for row in rows(target)] == ["1970-01-02", None]
    put(target, [Change("public.t", Op.TRUNCATE, at_ms=0), change(Op.CREATE, 1, WHOLE)], SOFT)
    assert [row[4] for row in rows(target)] == [None, "1970-01-01"]


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ({"amount": "no number"}, "column amount: invalid input syntax for type numeric: … [22P02]"),
        ({"amount": "10000"}, "numeric field overflow [22003]"),
        ({"amount": "1.005"}, "column amount: the value would be rounded or cut"),
        ({"name": 'quo"ted'}, "column name: the value would be rounded or cut"),
        ({"name": "blank   "}, "column name: the value would be rounded or cut"),
        ({"big": None}, "column big: null value in column … violates not-null constraint [23502]"),
        ({"big": "\0"}, "a text has characters that PostgreSQL does not hold"),
        ({"big": "\ud800"}, "a text has characters that PostgreSQL does not hold"),
    ],
)
def test_a_row_that_the_target_refuses_is_handed_over_and_the_rest_goes_in(target, refused, reason):
    dead = Dead()
    values = [{**WHOLE, **(refused if key == 5 else {})} for key in range(9)]
    changes = [change(Op.CREATE, key, row) for key, row in enumerate(values)]
    assert put(target, changes, on_dead=dead) == Applied(upserted=8, dead=1)
    assert [row[0] for row in rows(target)] == [0, 1, 2, 3, 4, 6, 7, 8]
    assert dead == [("public.t", {"id": "5"}, {"id": "5", **values[5]}, reason)]


def test_a_batch_can_be_given_up_at_a_refused_row(target):
    def give_up(*letter: Any) -> None:
        raise LookupError

    with pytest.raises(LookupError), target.transaction():
        put(target, [change(Op.CREATE, 1, WHOLE), change(Op.CREATE, 2, {**WHOLE, "amount": "x"})], on_dead=give_up)
    assert rows(target) == []


def test_every_value_arrives_as_the_source_wrote_it(target):
    for number, (type_text, sent, expected) in enumerate(ARRIVALS):
        target.session.execute(f"CREATE TABLE public.v{number} (id integer PRIMARY KEY, c {type_text})")
        columns = {"id": "integer", "c": type_text}
        table = TargetTable(f"public.v{number}", "public", f"v{number}", ("id",), columns)
        put(target, [Change(table.source, Op.CREATE, {"id": 1}, {"id": 1, "c": sent})], table)
        same = target.session.execute(
            f"SELECT c::text IS NOT DISTINCT FROM (%s::text::{type_text})::text FROM public.v{number}", (expected,)
        ).fetchone()
        assert same == (True,), type_text


@pytest.mark.parametrize("soft", [False, True])
def test_a_random_history_in_random_batches_leaves_what_the_source_has(target, soft):
    chance = random.Random(6 + soft)
    columns = {"id": "bigint", "big": "text", "at": "time without time zone", "extra": "text"}
    table = TargetTable("public.t", "public", "h", ("id",), columns, soft=soft)
    tables = {"public.t": table}
    target.session.execute(
        "CREATE TABLE public.h (id bigint PRIMARY KEY, big text NOT NULL, at time, extra text DEFAULT 'by default',"
        " _deleted_at timestamptz)"
    )
    source = Source()
    for step in range(60):
        if step == 30:
            source.extend()
        steps: list[tuple[Any, ...]] = []
        for _ in range(chance.randrange(40)):
            write = ("write", chance.randrange(12), chance.randrange(99), chance.random() < 0.3, chance.choice(TIMES))
            move = ("move", chance.randrange(12), chance.randrange(12))
            steps.append(
                chance.choices([write, move, ("delete", chance.randrange(12)), ("truncate",)], [6, 3, 2, 0.2])[0]
            )
        played(source, steps)

        def fetch(name: str, keys: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
            found = source.fetch([key["id"] for key in keys])
            return [{column: str(value) for column, value in row.items()} for row in found]

        for batch in batches(source.changes, [chance.randrange(999) for _ in range(2)]):
            apply(target, collapse(batch, tables), tables, fetch=fetch, on_dead=Dead())
        source.changes.clear()
        found = target.session.execute(
            "SELECT id, big, at::text, extra FROM public.h WHERE _deleted_at IS NULL ORDER BY id"
        ).fetchall()
        assert found == [tuple(row.values()) for _, row in sorted(source.rows.items())]


def test_letters_are_resolved_when_their_row_goes_in_later(server):
    name = fresh_database(server, "cdc_letters")
    migrations.migrate("warehouse", parse("warehouse", server.uri(name)))
    with opened(parse("warehouse", server.uri(name)), "test") as target:
        records = target.records
        for key in ("1", "2"):
            letters.record(records, "shop", "e", "public.t", {"id": key}, {"id": key, "name": "ü"}, "too long")
        assert letters.open_keys(records, "shop") == {"public.t": {("1",), ("2",)}}
        assert letters.resolve(records, "shop", ["public.t"], [{"id": "1"}, {"id": "3"}]) == 1
        assert letters.open_keys(records, "shop") == {"public.t": {("2",)}}
        assert letters.open_count(records, "shop") == 1
        assert letters.resolve(records, "shop", ["public.t"]) == 1
        assert letters.open_keys(records, "other") == {}
    drop_database(server, name)
