"""The watch over a log that has heartbeats: quick batches keep a stream alive, silence ends it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from include.cdc.embedded import ending
from include.cdc.embedded.ending import PlacedEnding
from include.cdc.sources.mysql import MysqlCdcSource
from include.connections import parse


def test_a_stream_is_given_up_only_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_SILENT_SECONDS", 1.5)
    run: Any = type("Run", (), {"name": "shop"})
    source = MysqlCdcSource(parse("source", "mysql://u:p@127.0.0.1:1"))
    given_up: list[bool] = []
    stream = PlacedEnding(run, None, source=source)
    with stream.watched(1.0, lambda: given_up.append(True)):
        for _ in range(15):
            assert stream.cut([None], lambda _: {"file": "binlog.000001", "pos": 4}) == 1
            time.sleep(0.2)
        assert given_up == []
        time.sleep(2.7)
    assert given_up == [True]
