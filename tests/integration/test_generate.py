"""The generated source has the properties that the replication has to cope with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from include.catalog import load
from include.demo.changes import Key, hard_delete, late_arrival, late_fix, move_date, void
from include.demo.generate import generate
from include.demo.postgres import EmbeddedPostgres
from include.demo.source_schema import create_source, source_name
from include.windows import Window

CATALOG = load()
SCALE, LAST_MONTH = 0.0004, date(2025, 10, 1)
MONTHS = (Window.of_month(date(2025, 9, 1)), Window.of_month(LAST_MONTH))
SALES, PAYMENTS = CATALOG["APP_4_SALES"], CATALOG["APP_4_PAYMENT"]
WEEK = Window(date(2025, 10, 6), date(2025, 10, 13))

Change = Callable[..., list[Key]]


def fill(dsn: str, **different: Any) -> dict[str, int]:
    return generate(dsn, CATALOG, **{"scale": SCALE, "months": len(MONTHS), "last_month": LAST_MONTH, **different})


@pytest.fixture(scope="module")
def filled(server: EmbeddedPostgres) -> tuple[str, dict[str, int]]:
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS generated WITH (FORCE)")
        connection.execute("CREATE DATABASE generated")
    return server.dsn("generated"), fill(server.dsn("generated"))


@pytest.fixture
def source(filled: tuple[str, dict[str, int]]) -> Iterator[Connection[Any]]:
    """A connection whose changes are undone after the test; tables are found without their schema."""
    with psycopg.connect(filled[0]) as connection:
        connection.execute(SQL("SET search_path = {}").format(Identifier(SALES.source_schema)))
        yield connection
        connection.rollback()


def one(connection: Connection[Any], query: str, *values: Any) -> Any:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row[0]


def contents(dsn: str) -> dict[str, tuple[int, int]]:
    """Return count and a sum of row hashes, which does not depend on the order, of every table."""
    query = SQL("SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {} t")
    with psycopg.connect(dsn) as connection:
        return {
            table.name: connection.execute(query.format(source_name(table))).fetchone()  # type: ignore[misc]
            for table in CATALOG
            if table.columns
        }


def test_every_table_with_columns_is_there(filled: tuple[str, dict[str, int]]) -> None:
    dsn, counts = filled
    assert {name: count for name, (count, _) in contents(dsn).items()} == counts
    assert {"APP_4_STAFF", "APP_4_TERMINAL"}.isdisjoint(counts)
    assert {name for name, count in counts.items() if not count and CATALOG[name].strategy == "window"} == {
        "APP_4_SALESDEBITNOTE",
        "APP_4_SALESDEBITNOTEITEM",
    }


def test_same_arguments_give_the_same_bytes(filled: tuple[str, dict[str, int]]) -> None:
    dsn, _ = filled
    before = contents(dsn)
    fill(dsn)
    assert contents(dsn) == before
    fill(dsn, tables=["APP_4_SALESITEM"])
    assert contents(dsn) == before


def test_another_seed_gives_other_rows(filled: tuple[str, dict[str, int]]) -> None:
    dsn, _ = filled
    before = contents(dsn)
    fill(dsn, tables=["APP_4_PAYMENT"], seed=7)
    after = contents(dsn)
    assert after.pop("APP_4_PAYMENT") != before.pop("APP_4_PAYMENT")
    assert after == before
    fill(dsn, tables=["APP_4_PAYMENT"])


def test_items_and_payments_belong_to_sales(source: Connection[Any]) -> None:
    sales, items, payments = (
        one(source, f'SELECT count(*) FROM "{name}"') for name in ("APP_4_SALES", "APP_4_SALESITEM", "APP_4_PAYMENT")
    )
    assert 5.0 < items / sales < 5.4
    assert 0.98 < payments / sales < 1.02
    for child, reference, day in (
        ("APP_4_SALESITEM", "SALES_NO", "DATETIME__SALES_DATE"),
        ("APP_4_PAYMENT", "INVOICE_ID", "DATETIME__DATE"),
    ):
        agreeing = f"""
            SELECT count(*) FROM "{child}" c JOIN "APP_4_SALES" s ON s."SALES_NO" = c."{reference}"
            AND s."DATETIME__SALES_DATE" IS NOT DISTINCT FROM c."{day}" """
        assert one(source, agreeing) == one(source, f'SELECT count(*) FROM "{child}"')


def test_a_sale_costs_what_its_items_cost(source: Connection[Any]) -> None:
    wrong = """
        SELECT count(*) FROM "APP_4_SALES" s JOIN (
            SELECT "SALES_NO", sum("DOUBLE_SUB_TOTAL") AS total FROM "APP_4_SALESITEM" GROUP BY 1
        ) i USING ("SALES_NO") WHERE s."DOUBLE_TOTAL_AMOUNT" IS DISTINCT FROM i.total"""
    assert one(source, wrong) == 0


def test_the_ends_of_every_month_have_sales(source: Connection[Any]) -> None:
    days = 'SELECT DISTINCT "DATETIME__SALES_DATE" FROM "APP_4_SALES" WHERE "DATETIME__SALES_DATE" IS NOT NULL'
    found = {day for (day,) in source.execute(days)}
    assert {day for month in MONTHS for day in (month.start, month.last_day)} <= found
    assert min(found) == MONTHS[0].start
    assert max(found) == MONTHS[-1].last_day


def test_weekends_sell_more(source: Connection[Any]) -> None:
    per_day = """
        SELECT count(*) / count(DISTINCT "DATETIME__SALES_DATE")::float FROM "APP_4_SALES"
        WHERE (extract(isodow FROM "DATETIME__SALES_DATE") >= 6) = %s"""
    assert one(source, per_day, True) > 1.2 * one(source, per_day, False)


def test_keys_grow_with_time_but_for_a_few(source: Connection[Any]) -> None:
    backwards = """
        SELECT avg((day < before)::int)::float FROM (
            SELECT "DATETIME__DATE" AS day, lag("DATETIME__DATE") OVER (ORDER BY "ID") AS before FROM "APP_4_PAYMENT"
        ) p"""
    assert 0 < one(source, backwards) < 0.02


@pytest.mark.parametrize(
    "table",
    ["APP_4_SALES", "APP_4_SALESITEM", "APP_4_PAYMENT", "APP_4_VOIDSALESITEM", "APP_4_VOUCHER"],
)
def test_some_rows_have_no_date(source: Connection[Any], table: str) -> None:
    assert 3 <= one(source, f'SELECT count(*) FROM "{table}" WHERE "{CATALOG[table].date}" IS NULL') < 50


@pytest.mark.parametrize("table", ["APP_4_SALESQUANTITIES", "APP_4_ORDERITEM"])
def test_some_text_dates_cannot_be_read(source: Connection[Any], table: str) -> None:
    column = CATALOG[table].date
    found = {text for (text,) in source.execute(f'SELECT "{column}" FROM "{table}"')}
    assert {None, "", "31/02/2025", "n/a"} <= found
    assert {day.strftime("%d/%m/%Y") for day in (MONTHS[0].start, MONTHS[-1].last_day)} & found


def test_extremes_are_there(source: Connection[Any]) -> None:
    def ends(column: str) -> tuple[Any, ...]:
        row = source.execute(f'SELECT min("{column}")::text, max("{column}")::text FROM "APP_4_SALES"').fetchone()
        assert row is not None
        return row[0], row[1]

    assert ends("DOUBLE_COST") == ("-999999999999.9999", "999999999999.9999")
    assert ends("BOOL_IS_WEBSALES") == ("0", "255")
    assert ends("INT_PRINTBILLCOUNT") == (str(-(2**31)), str(2**31 - 1))
    assert ends("ORDERID") == (str(-(2**63)), str(2**63 - 1))
    assert ends("DATETIME__SHIPMENT_DATE") == ("0001-01-01", "9999-12-31")
    assert ends("TERMS_START_DATE") == ("1753-01-01 00:00:00", "9999-12-31 23:59:59.997")
    assert one(source, 'SELECT count(*) FROM "APP_4_SALES" WHERE "DOUBLE_COST" = 0.0001') > 0


def test_texts_are_awkward(source: Connection[Any]) -> None:
    column = '"SALE_REMARK"'
    for condition in (
        f"{column} IS NULL",
        f"{column} = ''",
        f"{column} LIKE '%%  '",
        f"{column} ~ '[\\u4e00-\\u9fff]'",
        f"{column} LIKE '%%Żółć%%'",
        f"{column} ~ '[\\U0001F600-\\U0001F64F]'",
        f"{column} ~ '\\n'",
    ):
        assert one(source, f'SELECT count(*) FROM "APP_4_SALES" WHERE {condition}') > 0, condition


def test_dates_and_times_as_text_agree_with_the_dates(source: Connection[Any]) -> None:
    agreeing = """
        SELECT count(*) FROM "APP_4_SALES" WHERE "NOW_TIME" = "TIME__NOW_TIME" AND "NOW_TIME" ~ '^\\d\\d:\\d\\d:\\d\\d$'
        AND to_char("DATETIME__SALES_DATE", 'DD/MM/YYYY') = "SALES_DATE" AND "SALES_DATE" = "BUSINESS_DATE" """
    assert one(source, agreeing) == one(
        source, 'SELECT count(*) FROM "APP_4_SALES" WHERE "DATETIME__SALES_DATE" IS NOT NULL'
    )


def test_creating_again_keeps_the_rows_and_drop_removes_them(source: Connection[Any]) -> None:
    rows = one(source, 'SELECT count(*) FROM "APP_4_SALES"')
    create_source(source, CATALOG)
    assert one(source, 'SELECT count(*) FROM "APP_4_SALES"') == rows > 0
    create_source(source, CATALOG, drop=True)
    assert one(source, 'SELECT count(*) FROM "APP_4_SALES"') == 0


def test_every_change_raises_the_rowversion_over_all_others(source: Connection[Any]) -> None:
    highest = one(source, 'SELECT max("UPDATE_TIMESTAMP") FROM "APP_4_SALESITEM"')
    for _ in range(2):
        changed = one(
            source,
            'UPDATE "APP_4_PAYMENT" SET "METHOD" = \'x\' WHERE "ID" = (SELECT min("ID") FROM "APP_4_PAYMENT") '
            'RETURNING "UPDATE_TIMESTAMP"',
        )
        assert len(changed) == 8
        assert changed > highest
        highest = changed
    inserted = one(source, 'INSERT INTO "APP_4_SALES" ("ID") VALUES (%s) RETURNING "UPDATE_TIMESTAMP"', 2**40)
    assert inserted > highest


def rows_by_key(connection: Connection[Any], table: str) -> dict[Any, dict[str, Any]]:
    query = f'SELECT "ID", to_jsonb(t) FROM "{table}" t'
    return dict(connection.execute(query).fetchall())


def differences(before: dict[Any, dict[str, Any]], after: dict[Any, dict[str, Any]]) -> dict[Any, set[str]]:
    """Return the names of the changed columns by key of the rows that are in both."""
    changed = {
        key: {name for name, value in row.items() if value != before[key][name]}
        for key, row in after.items()
        if key in before
    }
    return {key: names for key, names in changed.items() if names}


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        (late_fix, {"DOUBLE_TOTAL_AMOUNT", "BILL_REMARK"}),
        (void, {"WBDELETED", "SALES_STATUS"}),
        (move_date, {"DATETIME__SALES_DATE", "SALES_DATE"}),
    ],
)
def test_changes_touch_the_rows_they_return(source: Connection[Any], change: Change, columns: set[str]) -> None:
    before = rows_by_key(source, "APP_4_SALES")
    moved = {"to": date(2025, 9, 3)} if change is move_date else {}
    keys = change(source, SALES, WEEK, 6, 1, **moved)
    after = rows_by_key(source, "APP_4_SALES")
    changed = differences(before, after)
    assert len(keys) == 6
    assert set(changed) == {key for (key,) in keys}
    assert set.union(*changed.values()) == columns | {"UPDATE_TIMESTAMP"}
    for key in changed:
        assert str(WEEK.start) <= before[key]["DATETIME__SALES_DATE"] < str(WEEK.end)
    if change is void:
        assert {after[key]["WBDELETED"] for key in changed} == {1}
    if change is move_date:
        assert {after[key]["DATETIME__SALES_DATE"] for key in changed} == {"2025-09-03"}
        assert {after[key]["SALES_DATE"] for key in changed} == {"03/09/2025"}


def test_a_moved_datetime_keeps_its_time_of_day(source: Connection[Any]) -> None:
    before = rows_by_key(source, "APP_4_EPAYMENTLOG")
    ((key,),) = move_date(source, CATALOG["APP_4_EPAYMENTLOG"], MONTHS[1], 1, 1, to=date(2025, 9, 3))
    after = rows_by_key(source, "APP_4_EPAYMENTLOG")[key]["TRANSACTIONDATETIME"]
    assert after == "2025-09-03" + before[key]["TRANSACTIONDATETIME"][10:]


def test_a_hard_delete_leaves_nothing(source: Connection[Any]) -> None:
    before = rows_by_key(source, "APP_4_PAYMENT")
    keys = hard_delete(source, PAYMENTS, WEEK, 5, 1)
    after = rows_by_key(source, "APP_4_PAYMENT")
    assert len(keys) == 5
    assert before.keys() - after.keys() == {key for (key,) in keys}
    assert not differences(before, after)


def test_late_arrivals_are_new_rows_inside_the_window(source: Connection[Any]) -> None:
    before = rows_by_key(source, "APP_4_PAYMENT")
    keys = late_arrival(source, PAYMENTS, WEEK, 500, 1)
    after = rows_by_key(source, "APP_4_PAYMENT")
    assert after.keys() - before.keys() == {key for (key,) in keys}
    assert len(keys) == 500
    assert not differences(before, after)
    highest = max(row["UPDATE_TIMESTAMP"] for row in before.values())
    for (key,) in keys:
        assert str(WEEK.start) <= after[key]["DATETIME__DATE"] < str(WEEK.end)
        assert after[key]["UPDATE_TIMESTAMP"] > highest


def test_a_late_sale_has_a_number_of_its_own(source: Connection[Any]) -> None:
    ((key,),) = late_arrival(source, SALES, WEEK, 1, 1)
    assert one(source, 'SELECT "SALES_NO" FROM "APP_4_SALES" WHERE "ID" = %s', key) == str(key)


def test_a_seed_chooses_the_same_rows_again(source: Connection[Any]) -> None:
    chosen = []
    for seed in (1, 1, 2):
        with source.transaction(force_rollback=True):
            chosen.append(hard_delete(source, SALES, WEEK, 5, seed))
    assert chosen[0] == chosen[1] != chosen[2]


def test_windows_of_text_dates_and_whole_tables_can_be_changed(source: Connection[Any]) -> None:
    quantities = CATALOG["APP_4_SALESQUANTITIES"]
    ((key,),) = late_fix(source, quantities, MONTHS[0], 1, 1)
    day = one(source, 'SELECT "SALES_DATE" FROM "APP_4_SALESQUANTITIES" WHERE "ID" = %s', key)
    assert day.endswith("/09/2025")
    assert len(late_arrival(source, CATALOG["LOCATION_DETAIL"], None, 3, 1)) == 3
