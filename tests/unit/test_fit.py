"""A value that its column cannot hold is refused by table, column and key, before it is sent."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from include.engines.arrow import arrow_schema
from include.engines.fit import fitting
from include.errors import ValueDoesNotFit
from include.windows import UNDATED
from tests.unit.tables import make_table

FITS = {
    "varchar(3)": ["", "abc", "żół", None],
    "nvarchar(2)": ["😀", "漢字", None],
    "varchar(max)": ["x" * 10_000],
    "datetime": [datetime(1753, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 997000), None],
    "smalldatetime": [datetime(1900, 1, 1), datetime(2079, 6, 6, 23, 59)],
    "datetime2(3)": [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999000)],
    "date": [date.min, date.max],
    "money": [Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")],
    "smallmoney": [Decimal("-214748.3648"), None],
}
MISFITS = {
    "varchar(3)": "żółć",
    "nvarchar(2)": "😀漢",
    "datetime": datetime(1752, 12, 31, 23, 59),
    "smalldatetime": datetime(2079, 6, 7),
    "money": Decimal("922337203685477.5808"),
    "smallmoney": Decimal("-214748.3649"),
}


def batch(type_: str, values: list[Any], **fields: Any) -> tuple[Any, pa.RecordBatch]:
    table = make_table({"ID": "bigint", "DAY": "date", "C": type_}, **fields)
    rows = [{"ID": 100 + place, "DAY": None, "C": value} for place, value in enumerate(values)]
    return table, pa.RecordBatch.from_pylist(rows, schema=arrow_schema(table))


@pytest.mark.parametrize("type_", FITS)
def test_what_fits_passes(type_: str) -> None:
    table, rows = batch(type_, FITS[type_])
    assert list(fitting(iter([rows, rows]), table, UNDATED, sql_server=True)) == [rows, rows]


@pytest.mark.parametrize("type_", MISFITS)
def test_what_does_not_is_named_without_its_value(type_: str) -> None:
    table, rows = batch(type_, [*FITS[type_], MISFITS[type_], None])
    with pytest.raises(ValueDoesNotFit) as told:
        list(fitting(iter([rows]), table, UNDATED, sql_server=True))
    key = 100 + len(FITS[type_])
    assert str(told.value).startswith(f"SALES undated: column C of the row with ID {key}: the value is no {type_} (")
    assert str(MISFITS[type_]) not in str(told.value)


def test_a_row_without_a_key_is_named_by_its_place() -> None:
    table, rows = batch("varchar(1)", ["a", "bb"], key=[])
    with pytest.raises(ValueDoesNotFit, match="the row with number 1 of its batch, the table has no key"):
        list(fitting(iter([rows]), table, UNDATED, sql_server=True))


def test_an_empty_batch_and_one_of_nulls_pass() -> None:
    for values in ([], [None, None]):
        for type_ in MISFITS:
            table, rows = batch(type_, values)
            assert list(fitting(iter([rows]), table, UNDATED, sql_server=True)) == [rows]


def test_postgres_counts_characters_and_has_wider_times() -> None:
    for type_, values in {
        "nvarchar(2)": ["😀漢"],
        "datetime": [datetime(1, 1, 1)],
        "money": [Decimal("9" * 15)],
    }.items():
        table, rows = batch(type_, values)
        assert list(fitting(iter([rows]), table, UNDATED, sql_server=False)) == [rows]
    table, rows = batch("nvarchar(2)", ["😀漢", "abc"])
    with pytest.raises(ValueDoesNotFit, match="column C of the row with ID 101: the value is no nvarchar"):
        list(fitting(iter([rows]), table, UNDATED, sql_server=False))
