from __future__ import annotations

import json

import pytest

from include.cdc.changes import UNAVAILABLE, Change, Marker, Op
from include.cdc.events import parse
from include.cdc.values import doubt, is_supported, split, text

SOURCE = {
    "connector": "postgresql",
    "db": "shop",
    "schema": "public",
    "table": "t",
    "txId": 787,
    "ts_ms": 1700000000000,
}


def event(op: str, **parts: object) -> str:
    return json.dumps({"before": None, "after": None, "source": SOURCE, "op": op, **parts})


def test_an_insert_brings_key_values_transaction_and_time():
    assert parse('{"id":1}', event("c", after={"id": 1, "n": "1.50"})) == Change(
        "public.t", Op.CREATE, {"id": 1}, {"id": 1, "n": "1.50"}, txid=787, at_ms=1700000000000
    )


def test_a_delete_brings_only_its_key_and_the_other_half_of_a_changed_key():
    change = parse('{"id":2}', event("d", before={"id": 2, "n": None}), other_key={"id": 3})
    assert change == Change("public.t", Op.DELETE, {"id": 2}, None, 787, 1700000000000, other_key={"id": 3})


def test_a_truncate_has_no_key():
    assert parse(None, event("t")) == Change("public.t", Op.TRUNCATE, {}, None, 787, 1700000000000)


def test_a_table_of_a_database_without_schemas_is_named_by_its_database():
    source = {"db": "shop", "table": "orders", "ts_ms": 1, "txId": "0a.1f"}
    change = parse('{"id":1}', event("c", after={"id": 1}, source=source))
    assert isinstance(change, Change)
    assert (change.table, change.txid) == ("shop.orders", None)


def test_only_markers_of_ours_are_read():
    ours = {"op": "m", "source": SOURCE, "message": {"prefix": "retail_sync_marker", "content": "72756e31"}}
    assert parse('{"prefix":"retail_sync_marker"}', json.dumps(ours)) == Marker("run1", 787, 1700000000000)
    ours["message"] = {"prefix": "of others", "content": "72756e31"}
    assert parse('{"prefix":"of others"}', json.dumps(ours)) is None


@pytest.mark.parametrize("value", [None, '{"ts_ms":1}', '{"source":{},"ddl":"CREATE"}', '{"op":"x"}', "null"])
def test_what_is_no_change_is_nothing(value: str | None):
    assert parse('{"id":1}', value) is None


@pytest.mark.parametrize(
    "sent",
    [
        UNAVAILABLE,
        [UNAVAILABLE],
        list(b"__debezium_unavailable_value"),
        ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"],
    ],
)
def test_every_form_of_the_placeholder_is_known(sent: object):
    change = parse('{"id":1}', event("u", after={"id": 1, "big": sent, "small": [95, 95]}))
    assert isinstance(change, Change)
    assert change.values == {"id": 1, "big": UNAVAILABLE, "small": [95, 95]}


#: What Debezium 3.6.3 sends of a value that PostgreSQL writes as the third.
ARRIVALS = [
    ("boolean", True, "true"),
    ("bigint", -9223372036854775808, "-9223372036854775808"),
    ("double precision", 1e308, "1e+308"),
    ("real", "-Infinity", "-Infinity"),
    ("numeric", "NAN", "NaN"),
    ("numeric", "NEGATIVE_INFINITY", "-Infinity"),
    ("numeric(12,4)", "12345678.1234", "12345678.1234"),
    ("date", "2024-02-29Z", "2024-02-29"),
    ("date", "0000-01-01Z", "0001-01-01 BC"),
    ("date", "-0043-03-15Z", "0044-03-15 BC"),
    ("date", "+5874897-12-31Z", "5874897-12-31"),
    ("date", "-5877611-06-21Z", "infinity"),
    ("date", "-5877611-06-22Z", "-infinity"),
    ("timestamp without time zone", "2024-01-01T10:11:12.123456Z", "2024-01-01T10:11:12.123456"),
    ("timestamp(3) without time zone", "+294247-01-10T04:00:25.2Z", "infinity"),
    ("timestamp without time zone", "-290308-12-21T19:59:27.6Z", "-infinity"),
    ("timestamp without time zone", "+10000-01-01T00:00:00Z", "10000-01-01T00:00:00"),
    ("timestamp with time zone", "-0043-03-15T10:00:00.000000Z", "0044-03-15T10:00:00.000000Z BC"),
    ("timestamp with time zone", "infinity", "infinity"),
    ("time(3) without time zone", "10:11:12.123Z", "10:11:12.123"),
    ("bytea", "00ff", "\\x00ff"),
    ("bytea", "", "\\x"),
    ("jsonb", '{"a": 1.10}', '{"a": 1.10}'),
    ("integer", True, "1"),
    ("text", None, None),
    ("integer[]", [1, None, 3], '{"1",NULL,"3"}'),
    ("text[]", ["a,b", 'c"\\', "NULL", ""], '{"a,b","c\\"\\\\","NULL",""}'),
    ("boolean[]", [True, None], '{"true",NULL}'),
    ("date[]", ["2024-01-01Z"], '{"2024-01-01"}'),
]


@pytest.mark.parametrize(("type_text", "sent", "expected"), ARRIVALS)
def test_a_value_becomes_what_its_type_reads(type_text: str, sent: object, expected: str | None):
    assert text(sent, type_text) == expected


@pytest.mark.parametrize(
    ("type_text", "sent", "is_doubtful"),
    [
        ("time without time zone", "00:00:00Z", True),
        ("time without time zone", "00:00:00.5Z", False),
        ("interval", "P0Y0M0DT0H0M0S", True),
        ("boolean[]", None, True),
        ("text[]", None, False),
        ("integer[]", [None, None], True),
        ("integer[]", [1, None], False),
        ("uuid[]", ["[Ljava.util.UUID;@6d87d3e1"], True),
        ("date[]", ["0044-03-15Z"], True),
        ("timestamp with time zone[]", ["+292269055-12-02T23:00:00.000000Z"], True),
        ("date[]", [], False),
    ],
)
def test_values_that_may_be_another_one_at_the_source_are_doubted(type_text: str, sent: object, is_doubtful: bool):
    tells = doubt(type_text)
    assert tells is not None
    assert tells(sent) is is_doubtful


def test_types_are_told_from_their_lengths():
    assert split("numeric(10,-2)[]") == ("numeric[]", (10, -2))
    assert split("timestamp(3) without time zone") == ("timestamp without time zone", (3,))
    assert is_supported("character varying(20)[]")
    refused = ("time with time zone", "bit(3)", "point", "money", "xml", "public.mood[]", "interval[]", "bytea[]")
    assert not any(map(is_supported, refused))
