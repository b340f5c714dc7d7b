"""Where a stream ends in a log of places, and the watch over it: quick batches keep it alive, silence ends it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from include.cdc.changes import Change, Op
from include.cdc.embedded import placed
from include.cdc.embedded.placed import PlacedEnding
from include.cdc.sources.logged import Place
from include.cdc.sources.mssql import MssqlCdcSource
from include.cdc.sources.mysql import MysqlCdcSource
from include.connections import Connection, parse

RUN: Any = type("Run", (), {"name": "shop"})
LSN = "0000002b:000004f8:0004"


def test_a_stream_is_given_up_only_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed, "_SILENT_SECONDS", 1.5)
    source = MysqlCdcSource(parse("source", "mysql://u:p@127.0.0.1:1"))
    given_up: list[bool] = []
    stream = PlacedEnding(RUN, None, source=source)
    with stream.watched(1.0, lambda: given_up.append(True)):
        for _ in range(15):
            assert stream.cut([None], lambda _: {"file": "binlog.000001", "pos": 4}) == 1
            time.sleep(0.2)
        assert given_up == []
        time.sleep(2.7)
    assert given_up == [True]


class _Quiet(MssqlCdcSource):
    """A source that says where its log ends."""

    def end(self) -> Place:
        return (LSN, 1)


@pytest.mark.parametrize("minutes", [0.04, 5.0])
def test_a_log_without_heartbeats_in_which_nothing_happens_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, minutes: float
) -> None:
    monkeypatch.setattr(placed, "_SILENT_SECONDS", 0.5)
    source = _Quiet(Connection.of("shop", kind="mssql", database="shop"))
    offset = source.begin_of({"commit_lsn": LSN, "change_lsn": "NULL"})
    given_up: list[bool] = []
    stream = PlacedEnding(RUN, offset, source=source)
    with stream.watched(minutes, lambda: given_up.append(True)):
        time.sleep(4.0)
    # its time is over, or not yet
    assert given_up == ([True] if minutes < 1 else [])
    assert (stream.until is not None and stream.source.is_at(stream.until, offset)) is (minutes < 1)


@pytest.mark.parametrize("kind", ["mssql", "mysql"])
def test_heartbeats_that_stay_at_an_event_end_a_stream_of_sql_server_alone(kind: str) -> None:
    of_mssql = MssqlCdcSource(Connection.of("shop", kind="mssql", database="shop"))
    source = of_mssql if kind == "mssql" else MysqlCdcSource(parse("source", "mysql://u:p@127.0.0.1:1"))
    event = {"commit_lsn": LSN, "change_lsn": "0000002b:000004f8:0002", "event_serial_no": 1, "file": "a.1", "pos": 4}
    last = {**event, "event_serial_no": 2}
    change = Change("dbo.orders", Op.CREATE, {"id": 1}, {"id": 1})
    # the end is a later commit, of which nothing of ours tells
    stream = PlacedEnding(RUN, None, source=source, until=("0000002b:000004f8:0009", 1) if kind == "mssql" else (2, 4))
    batches = [([change, None, change, None], [event, event, last, last]), *[([None], [last])] * 3]
    ended = []
    for parsed, offsets in batches:
        assert stream.cut(parsed, offsets.__getitem__) == len(parsed)
        stream.settle(len(parsed), offsets.__getitem__)
        ended.append(stream.caught_up)
    assert ended == [False, False, False, kind == "mssql"]
    assert kind == "mysql" or of_mssql.place_of(stream.offset or {}) == (LSN, 1)
