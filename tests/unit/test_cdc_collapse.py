from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.cdc.changes import UNAVAILABLE, Change, Op, TargetTable
from include.cdc.collapse import Delta, Key, collapse, is_visible
from include.cdc.values import text
from include.errors import SchemaMismatch, UnknownColumns

COLUMNS = {"id": "bigint", "big": "text", "at": "time without time zone", "extra": "text"}
TABLE = TargetTable("public.t", "shop", "t", ("id",), COLUMNS)
TABLES = {"public.t": TABLE}
DEFAULT = "by default"
TIMES = ("00:00:00", "24:00:00", "10:00:00")


@dataclass
class Source:
    """A table that writes its changes as Debezium sends them; column ``extra`` comes later."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    extended: bool = False

    def write(self, id: int, number: int, touched: bool, at: str) -> None:
        """Insert a row, or update it, its large value touched or not."""
        if id not in self.rows:
            row = {"id": id, "big": f"big {number}", "at": at, "extra": DEFAULT}
            self.rows[id] = row
            self._send(Op.CREATE, id, row)
            return
        row = self.rows[id]
        row["at"] = at
        if touched:
            row["big"] = f"big {number}"
        if self.extended:
            row["extra"] = f"extra {number}"
        self._send(Op.UPDATE, id, row if touched else {**row, "big": UNAVAILABLE})

    def move(self, id: int, new: int) -> None:
        if id not in self.rows or new in self.rows:
            return
        row = self.rows[new] = {**self.rows.pop(id), "id": new}
        self.changes.append(Change("public.t", Op.DELETE, {"id": id}, at_ms=7, other_key={"id": new}))
        self._send(Op.CREATE, new, {**row, "big": UNAVAILABLE}, other_key={"id": id})

    def delete(self, id: int) -> None:
        if self.rows.pop(id, None):
            self.changes.append(Change("public.t", Op.DELETE, {"id": id}, at_ms=7))

    def truncate(self) -> None:
        self.rows.clear()
        self.changes.append(Change("public.t", Op.TRUNCATE, at_ms=7))

    def extend(self) -> None:
        self.extended = True

    def fetch(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        return [self.rows[int(wanted)] for wanted in ids if int(wanted) in self.rows]

    def _send(self, op: Op, id: int, row: dict[str, Any], other_key: dict[str, Any] | None = None) -> None:
        hour = "00" if row["at"].startswith("24") else row["at"][:2]
        sent = {**row, "at": f"{hour}:00:00Z"}
        if not self.extended:
            del sent["extra"]
        self.changes.append(Change("public.t", op, {"id": id}, sent, at_ms=7, other_key=other_key))


IDS = st.integers(1, 4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), IDS, st.integers(0, 99), st.booleans(), st.sampled_from(TIMES)),
        st.tuples(st.just("move"), IDS, IDS),
        st.tuples(st.just("delete"), IDS),
        st.sampled_from([("truncate",), ("extend",)]),
    ),
    max_size=25,
)


def played(source: Source, steps: Sequence[tuple[Any, ...]]) -> Source:
    for name, *arguments in steps:
        getattr(source, name)(*arguments)
    return source


def batches(changes: list[Change], cuts: list[int]) -> Iterator[list[Change]]:
    places = sorted({0, len(changes), *(cut % (len(changes) + 1) for cut in cuts)})
    return (changes[start:end] for start, end in pairwise(places))


def simulate(rows: dict[Key, dict[str, Any]], delta: Delta, fetch: Callable[[Any], list[dict[str, Any]]]) -> None:
    """Do to rows what the delta says, as the target does."""
    ready: dict[Key, dict[str, Any]] = {}
    deleted = set(delta.deleted)
    for key, row in delta.rows.items():
        texts = {column: text(value, COLUMNS[column]) for column, value in row.values.items()}
        if not row.missing:
            ready[key] = texts
        elif row.kept and key in rows:
            ready[key] = {**texts, **{column: rows[key][column] for column in row.missing}}
        elif found := fetch([key[0]]):
            ready[key] = {**found[0], "id": str(found[0]["id"])}
        else:
            deleted.add(key)
    if delta.truncated:
        rows.clear()
    for key in deleted:
        rows.pop(key, None)
    for key, texts in ready.items():
        rows[key] = {"extra": DEFAULT, **rows.get(key, {}), **texts}


def copied_rows(source: Source, ids: Collection[int]) -> dict[Key, dict[str, Any]]:
    return {(str(key),): {**row, "id": str(key)} for key, row in source.rows.items() if key in ids}


@given(before=STEPS, steps=STEPS, more=STEPS, late=st.sets(IDS), cuts=st.lists(st.integers(0, 99), max_size=3))
def test_collapsed_batches_leave_what_the_changes_one_by_one_leave(before, steps, more, late, cuts):
    """Also where the copy of some keys is later than that of others, and their rows have changes in the stream."""
    source = played(Source(), before)
    copied = copied_rows(source, {1, 2, 3, 4} - late)
    source.changes.clear()
    played(source, steps)
    copied |= copied_rows(source, late)
    played(source, more)
    for cut in (cuts, range(len(source.changes))):
        target = {key: dict(row) for key, row in copied.items()}
        for batch in batches(source.changes, list(cut)):
            for delta in collapse(batch, TABLES).values():
                simulate(target, delta, source.fetch)
        assert target == copied_rows(source, {1, 2, 3, 4})


def change(op: Op, id: int, values: dict[str, Any] | None = None, **more: Any) -> Change:
    return Change("public.t", op, {"id": id}, None if values is None else {"id": id, **values}, **more)


WHOLE = {"big": "b", "at": "10:00:00Z", "extra": "e"}


def test_a_value_that_was_not_touched_comes_from_the_same_batch_else_from_the_row_itself():
    touched = change(Op.UPDATE, 1, WHOLE)
    untouched = [change(Op.UPDATE, key, {**WHOLE, "big": UNAVAILABLE}) for key in (1, 2)]
    rows = collapse([touched, *untouched], TABLES)["public.t"].rows
    assert (rows["1",].values["big"], rows["1",].missing) == ("b", set())
    assert (rows["2",].missing, rows["2",].kept) == ({"big"}, True)


def test_a_row_under_a_new_key_has_what_the_batch_tells_and_is_read_again_for_the_rest():
    moved = {**WHOLE, "big": UNAVAILABLE}
    delta = collapse(
        [
            change(Op.UPDATE, 4, WHOLE),
            change(Op.DELETE, 4, other_key={"id": 5}),
            change(Op.CREATE, 5, moved, other_key={"id": 4}),
            change(Op.DELETE, 1, other_key={"id": 2}),
            change(Op.CREATE, 2, moved, other_key={"id": 1}),
            change(Op.DELETE, 2, other_key={"id": 3}),
            change(Op.CREATE, 3, moved, other_key={"id": 2}),
        ],
        TABLES,
    )["public.t"]
    assert set(delta.deleted) == {("1",), ("2",), ("4",)}
    assert delta.rows["5",].values["big"] == "b"
    assert (delta.rows["3",].missing, delta.rows["3",].kept) == ({"big"}, False)


def test_a_row_whose_old_half_came_in_another_batch_is_read_again():
    moved = change(Op.CREATE, 2, {**WHOLE, "big": UNAVAILABLE}, other_key={"id": 1})
    row = collapse([moved], TABLES)["public.t"].rows["2",]
    assert (row.missing, row.kept) == ({"big"}, False)


def test_a_truncate_forgets_what_came_before_it():
    delta = collapse(
        [change(Op.CREATE, 1, WHOLE), Change("public.t", Op.TRUNCATE), change(Op.CREATE, 2, WHOLE)], TABLES
    )
    assert delta["public.t"].truncated
    assert list(delta["public.t"].rows) == [("2",)]


def test_a_change_older_than_a_column_leaves_it_out():
    row = collapse([change(Op.UPDATE, 1, {"big": "b", "at": None})], TABLES)["public.t"].rows["1",]
    assert (row.values, row.missing) == ({"id": 1, "big": "b", "at": None}, set())


def test_null_is_a_value():
    row = collapse([change(Op.UPDATE, 1, {**WHOLE, "big": None})], TABLES)["public.t"].rows["1",]
    assert row.values["big"] is None


def test_tables_that_are_not_followed_and_changes_that_the_copy_has_are_left_out():
    seen = TargetTable("public.t", "shop", "t", ("id",), COLUMNS, snapshot="100:105:102")
    changes = [change(Op.CREATE, txid, WHOLE, txid=txid) for txid in (99, 101, 102, 105)]
    assert set(collapse(changes, {"public.t": seen})["public.t"].rows) == {("102",), ("105",)}
    assert collapse(changes, {}) == {}


@pytest.mark.parametrize(
    ("txid", "snapshot", "visible"),
    [
        (99, "100:105:102,103", True),
        (103, "100:105:102,103", False),
        (104, "100:105:102,103", True),
        (105, "100:105:", False),
        (2**32 - 1, f"{2**32}:{2**32 + 5}:", True),
        (3, f"{2**32}:{2**32 + 5}:{2**32 + 3}", False),
        (2, f"{2**32}:{2**32 + 5}:{2**32 + 3}", True),
        (7, f"{2**32 - 9}:{2**32 - 2}:", False),
        (None, "100:105:", False),
        (1, None, False),
    ],
)
def test_a_snapshot_has_seen_a_transaction(txid: int | None, snapshot: str | None, visible: bool):
    assert is_visible(txid, snapshot) is visible


def test_a_column_that_the_target_lacks_is_told_unless_it_is_left_out():
    changes = [change(Op.CREATE, 1, {**WHOLE, "new": 1})]
    with pytest.raises(UnknownColumns) as raised:
        collapse(changes, TABLES)
    assert raised.value.columns == {"public.t": {"new"}}
    assert "new" not in collapse(changes, TABLES, {"public.t": ["new"]})["public.t"].rows["1",].values


def test_another_key_than_that_of_the_target_is_refused():
    with pytest.raises(SchemaMismatch, match="copy the table again"):
        collapse([Change("public.t", Op.DELETE, {"code": "x"})], TABLES)
