"""Which differences of two sets of columns are followed, warned about, refused."""

from __future__ import annotations

import pytest

from include import catalog
from include.catalog import SqlType
from include.engines.mssql import types as mssql_types
from include.engines.postgres import types as postgres_types
from include.replication.drift import drift_between, holds

P = SqlType.parse


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("varchar(20)", "varchar(10)"),
        ("varchar(max)", "varchar(8000)"),
        ("varchar(5)", "char(5)"),
        ("text", "varchar(max)"),
        ("nvarchar(10)", "varchar(10)"),
        ("bigint", "int"),
        ("int", "tinyint"),
        ("decimal(18,4)", "decimal(16,4)"),
        ("datetime2(7)", "datetime2(3)"),
        ("varbinary(max)", "binary(8)"),
    ],
)
def test_a_wider_type_holds_every_value_and_not_the_other_way_round(wide: str, narrow: str) -> None:
    assert holds(P(wide), P(narrow))
    assert not holds(P(narrow), P(wide)) or {wide, narrow} == {"text", "varchar(max)"}


@pytest.mark.parametrize(
    ("type_", "other"),
    [
        ("varchar(10)", "nvarchar(10)"),
        ("decimal(16,2)", "decimal(16,4)"),
        ("decimal(18,6)", "decimal(16,4)"),
        ("decimal(16,6)", "decimal(16,4)"),
        ("float", "decimal(16,4)"),
        ("date", "datetime"),
        ("datetime2(7)", "datetimeoffset(7)"),
        ("bigint", "varchar(20)"),
        ("xml", "nvarchar(max)"),
        ("char(10)", "char(5)"),
        ("char(5)", "varchar(5)"),
    ],
)
def test_another_type_holds_nothing(type_: str, other: str) -> None:
    assert not holds(P(type_), P(other))


def test_each_difference_is_told() -> None:
    expected = {"A": P("int"), "B": P("varchar(10)"), "C": P("date"), "D": P("int"), "E": P("bigint")}
    found = {"A": P("int"), "B": P("varchar(20)"), "D": P("varchar(9)"), "E": "geometry", "F": P("bit"), "G": "point"}
    drift = drift_between(expected, found)
    assert drift.missing == ["C"]
    assert drift.wider == ["B (varchar(20), varchar(10))"]
    assert drift.conflicts == ["D (varchar(9), int)", "E (geometry, bigint)"]
    assert (drift.added, drift.unknown) == ({"F": P("bit")}, {"G": "point"})


def test_a_column_may_have_any_form_of_its_type_and_the_first_is_shown() -> None:
    expected = {"A": P("char(5)"), "B": P("datetimeoffset(3)"), "C": P("char(5)"), "D": P("char(5)"), "E": P("int")}
    found = {"A": P("varchar(5)"), "B": P("datetimeoffset(3)"), "C": P("varchar(9)"), "D": P("varchar(3)")}
    drift = drift_between(expected, found, lambda type_: (type_, postgres_types.kept(type_)))
    assert (drift.wider, drift.conflicts) == (["C (varchar(9), char(5))"], ["D (varchar(3), char(5))"])
    only_kept = drift_between(expected, {**found, "A": P("char(5)")}, lambda type_: (postgres_types.kept(type_),))
    assert only_kept.conflicts == [
        "A (char(5), varchar(5))",
        "B (datetimeoffset(3), varchar(34))",
        "D (varchar(3), varchar(5))",
    ]


def test_a_database_made_from_the_catalog_does_not_drift() -> None:
    for table in catalog.load():
        for kept in (postgres_types.kept, mssql_types.kept):
            columns = {name: kept(type_) for name, type_ in table.columns.items()}
            assert drift_between(columns, columns) == drift_between({}, {})


@pytest.mark.parametrize(
    ("declared", "reported"),
    [
        ("tinyint", "smallint"),
        ("datetime", "datetime2(3)"),
        ("smalldatetime", "datetime2(0)"),
        ("time(7)", "time(6)"),
        ("money", "decimal(19,4)"),
        ("char(5)", "varchar(5)"),
        ("nvarchar(max)", "varchar(max)"),
        ("rowversion", "varbinary(max)"),
        ("datetimeoffset(3)", "varchar(34)"),
        ("uniqueidentifier", "uniqueidentifier"),
        ("float", "float"),
    ],
)
def test_postgres_reports_its_own_type_of_a_column(declared: str, reported: str) -> None:
    assert postgres_types.kept(P(declared)) == P(reported)
