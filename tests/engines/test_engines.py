"""What every engine has to do, at either end: the same suite for each pair."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from include.catalog import SqlType, Table
from include.engines.base import Level
from include.errors import PermanentError, ValueDoesNotFit
from include.replication.prepare import prepare
from include.replication.progress import rows_of_run
from include.replication.replicate import Report, replicate
from include.replication.verify import Verify, compare
from include.windows import UNDATED, Span, Window, months
from tests.engines.conftest import Pair
from tests.engines.ends import Row
from tests.integration.helpers import Watch

OCTOBER = Window(date(2025, 10, 1), date(2025, 11, 1))
MIDDLE = Window(date(2025, 10, 10), date(2025, 10, 20))
QUARTER = Window(date(2025, 9, 1), date(2025, 12, 1))
SALE = {"ID": "bigint", "DAY": "date", "NAME": "nvarchar(40)", "AMOUNT": "decimal(16,4)", "V": "rowversion"}

#: Of each type the lowest and the highest value, or one that is easily spoilt.
EDGES: dict[str, tuple[Any, Any]] = {
    "tinyint": (0, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
    "bit": (False, True),
    "decimal(16,4)": (Decimal("-999999999999.9999"), Decimal("999999999999.9999")),
    "decimal(38,10)": (Decimal("-9999999999999999999999999999.9999999999"), Decimal("0.0000000001")),
    "money": (Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")),
    "smallmoney": (Decimal("-214748.3648"), Decimal("214748.3647")),
    "real": (-0.5, 2.0**100),
    "float": (-1.7e308, 1e-300),
    "date": (date.min, date.max),
    "time(0)": (time(0, 0, 0), time(23, 59, 59)),
    "time(6)": (time(0, 0, 0, 1), time(23, 59, 59, 999999)),
    "datetime": (datetime(1753, 1, 1, 0, 0, 0, 3000), datetime(9999, 12, 31, 23, 59, 59, 997000)),
    "smalldatetime": (datetime(1900, 1, 1, 0, 1), datetime(2079, 6, 6, 23, 59)),
    "datetime2(0)": (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)),
    "datetime2(6)": (datetime(1, 1, 1, 0, 0, 0, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)),
    "char(3)": ("abc", "   "),
    "varchar(20)": ("", "trailing  "),
    "nvarchar(20)": ("Żółć", "\U0001f600 漢"),
    "nvarchar(max)": ("", "line\nline\ttab\\ 'quoted' \"twice\""),
    "varchar(max)": ("x" * 9000, " "),
    "binary(4)": (b"\x00\x00\x00\x00", b"\xff\x00\xff\x00"),
    "varbinary(20)": (b"", b"\x00\xff"),
    "varbinary(max)": (b"\x00" * 9000, b"\xfe"),
    "uniqueidentifier": ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
}


def sale(key: int, day: date | None, **values: Any) -> Row:
    return {"ID": key, "DAY": day, "NAME": f"n{key}", "AMOUNT": Decimal(key), "V": version(key), **values}


def version(number: int) -> bytes:
    return number.to_bytes(8, "big")


def filled(pair: Pair) -> Table:
    """Return a table with a row a day of a quarter, and one without a date."""
    table = pair.table(SALE, rowversion="V")
    days = [date.fromordinal(QUARTER.start.toordinal() + n) for n in range(QUARTER.days)]
    pair.source.insert(table, [*(sale(n, day) for n, day in enumerate(days)), sale(1000, None)])
    return table


def load(pair: Pair, table: Table, *spans: Span, run_id: str = "test", **options: Any) -> list[Report]:
    return [replicate(pair.run(run_id, **options), table, span, Watch()) for span in spans]


def load_all(pair: Pair, table: Table, run_id: str = "test", **options: Any) -> list[Report]:
    return load(pair, table, *months(QUARTER), UNDATED, run_id=run_id, **options)


def assert_equal(pair: Pair, table: Table) -> None:
    assert pair.source_rows(table) == pair.warehouse_rows(table)
    for span in [*months(QUARTER), UNDATED]:
        assert compare(pair.run().source, pair.run().warehouse, table, span, Level.CHECKSUM).equal


def test_every_value_of_every_type_arrives(pair: Pair) -> None:
    columns = {f"C{place}": text for place, text in enumerate(EDGES)}
    table = pair.table({"ID": "bigint", "DAY": "date", **columns})
    rows = [*zip(*EDGES.values(), strict=True), (None,) * len(EDGES)]
    pair.source.insert(
        table,
        [{"ID": key, "DAY": OCTOBER.last_day, **dict(zip(columns, row, strict=True))} for key, row in enumerate(rows)],
    )
    (report,) = load(pair, table, OCTOBER)
    assert report.status == "verified"
    for name in columns:  # one by one, so that a failure says which
        some = table.model_copy(update={"columns": {"ID": SqlType.parse("bigint"), name: table.columns[name]}})
        assert pair.warehouse_rows(some) == pair.source_rows(some), table.columns[name]


def test_a_time_keeps_what_the_warehouse_can_hold(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"ID": "bigint", "DAY": "date", "AT": "datetime2(7)", "T": "time(7)", "ZONED": "datetimeoffset(7)"}
    table = pair.table(columns)
    digits = "1234567" if pair.source.kind == "mssql" else "123456"
    row = {
        "AT": f"0001-01-01 00:00:00.{digits}",
        "T": f"23:59:59.{digits}",
        "ZONED": f"2025-10-01 13:45:00.{digits:0<7} +08:00",
    }
    pair.source.insert(table, [{"ID": 1, "DAY": OCTOBER.start, **row}, {"ID": 2, "DAY": OCTOBER.start}])
    load(pair, table, OCTOBER)
    first = pair.warehouse_rows(table)[0]
    assert first[4] == f"2025-10-01 13:45:00.{digits} +08:00"
    kept = "123456" if pair.warehouse.kind == "postgres" else digits
    assert first[2:4] == (f"0001-01-01 00:00:00.{kept}", f"23:59:59.{kept}")
    cut_off = "AT: the 7th digit of the second of 1 values was cut off" in caplog.text
    assert cut_off == (kept != digits)


def test_months_and_undated_rows_become_equal_and_stay_so(pair: Pair) -> None:
    table = filled(pair)
    reports = load_all(pair, table)
    assert [report.rows_published for report in reports] == [30, 31, 30, 1]
    assert all(report.status == "verified" for report in reports)
    assert_equal(pair, table)
    assert all(report.unchanged for report in load_all(pair, table, run_id="again"))
    assert all(not report.unchanged for report in load_all(pair, table, run_id="forced", force=True))
    assert_equal(pair, table)
    assert pair.warehouse.staging_names() == []


@pytest.mark.parametrize("verify", list(Verify))
def test_changes_at_the_source_are_found(pair: Pair, verify: Verify) -> None:
    table = filled(pair)
    load_all(pair, table)
    pair.source.update(table, 35, {"NAME": "fixed", "V": version(5000)})
    pair.source.delete(table, 40)
    pair.source.insert(table, [sale(2000, date(2025, 10, 9), V=version(5001)), sale(2001, None, V=version(5002))])
    pair.source.update(table, 50, {"DAY": date(2025, 11, 9), "V": version(5003)})
    pair.source.update(table, 51, {"DAY": None, "V": version(5004)})
    load_all(pair, table, run_id="later", verify=verify)
    assert_equal(pair, table)


def test_a_part_of_a_month_leaves_the_rest_alone(pair: Pair) -> None:
    table = filled(pair)
    load_all(pair, table)
    for key in range(30, 61):
        pair.source.update(table, key, {"NAME": "changed", "V": version(6000 + key)})
    (report,) = load(pair, table, MIDDLE, run_id="part")
    assert (report.rows_published, report.rows_replaced) == (10, 10)
    names = {row[0]: row[2] for row in pair.warehouse_rows(table)}
    assert [key for key in range(30, 61) if names[key] == "changed"] == list(range(39, 49))


def test_a_row_that_moved_to_another_month_is_there_once(pair: Pair) -> None:
    table = filled(pair)
    load_all(pair, table)
    pair.source.update(table, 5, {"DAY": date(2025, 10, 5), "V": version(7000)})
    (report,) = load(pair, table, OCTOBER, run_id="moved")
    assert report.rows_moved == 1
    assert [row[0] for row in pair.warehouse_rows(table)].count(5) == 1


def test_an_older_copy_of_a_moved_row_does_not_win(pair: Pair) -> None:
    table = filled(pair)
    load_all(pair, table)
    pair.source.update(table, 5, {"DAY": date(2025, 10, 5), "V": version(0)})
    (report,) = load(pair, table, OCTOBER, run_id="stale", verify=Verify.NONE)
    assert (report.rows_read, report.rows_published) == (32, 31)


def test_text_dates_are_read_by_their_form(pair: Pair) -> None:
    table = pair.table({"ID": "bigint", "DAY": "varchar(20)"}, date_format="dd/mm/yyyy")
    texts = ["01/10/2025", "31/10/2025 23:59", "30/02/2025", "1/10/2025", "01/10/20255", "", None, "29/02/2024", "x"]
    pair.source.insert(table, [{"ID": key, "DAY": text} for key, text in enumerate(texts)])
    october, undated = load(pair, table, OCTOBER, UNDATED)
    assert (october.rows_published, undated.rows_published) == (2, 6)
    assert compare(pair.run().source, pair.run().warehouse, table, OCTOBER, Level.CHECKSUM).equal


def test_an_empty_window_empties_the_copy(pair: Pair) -> None:
    table = pair.table(SALE, rowversion="V")
    assert load(pair, table, OCTOBER)[0].rows_published == 0
    pair.source.insert(table, [sale(1, OCTOBER.start)])
    assert load(pair, table, OCTOBER, run_id="one")[0].rows_published == 1
    pair.source.delete(table, 1)
    assert load(pair, table, OCTOBER, run_id="none")[0].rows_replaced == 1
    assert pair.warehouse_rows(table) == []


def test_a_publish_that_is_broken_off_leaves_the_old_window(pair: Pair) -> None:
    table = filled(pair)
    load_all(pair, table)
    before = pair.warehouse_rows(table)
    pair.source.update(table, 35, {"NAME": "fixed", "V": version(5000)})

    def stop() -> None:
        raise KeyError("broken off")

    from include.replication.observe import Step

    with pytest.raises(KeyError):
        replicate(pair.run("broken"), table, OCTOBER, Watch(at={Step.COMMITTING: stop}))
    assert pair.warehouse_rows(table) == before
    assert pair.warehouse.staging_names() == []
    (row,) = rows_of_run(pair.run().warehouse.metadata(), "broken", table.name)
    assert row["status"] == "failed"
    load(pair, table, OCTOBER, run_id="after")
    assert_equal(pair, table)


def test_a_key_that_is_there_twice_is_refused(pair: Pair) -> None:
    table = pair.table(SALE, rowversion="V")
    pair.source.insert(table, [sale(1, OCTOBER.start), sale(1, OCTOBER.last_day)])
    with pytest.raises(PermanentError, match="the source has a key twice"):
        load(pair, table, OCTOBER)
    assert pair.warehouse_rows(table) == []
    assert pair.warehouse.staging_names() == []


def test_a_value_that_is_too_long_is_named(pair: Pair) -> None:
    table = pair.table({"ID": "bigint", "DAY": "date", "NAME": "nvarchar(40)"})
    pair.source.insert(table, [{"ID": n, "DAY": OCTOBER.start, "NAME": "confidential" * (n % 3)} for n in range(9)])
    narrow = table.model_copy(
        update={
            "columns": {**table.columns, "NAME": SqlType.parse("nvarchar(20)")},
            "target_table": f"{table.target_table}n",
        }
    )
    pair.warehouse.make_replica(narrow)
    with pytest.raises(ValueDoesNotFit, match=f"{table.name} 2025-10: .*column NAME") as told:
        load(pair, narrow, OCTOBER)
    assert "confidential" not in str(told.value)
    assert pair.warehouse_rows(narrow) == []


def test_names_are_quoted_whatever_is_in_them(pair: Pair) -> None:
    columns = {"a]b": "bigint", "it's": "date", "select": "varchar(20)", 'q"t': "nvarchar(20)", "żółć 漢": "bigint"}
    table = pair.table(columns, "we]ird 'n\"me", date="it's", key=["a]b", "select"])
    row = {"a]b": 1, "it's": OCTOBER.start, "select": "from", 'q"t': "where", "żółć 漢": 2}
    pair.source.insert(table, [row, {**row, "select": "group by"}])
    load(pair, table, OCTOBER)
    assert pair.source_rows(table) == pair.warehouse_rows(table)
    assert len(pair.warehouse_rows(table)) == 2


def test_the_record_says_what_was_done(pair: Pair) -> None:
    table = filled(pair)
    load(pair, table, OCTOBER, run_id="recorded")
    (row,) = rows_of_run(pair.run().warehouse.metadata(), "recorded", table.name)
    assert (row["status"], row["window_name"], row["from_date"], row["to_date"]) == (
        *("verified", "2025-10", OCTOBER.start, OCTOBER.last_day),
    )
    assert (row["rows_source"], row["rows_read"], row["rows_published"], row["rows_replaced"]) == (31, 31, 31, 0)
    assert row["bytes_read"] > 0
    assert len(row["checksum"]) == 16
    assert row["started_at"] <= row["published_at"] <= row["finished_at"]


def test_staging_of_a_dead_run_is_dropped_by_the_next(pair: Pair) -> None:
    table = filled(pair)
    warehouse = pair.run().warehouse
    with pair.run().source.snapshot(table, OCTOBER) as snapshot, warehouse.staging(table, OCTOBER) as staging:
        staging.load(snapshot.batches(1 << 20), lambda rows, size: None)
    assert warehouse.dead_staging(table) == [OCTOBER]
    assert prepare(pair.run(), table)
    assert warehouse.dead_staging(table) == []


def test_a_source_shows_its_tables_and_columns(pair: Pair) -> None:
    table = filled(pair)
    source = pair.run().source
    assert source.columns(table) == list(table.columns)
    found = source.column_types(table.source_schema, table.name)
    assert found is not None
    assert found["ID"] == SqlType.parse("bigint")
    assert found["AMOUNT"] == SqlType.parse("decimal(16,4)")
    absent = table.model_copy(update={"name": "NOT_THERE"})
    assert source.columns(absent) is None
    assert source.column_types(table.source_schema, "NOT_THERE") is None


def test_a_database_says_what_it_is(pair: Pair) -> None:
    for facts in (pair.run().source.check(), pair.run().warehouse.check()):
        assert facts["version"]
        assert facts["user"]
        assert facts["replica"] is False
