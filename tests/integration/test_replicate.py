"""After a window was replicated, the warehouse holds exactly the source's rows of it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from psycopg import sql

from include.catalog import Table
from include.engines.base import Level
from include.replication.replicate import replicate
from include.replication.request import read_request
from include.replication.runner import failures, run_request
from include.replication.verify import Verify, compare
from include.windows import UNDATED, Span, Undated, Window, months
from tests.integration.conftest import OCTOBER, WINDOW, Stage
from tests.integration.helpers import (
    CATALOG,
    PAYMENTS,
    SALES,
    Watch,
    assert_same_rows,
    load,
    load_all,
    one,
    progress_rows,
    replica_of,
    source_of,
    source_rows,
    staging_tables,
    warehouse_rows,
)

PART = Window.inclusive(date(2025, 10, 5), date(2025, 10, 20))
PARTITIONS = """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), c.oid::bigint
    FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = to_regclass(%s) ORDER BY 1
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'dbo' AND tablename = %s"


def partitions(stage: Stage, table: Table) -> dict[str, tuple[str, int]]:
    with stage.connect_warehouse() as connection:
        name = replica_of(table).as_string(connection)
        return {relation: (bound, oid) for relation, bound, oid in connection.execute(PARTITIONS, (name,))}


@pytest.mark.parametrize(
    "span",
    [
        pytest.param(OCTOBER, id="month"),
        pytest.param(PART, id="part of a month"),
        pytest.param(Window.inclusive(date(2025, 10, 31), date(2025, 10, 31)), id="last day"),
        pytest.param(Window.inclusive(date(2025, 10, 1), date(2025, 10, 1)), id="first day"),
        pytest.param(UNDATED, id="undated"),
    ],
)
def test_the_warehouse_holds_the_rows_of_the_span_and_no_others(stage: Stage, span: Span) -> None:
    (report,) = load(stage.run(), SALES, span)
    rows = assert_same_rows(stage, SALES, span)
    assert rows == report.rows_published == warehouse_rows(stage, SALES).total() > 0


def test_a_part_is_replaced_and_the_rest_of_its_month_stays(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    before = warehouse_rows(stage, SALES)
    with stage.connect_source() as connection:
        query = 'UPDATE {} SET "SALE_REMARK" = \'changed\' WHERE "DATETIME__SALES_DATE" IN (%s, %s)'
        connection.execute(sql.SQL(query).format(source_of(SALES)), (PART.last_day, PART.end))
    (report,) = load(stage.run("part"), SALES, PART)
    assert_same_rows(stage, SALES, PART)
    tomorrow = Window(PART.end, PART.end + timedelta(days=1))
    assert not source_rows(stage, SALES, tomorrow) & warehouse_rows(stage, SALES, tomorrow)
    changed = warehouse_rows(stage, SALES) - before
    assert 0 < changed.total() < report.rows_replaced == report.rows_published


def test_a_window_over_three_months_is_cut_at_their_ends(stage: Stage) -> None:
    wanted = Window.inclusive(date(2025, 8, 31), date(2025, 10, 1))
    values = {"start_date": "2025-08-31", "end_date": "2025-10-01", "tables": ["APP_4_SALES"]}
    request = read_request(values, None, CATALOG, date(2026, 1, 1))
    outcomes = run_request(stage.run(), request, 2, lambda table, span: Watch())
    assert not failures(outcomes)
    assert [outcome.window for outcome in outcomes] == ["2025-08-31", "2025-09", "2025-10-01", "undated"]
    assert_same_rows(stage, SALES, wanted)
    for day in (date(2025, 8, 30), date(2025, 10, 2)):
        assert not warehouse_rows(stage, SALES, Window(day, day + timedelta(days=1)))


def test_rows_without_a_date_live_in_the_default_partition(stage: Stage) -> None:
    load(stage.run(), SALES, UNDATED)
    assert partitions(stage, SALES)["com_5013_APP_4_SALES_undated"][0] == "DEFAULT"
    with stage.connect_warehouse() as connection:
        rows = one(connection, 'SELECT count(*) FROM ONLY dbo."com_5013_APP_4_SALES_undated"')
    assert rows == source_rows(stage, SALES, UNDATED).total() > 0


def test_a_month_without_rows_is_verified_and_has_a_partition(stage: Stage) -> None:
    january = Window.of_month(date(2024, 1, 1))
    (report,) = load(stage.run(), SALES, january)
    assert (report.rows_published, report.status) == (0, "verified")
    assert "com_5013_APP_4_SALES_202401" in partitions(stage, SALES)


def test_a_month_that_the_source_emptied_is_emptied(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    with stage.connect_source() as connection:
        connection.execute(
            sql.SQL('DELETE FROM {} WHERE "DATETIME__SALES_DATE" >= %s').format(source_of(SALES)), (OCTOBER.start,)
        )
    (report,) = load(stage.run("again"), SALES, OCTOBER)
    assert (report.rows_published, report.rows_replaced > 0) == (0, True)
    assert not warehouse_rows(stage, SALES, OCTOBER)


def test_all_sales_tables_over_all_months_are_equal(stage: Stage) -> None:
    values = {"start_date": str(WINDOW.start), "end_date": str(WINDOW.last_day)}
    request = read_request(values, None, CATALOG, date(2026, 1, 1))
    outcomes = run_request(stage.run(), request, 2, lambda table, span: Watch())
    assert not failures(outcomes)
    assert len(request.tables) == 10
    assert [(outcome.table, outcome.window) for outcome in outcomes] == [
        (table.name, span) for table in request.tables for span in ("2025-08", "2025-09", "2025-10", "undated")
    ]
    rows = {table.name: assert_same_rows(stage, table) for table in request.tables}
    assert {name for name, count in rows.items() if not count} == {
        "APP_4_SALESDEBITNOTE",
        "APP_4_SALESDEBITNOTEITEM",
    }
    assert staging_tables(stage) == []


def test_values_at_the_edges_arrive_as_they_are(stage: Stage) -> None:
    load_all(stage.run(), SALES)
    edges = {
        "year 1": "\"DATETIME__SHIPMENT_DATE\" = '0001-01-01'",
        "year 9999": "\"DATETIME__SHIPMENT_DATE\" = '9999-12-31'",
        "before 1753": "\"DATETIME__SHIPMENT_DATE\" < '1753-01-01'",
        "last millisecond": "\"TERMS_START_DATE\" = '9999-12-31 23:59:59.997'",
        "largest decimal": '"DOUBLE_COST" = 999999999999.9999',
        "smallest decimal": '"DOUBLE_COST" = -999999999999.9999',
        "tiny decimal": '"DOUBLE_COST" = 0.0001',
        "largest bigint": '"ORDERID" = 9223372036854775807',
        "smallest bigint": '"ORDERID" = -9223372036854775808',
        "largest tinyint": '"BOOL_IS_WEBSALES" = 255',
        "NULL": '"SALE_REMARK" IS NULL',
        "empty": "\"SALE_REMARK\" = ''",
        "trailing blanks": "\"SALE_REMARK\" LIKE '%  '",
        "line break": "\"SALE_REMARK\" ~ '\\n'",
        "emoji": "\"SALE_REMARK\" ~ '[\\U0001F600-\\U0001F64F]'",
        "Chinese": "\"SALE_REMARK\" ~ '[\\u4e00-\\u9fff]'",
    }
    counts = {}
    for side, relation, connect in (
        ("source", source_of(SALES), stage.connect_source),
        ("warehouse", replica_of(SALES), stage.connect_warehouse),
    ):
        with connect() as connection:
            counts[side] = {
                edge: one(connection, sql.SQL("SELECT count(*) FROM {} WHERE ").format(relation) + sql.SQL(condition))
                for edge, condition in edges.items()
            }
    assert counts["warehouse"] == counts["source"]
    assert min(counts["source"].values()) > 0, counts["source"]


@pytest.mark.parametrize("name", ["APP_4_ORDERITEM", "APP_4_SALESQUANTITIES"])
def test_text_dates_are_read_by_their_format_and_unreadable_ones_counted(stage: Stage, name: str) -> None:
    table = CATALOG[name]
    reports = load_all(stage.run(), table)
    total = assert_same_rows(stage, table)
    dated = [assert_same_rows(stage, table, month) for month in months(WINDOW)]
    assert [report.rows_source for report in reports[:-1]] == dated
    assert reports[-1].rows_source == total - sum(dated) > 0
    with stage.connect_warehouse() as connection:
        unreadable = {
            text
            for (text,) in connection.execute(
                sql.SQL("SELECT {} FROM {}").format(sql.Identifier(table.date or ""), replica_of(table))
            )
        }
    assert {None, "", "31/02/2025", "n/a"} <= unreadable
    found = compare(stage.source, stage.warehouse, table, UNDATED, Level.CHECKSUM)
    assert found.equal
    assert set(found.source.days) == {None}


def test_a_part_of_a_month_is_replaced_where_dates_are_text(stage: Stage) -> None:
    table = CATALOG["APP_4_SALESQUANTITIES"]
    load(stage.run(), table, PART)
    assert assert_same_rows(stage, table, PART) == warehouse_rows(stage, table).total() > 0


@pytest.mark.parametrize("name", ["APP_4_SALESCREDITNOTE", "APP_4_EPAYMENTLOG"])
def test_the_last_second_of_a_month_belongs_to_it(stage: Stage, name: str) -> None:
    table = CATALOG[name]
    assert table.columns[table.date or ""].base != "date"
    with stage.connect_source() as connection:
        keys = [key for (key,) in connection.execute(sql.SQL('SELECT "ID" FROM {} LIMIT 2').format(source_of(table)))]
        for key, moment in zip(keys, ("2025-10-31 23:59:59.997", "2025-11-01 00:00:00"), strict=True):
            connection.execute(
                sql.SQL('UPDATE {} SET {} = %s WHERE "ID" = %s').format(
                    source_of(table), sql.Identifier(table.date or "")
                ),
                (moment, key),
            )
    load(stage.run(), table, OCTOBER)
    assert assert_same_rows(stage, table, OCTOBER) == warehouse_rows(stage, table).total()
    with stage.connect_warehouse() as connection:
        arrived = [key for (key,) in connection.execute(sql.SQL('SELECT "ID" FROM {}').format(replica_of(table)))]
    assert keys[0] in arrived
    assert keys[1] not in arrived


def test_a_month_is_an_attached_partition_with_its_key_and_no_check(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    name = "com_5013_APP_4_SALES_202510"
    assert partitions(stage, SALES)[name][0] == "FOR VALUES FROM ('2025-10-01') TO ('2025-11-01')"
    with stage.connect_warehouse() as connection:
        checks = one(connection, "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = %s::regclass",
                     f'dbo."{name}"')  # fmt: skip
        indexes = [definition for (definition,) in connection.execute(INDEXES, (name,))]
    assert checks == 0
    assert len(indexes) == 1
    assert indexes[0].startswith("CREATE UNIQUE INDEX")
    assert indexes[0].endswith('("ID")')


def test_a_reload_puts_another_partition_in_the_place_of_the_old(stage: Stage) -> None:
    oids = []
    for run_id in ("first", "second"):
        load(stage.run(run_id, force=True), SALES, OCTOBER)
        oids.append(partitions(stage, SALES)["com_5013_APP_4_SALES_202510"][1])
    assert oids[0] != oids[1]
    with stage.connect_warehouse() as connection:
        old = connection.execute("SELECT relname FROM pg_class WHERE oid = %s", (oids[0],)).fetchall()
    assert old == []
    assert assert_same_rows(stage, SALES, OCTOBER) == warehouse_rows(stage, SALES).total()


def test_an_index_on_the_whole_table_is_there_after_a_reload(stage: Stage) -> None:
    with stage.connect_warehouse() as connection:
        connection.execute('CREATE INDEX ON dbo."com_5013_APP_4_SALES" ("SALES_NO")')
    for run_id in ("first", "second"):
        load(stage.run(run_id, force=True), SALES, OCTOBER)
    with stage.connect_warehouse() as connection:
        definitions = [text for (text,) in connection.execute(INDEXES, ("com_5013_APP_4_SALES_202510",))]
    assert sorted(text.split(" USING ")[1] for text in definitions) == ['btree ("ID")', 'btree ("SALES_NO")']


def test_a_part_keeps_the_partition_of_its_month(stage: Stage) -> None:
    load(stage.run(), SALES, OCTOBER)
    before = partitions(stage, SALES)
    load(stage.run("again", force=True), SALES, PART)
    assert partitions(stage, SALES) == before


def test_a_month_that_began_as_parts_is_swapped_whole(stage: Stage) -> None:
    load(stage.run(), SALES, PART)
    before = partitions(stage, SALES)["com_5013_APP_4_SALES_202510"]
    (report,) = load(stage.run("whole"), SALES, OCTOBER)
    after = partitions(stage, SALES)["com_5013_APP_4_SALES_202510"]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert report.rows_replaced == source_rows(stage, SALES, PART).total()
    assert_same_rows(stage, SALES, OCTOBER)


@pytest.mark.parametrize("span", [OCTOBER, PART, UNDATED], ids=["month", "part", "undated"])
def test_nothing_is_left_in_staging(stage: Stage, span: Span) -> None:
    load(stage.run(), SALES, span)
    assert staging_tables(stage) == []


@pytest.mark.parametrize("span", [OCTOBER, PART, UNDATED], ids=["month", "part", "undated"])
def test_the_progress_row_tells_what_was_done(stage: Stage, span: Span) -> None:
    (report,) = load(stage.run("told"), SALES, span)
    (row,) = progress_rows(stage)
    rows = source_rows(stage, SALES, span).total()
    assert (row["run_id"], row["table_name"], row["window_name"]) == ("told", "APP_4_SALES", span.name)
    dates = (None, None) if isinstance(span, Undated) else (span.start, span.end - timedelta(days=1))
    assert (row["from_date"], row["to_date"]) == dates
    assert (row["status"], row["attempt"], row["error"]) == ("verified", 1, None)
    assert {row[name] for name in ("rows_source", "rows_read", "rows_published")} == {rows}
    assert (row["rows_replaced"], row["rows_moved"]) == (0, 0)
    assert row["bytes_read"] == report.bytes_read > rows
    assert row["checksum"] == compare(stage.source, stage.warehouse, SALES, span, Level.CHECKSUM).copy.total
    assert row["export_path"] is None
    assert row["started_at"] < row["published_at"] < row["finished_at"]
    took = (row["finished_at"] - row["started_at"]).total_seconds()
    parts = [row[f"seconds_{step}"] for step in ("loading", "publishing", "verifying")]
    assert min(parts) > 0
    assert sum(parts) <= took


def test_steps_follow_each_other_in_order(stage: Stage) -> None:
    watch = Watch()
    replicate(stage.run(), PAYMENTS, OCTOBER, watch)
    assert [step.value for step in watch.steps] == [
        *("waiting", "reading", "staged", "checked", "committing", "published", "verifying", "done")
    ]


@pytest.mark.parametrize(("verify", "status"), [(Verify.NONE, "published"), (Verify.COUNTS, "verified")])
def test_a_cheaper_verification_records_no_checksum(stage: Stage, verify: Verify, status: str) -> None:
    load(stage.run(verify=verify), SALES, OCTOBER)
    (row,) = progress_rows(stage)
    assert (row["status"], row["checksum"]) == (status, None)
    assert (row["published_at"] is None, row["finished_at"] is None) == (False, False)
    assert_same_rows(stage, SALES, OCTOBER)
