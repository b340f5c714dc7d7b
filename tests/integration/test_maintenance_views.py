"""The typed views show what the replicas hold, and stay out of the way of a load."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.catalog import Table
from include.maintenance.request import Step
from tests.integration.conftest import OCTOBER, Stage
from tests.integration.helpers import CATALOG, SALES, load, load_all, one, replica_of
from tests.integration.test_maintenance import EODLOG, changed, insert, maintained, warehouse

__all__ = ["warehouse"]


def seen(connection: psycopg.Connection[Any], table: Table, column: str) -> list[Any]:
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.Identifier(column), sql.Identifier("dbo", table.view), sql.Identifier(table.key[0])
    )
    return [value for (value,) in connection.execute(query)]


def columns_of(connection: psycopg.Connection[Any], table: Table) -> list[str]:
    return [column.name for column in connection.execute(f'SELECT * FROM dbo."{table.view}" LIMIT 0').description or []]


DATES = {
    "01/10/2025": date(2025, 10, 1),
    "29/02/2024": date(2024, 2, 29),
    "01/10/2025 10:00": date(2025, 10, 1),
    "31/12/9999": date(9999, 12, 31),
    "31/02/2025": None,
    "29/02/2025": None,
    "29/02/1900": None,
    "31/04/2025": None,
    "00/01/2025": None,
    "01/13/2025": None,
    "01/01/0000": None,
    "1/10/2025": None,
    "01/10/20251": None,
    " 01/10/2025": None,
    "2025-10-01": None,
    "soon": None,
    "": None,
    None: None,
}


TIMES = {
    "00:00:00": time(0, 0, 0),
    "23:59:59": time(23, 59, 59),
    "24:00:00": None,
    "12:60:00": None,
    "12:00:60": None,
    "12:00": None,
    "12:00:00 ": None,
    "12:00:00\n": None,
    "12:00:00.5": None,
    "": None,
    None: None,
}


MOMENTS = {
    "29/02/2024 23:59:59": datetime(2024, 2, 29, 23, 59, 59),
    "31/02/2025 10:00:00": None,
    "01/10/2025 24:00:00": None,
    "01/10/2025": None,
    "01/10/2025 10:00:00 pm": None,
    "01/10/2025T10:00:00": None,
    "": None,
    None: None,
}


@pytest.mark.parametrize(
    ("column", "values"),
    [("BUSINESS_DATE", DATES), ("OPENINGTIME", TIMES), ("OPENINGDATETIME", MOMENTS)],
)
def test_a_text_of_the_form_is_typed_and_any_other_is_null(
    stage: Stage, warehouse: Any, column: str, values: dict[str | None, Any]
) -> None:
    maintained(stage, EODLOG, steps=[Step.UPKEEP])
    insert(warehouse, EODLOG, *({"ID": number, column: text} for number, text in enumerate(values)))

    assert seen(warehouse, EODLOG, column) == list(values)
    assert seen(warehouse, EODLOG, f"{column}_TYPED") == list(values.values())


def test_a_deleted_row_is_marked(stage: Stage, warehouse: Any) -> None:
    maintained(stage, EODLOG, steps=[Step.UPKEEP])
    insert(warehouse, EODLOG, *({"ID": number, "WBDELETED": mark} for number, mark in enumerate((1, 0, None))))

    assert seen(warehouse, EODLOG, "IS_DELETED") == [True, False, False]


def test_every_view_of_the_catalog_shows_all_columns_and_is_left_alone_once_right(stage: Stage, warehouse: Any) -> None:
    typed = [table for table in CATALOG if table.typed]
    first = maintained(stage, *typed, steps=[Step.UPKEEP])
    second = maintained(stage, *typed, steps=[Step.UPKEEP])

    assert first.problems == second.problems == []
    assert first.views == [table.name for table in typed]
    assert second.views == []
    for table in typed:
        names = [*table.columns, *(f"{name}_TYPED" for name in table.typed), "IS_DELETED"]
        assert columns_of(warehouse, table) == names


def test_a_new_column_comes_behind_the_others(stage: Stage, warehouse: Any) -> None:
    maintained(stage, EODLOG, steps=[Step.UPKEEP])
    before = columns_of(warehouse, EODLOG)
    warehouse.execute('CREATE VIEW dbo.of_a_report AS SELECT * FROM dbo."vw_APP_4_EODLOG"')
    warehouse.execute(sql.SQL("ALTER TABLE {} ADD COLUMN a_new_one text").format(replica_of(EODLOG)))

    assert columns_of(warehouse, EODLOG) == before
    assert maintained(stage, EODLOG, steps=[Step.UPKEEP]).views == [EODLOG.name]
    assert columns_of(warehouse, EODLOG) == [*before, "a_new_one"]
    assert maintained(stage, EODLOG, steps=[Step.UPKEEP]).views == []


def test_a_view_that_loses_or_changes_a_column_is_made_anew_and_keeps_its_rights(stage: Stage, warehouse: Any) -> None:
    maintained(stage, EODLOG, steps=[Step.UPKEEP])
    warehouse.execute('CREATE ROLE "a reporter"')
    try:
        warehouse.execute('GRANT SELECT ON dbo."vw_APP_4_EODLOG" TO "a reporter"')
        other = {name: form for name, form in EODLOG.typed.items() if name != "OPENINGTIME"}
        other["OPENINGDATETIME"] = "dd/mm/yyyy"
        fewer = changed(EODLOG, typed=other)

        assert maintained(stage, fewer, steps=[Step.UPKEEP]).views == [EODLOG.name]
        assert "OPENINGTIME_TYPED" not in columns_of(warehouse, EODLOG)
        assert one(warehouse, """SELECT has_table_privilege('a reporter', 'dbo."vw_APP_4_EODLOG"', 'SELECT')""")
        assert maintained(stage, fewer, steps=[Step.UPKEEP]).views == []
    finally:
        warehouse.execute('DROP OWNED BY "a reporter"; DROP ROLE "a reporter"')


def test_a_view_does_not_hinder_a_month(stage: Stage, warehouse: Any) -> None:
    load_all(stage.run(), SALES)
    maintained(stage, SALES, steps=[Step.UPKEEP])

    load(stage.run("again", force=True), SALES, OCTOBER)

    assert seen(warehouse, SALES, "SALES_DATE_TYPED")
