from __future__ import annotations

from typing import Any

import pytest

from include.cdc.sources.mysql_types import doubtful, target_type
from include.cdc.values import text


@pytest.mark.parametrize(
    ("sent", "type_", "read"),
    [
        (-719162, "date", "0001-01-01"),
        ("-1", "date", "1969-12-31"),
        (253402300799999999, "timestamp(6) without time zone", "9999-12-31 23:59:59.999999"),
        ("-62135596800000000", "timestamp(0) without time zone", "0001-01-01 00:00:00"),
        (-3020399000000, "interval", "-3020399000000 microseconds"),
        ("P0Y0M0DT0H0M1S", "interval", "P0Y0M0DT0H0M1S"),
    ],
)
def test_days_and_microseconds_are_read(sent: Any, type_: str, read: str) -> None:
    assert text(sent, type_) == read


@pytest.mark.parametrize(
    ("column_type", "sent", "is_doubtful"),
    [
        ("date", 0, True),
        ("date", None, False),
        ("date", 11323, False),
        ("timestamp(3)", "1970-01-01T00:00:00.000Z", True),
        ("year", 1900, True),
        ("bit(8)", "gQ==", True),
        ("json", '{"test":[0.5,"two words",123456789012345]}', False),
        ("json", '{"a":["2020-01-02 03:04:05.678"]}', True),
        ("json", '{"a":1234567890123456}', True),
        ("json", '["AP8="]', True),
        ("json", None, False),
        ("enum('a,b')", "a\\,b", True),
        ("varchar(9)", "ascii", False),
        ("varchar(9)", "é", True),
    ],
)
def test_values_that_may_be_another_one_at_the_source_are_doubted(
    column_type: str, sent: Any, is_doubtful: bool
) -> None:
    tells = doubtful(column_type)
    assert tells is not None
    assert tells(sent) is is_doubtful


def test_what_follows_a_default_is_doubted_as_the_default() -> None:
    tells = doubtful("datetime(3)", default="2001-01-01 00:00:00.000")
    assert tells is not None
    assert tells(978307200000000)


def test_a_type_that_is_not_known_has_none_on_the_target() -> None:
    assert target_type("hologram", "hologram(3)") is None
