"""The statements for PostgreSQL, as they are rendered."""

from __future__ import annotations

import re
from datetime import date

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql as pgsql

from include import catalog
from include.catalog import Table
from include.engines.base import Level
from include.engines.factory import replica_ddl
from include.engines.postgres import ddl, sql
from include.engines.staging import staging_name, staging_span
from include.settings import Settings
from include.windows import UNDATED, Span, Window
from tests.unit.tables import make_table

OCTOBER = Window.of_month(date(2025, 10, 1))
TABLES = [table for table in catalog.load() if table.columns]
WINDOW_TABLES = [table for table in TABLES if table.date]
TEXT_DATED = make_table({"ID": "bigint", "DAY": "varchar(255)"}, date_format="dd/mm/yyyy")
EVIL = make_table(
    {'a"; DROP TABLE x; --': "bigint", "order by]": "date", "Größe %s {}": "decimal(16,4)", "SELECT": "varchar(max)"},
    name='ta"ble]',
    source_schema="po s",
    target_schema='d"bo',
    target_table="üser",
    date="order by]",
    key=['a"; DROP TABLE x; --', "SELECT"],
)

spans = st.one_of(
    st.just(UNDATED),
    st.tuples(st.dates(), st.dates())
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: Window(min(pair), max(pair))),
)


def text(statement: pgsql.Composable) -> str:
    return statement.as_string()


def texts(statements: list[sql.Query]) -> list[str]:
    return [text(statement) for statement in statements]


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("plain", '"plain"'),
        ("Mixed Case", '"Mixed Case"'),
        ('dou"ble', '"dou""ble"'),
        ('";--', '""";--"'),
        ("br]ack[et", '"br]ack[et"'),
        ("Größe", '"Größe"'),
        ("select", '"select"'),
        ("100%", '"100%"'),
        ("{0}", '"{0}"'),
    ],
)
def test_names_are_quoted(name: str, quoted: str) -> None:
    table = make_table({name: "bigint", "DAY": "date"}, name=name, source_schema=name, target_schema=name, key=[name])
    assert text(sql.names([name, "DAY"])) == f'{quoted}, "DAY"'
    assert text(sql.names([name], "old")) == f"old.{quoted}"
    assert text(sql.source_name(table)) == f"{quoted}.{quoted}"
    assert text(sql.target_name(table)) == f'{quoted}."copy_SALES"'
    assert f"{quoted} bigint" in text(ddl.create_replica(table)[0])


def test_a_window_is_half_open_and_its_dates_are_literals() -> None:
    assert text(sql.in_span(make_table(), OCTOBER)) == (
        "\"DAY\" >= '2025-10-01'::date AND \"DAY\" < '2025-11-01'::date"
    )


def test_early_years_are_written_with_four_digits() -> None:
    assert "'0001-01-01'::date" in text(sql.in_span(make_table(), Window.of_month(date(1, 1, 1))))


def test_rows_without_a_date_are_asked_for_by_null() -> None:
    assert text(sql.in_span(make_table(), UNDATED)) == '"DAY" IS NULL'


def test_the_column_itself_is_compared_so_that_its_index_serves() -> None:
    table = make_table({"ID": "bigint", "DAY": "datetime"})
    assert text(sql.in_span(table, OCTOBER)).startswith('"DAY" >= ')
    assert text(sql.business_date(table)) == '"DAY"::date'


def test_a_text_date_is_compared_as_a_date() -> None:
    day = text(sql.business_date(TEXT_DATED))
    assert day.startswith("CASE WHEN \"DAY\" ~ '^[0-9]{2}/[0-9]{2}/[0-9]{4}($|[^0-9])' AND ")
    assert day.endswith(
        'THEN make_date(substr("DAY", 7, 4)::int, substr("DAY", 4, 2)::int, substr("DAY", 1, 2)::int) END'
    )
    assert text(sql.in_span(TEXT_DATED, OCTOBER)) == f"{day} >= '2025-10-01'::date AND {day} < '2025-11-01'::date"
    assert text(sql.in_span(TEXT_DATED, UNDATED)) == f"{day} IS NULL"


def test_a_text_date_does_not_depend_on_the_session() -> None:
    day = text(sql.business_date(TEXT_DATED))
    assert "to_date" not in day
    assert re.findall(r"::(\w+)", day) == ["int"] * day.count("::")


def test_rows_are_read_in_the_columns_of_the_catalog() -> None:
    table = make_table()
    assert text(sql.select(table, sql.source_name(table), OCTOBER)) == (
        'SELECT "ID", "DAY", "AMOUNT" FROM "pos"."SALES" WHERE ' + text(sql.in_span(table, OCTOBER))
    )


def test_arrow_gets_decimals_as_text_and_nothing_else() -> None:
    table = make_table(
        {"ID": "int", "DAY": "date", "A": "decimal(16,4)", "B": "money", "C": "smallmoney", "D": "float"}
    )
    selected = text(sql.select_for_arrow(table, sql.source_name(table), OCTOBER))
    assert selected.startswith('SELECT "ID", "DAY", "A"::text, "B"::text, "C"::text, "D" FROM "pos"."SALES" WHERE ')


@pytest.mark.parametrize("level", list(Level))
def test_a_digest_is_by_business_day(level: Level) -> None:
    table = make_table()
    digest = text(sql.digest(table, sql.target_name(table), OCTOBER, level))
    assert digest.startswith('SELECT "DAY"::date AS day, count(*), ')
    assert digest.endswith(f' FROM "dbo"."copy_SALES" WHERE {text(sql.in_span(table, OCTOBER))} GROUP BY 1')


def test_a_checksum_is_over_all_columns_in_any_order_of_rows() -> None:
    table = make_table()
    assert (
        'sum(coalesce("hashint8extended"("ID", 0), 0) # coalesce("hash_numeric_extended"("AMOUNT", 2), 2)'
        ' # hash_record_extended(ROW("DAY"), 0))'
    ) in text(sql.digest(table, sql.target_name(table), OCTOBER, Level.CHECKSUM))


def test_versions_are_summed_where_there_are_some() -> None:
    with_version = make_table({"ID": "int", "DAY": "date", "VERSION": "rowversion"}, rowversion="VERSION")
    summed = [
        text(sql.digest(table, sql.target_name(table), OCTOBER, Level.VERSIONS))
        for table in (with_version, make_table())
    ]
    assert "sum(('x' || encode(\"VERSION\", 'hex'))::bit(64)::bigint)" in summed[0]
    assert "count(*), 0 FROM" in summed[1]


@pytest.mark.parametrize("table", [*WINDOW_TABLES, EVIL, TEXT_DATED], ids=lambda table: table.name)
def test_every_query_is_one_statement(table: Table) -> None:
    """DuckDB's parser of queries is that of PostgreSQL, but for its sign for XOR."""
    relation = sql.source_name(table)
    for span in (OCTOBER, UNDATED):
        queries = [
            sql.select(table, relation, span),
            sql.select_for_arrow(table, relation, span),
            *(sql.digest(table, relation, span, level) for level in Level),
        ]
        assert [len(duckdb.extract_statements(text(query).replace(" # ", " + "))) for query in queries] == [1] * len(
            queries
        )


def test_the_replica_of_a_window_table_is_partitioned_by_its_date() -> None:
    assert texts(ddl.create_replica(make_table())) == [
        (
            'CREATE TABLE IF NOT EXISTS "dbo"."copy_SALES" (\n'
            '    "ID" bigint,\n    "DAY" date,\n    "AMOUNT" numeric(16,4)\n) PARTITION BY RANGE ("DAY")'
        ),
        'CREATE TABLE IF NOT EXISTS "dbo"."copy_SALES_undated" PARTITION OF "dbo"."copy_SALES" DEFAULT',
        'CREATE UNIQUE INDEX IF NOT EXISTS "copy_SALES_undated_key" ON "dbo"."copy_SALES_undated" ("ID")',
    ]


def test_the_replica_of_a_text_dated_table_is_a_plain_table() -> None:
    create, key = texts(ddl.create_replica(TEXT_DATED))
    assert not ddl.is_partitioned(TEXT_DATED)
    assert create.endswith("\n)")
    assert key == 'CREATE UNIQUE INDEX IF NOT EXISTS "copy_SALES_key" ON "dbo"."copy_SALES" ("ID")'


@pytest.mark.parametrize(("key", "by"), [(["ID"], "ID"), (["DAY", "ID"], "DAY"), ([], "ID")])
def test_the_replica_of_a_refreshed_table_has_a_single_partition(key: list[str], by: str) -> None:
    table = make_table(strategy="refresh", date=None, key=key)
    wrap, create, partition, *index = texts(ddl.create_replica(table))
    assert not ddl.is_partitioned(table)
    assert wrap.startswith("DO $$ BEGIN IF (SELECT relkind ")
    assert create.endswith(f'\n) PARTITION BY RANGE ("{by}")')
    assert partition == 'CREATE TABLE IF NOT EXISTS "dbo"."copy_SALES_rows" PARTITION OF "dbo"."copy_SALES" DEFAULT'
    columns = ", ".join(f'"{name}"' for name in key)
    expected = f'CREATE UNIQUE INDEX IF NOT EXISTS "copy_SALES_rows_key" ON "dbo"."copy_SALES_rows" ({columns})'
    assert index == ([expected] if key else [])


def test_a_table_without_key_has_no_index() -> None:
    table = make_table(key=[])
    statements = [*ddl.create_replica(table), *ddl.create_month(table, OCTOBER), *ddl.staging_key(table, OCTOBER)]
    assert [statement for statement in texts(statements) if "INDEX" in statement] == []


def test_a_key_of_several_columns_is_one_index() -> None:
    table = make_table(key=["ID", "DAY"])
    assert texts(ddl.staging_key(table, OCTOBER)) == [
        'CREATE UNIQUE INDEX ON "staging"."copy_SALES__20251001_20251101" ("ID", "DAY")'
    ]


def test_staging_takes_the_place_of_an_older_one_and_holds_only_the_span() -> None:
    staging = '"staging"."copy_SALES__20251001_20251101"'
    drop, create, check = texts(ddl.create_staging(make_table(), OCTOBER))
    assert drop == f"DROP TABLE IF EXISTS {staging}"
    assert create.startswith(f'CREATE TABLE {staging} (LIKE "dbo"."copy_SALES"')
    assert check == (
        f'ALTER TABLE {staging} ADD CONSTRAINT "span"'
        ' CHECK ("DAY" IS NOT NULL AND "DAY" >= \'2025-10-01\' AND "DAY" < \'2025-11-01\')'
    )


@pytest.mark.parametrize(("table", "span"), [(make_table(), UNDATED), (TEXT_DATED, OCTOBER)], ids=str)
def test_staging_that_is_never_attached_needs_no_check(table: Table, span: Span) -> None:
    assert [statement for statement in texts(ddl.create_staging(table, span)) if "CHECK" in statement] == []


def test_a_month_is_made_apart_and_attached() -> None:
    month = '"dbo"."copy_SALES_202510"'
    statements = texts(ddl.create_month(make_table(), OCTOBER))
    assert statements[0].startswith(f'CREATE TABLE {month} (LIKE "dbo"."copy_SALES"')
    assert statements[-2:] == [
        f"ALTER TABLE \"dbo\".\"copy_SALES\" ATTACH PARTITION {month} FOR VALUES FROM ('2025-10-01') TO ('2025-11-01')",
        f'ALTER TABLE {month} DROP CONSTRAINT "span"',
    ]


def test_schemas_are_made_if_they_are_missing() -> None:
    assert texts(ddl.create_schemas('d"bo')) == [
        'CREATE SCHEMA IF NOT EXISTS "d""bo"',
        'CREATE SCHEMA IF NOT EXISTS "staging"',
    ]


@given(st.sampled_from([*TABLES, EVIL]), spans)
def test_a_staging_table_tells_its_span_in_a_name_that_is_not_cut(table: Table, span: Span) -> None:
    name = staging_name(table, span)
    assert staging_span(table, name) == span
    assert len(name.encode()) <= 63


@given(st.sampled_from(TABLES), spans)
def test_no_other_table_owns_a_staging_table(table: Table, span: Span) -> None:
    name = staging_name(table, span)
    assert [other.name for other in TABLES if staging_span(other, name)] == [table.name]


@pytest.mark.parametrize(
    "name",
    [
        "copy_SALES",
        "copy_SALES__",
        "copy_SALES_20251001_20251101",
        "copy_SALES__20251001",
        "copy_SALES__20251101_20251001",
        "copy_SALES__20251001_20251131",
        "copy_SALES__20251001_20251101_2",
        "copy_SALES__Undated",
        "copy_SALESITEM__20251001_20251101",
        "",
    ],
)
def test_a_name_of_another_form_is_no_staging_table(name: str) -> None:
    assert staging_span(make_table(), name) is None


@given(st.dates(), st.dates())
def test_each_month_has_a_partition_of_its_own(one: date, other: date) -> None:
    table = make_table()
    same = (one.year, one.month) == (other.year, other.month)
    assert (ddl.month_partition_name(table, one) == ddl.month_partition_name(table, other)) == same


def test_no_name_of_a_replica_is_cut_by_the_server() -> None:
    statements = replica_ddl("postgres", catalog.load(), Settings())
    months = [ddl.month_partition_name(table, date.max) for table in TABLES]
    quoted = [name for statement in statements for name in re.findall(r'"([^"]+)"', statement)]
    assert [name for name in [*quoted, *months] if len(name.encode()) > 63] == []


def test_every_described_table_gets_a_replica_that_may_be_there_already() -> None:
    statements = replica_ddl("postgres", catalog.load(), Settings())
    wrapped = [statement for statement in statements if statement.startswith("DO $$ BEGIN IF ")]
    assert len(wrapped) == len([table for table in TABLES if table.strategy == "refresh"])
    assert all(" IF NOT EXISTS " in statement for statement in statements if statement not in wrapped)
    created = [statement.split("(")[0] for statement in statements if statement.startswith("CREATE TABLE")]
    for table in TABLES:
        assert f'CREATE TABLE IF NOT EXISTS "dbo"."{table.target_table}" ' in created
