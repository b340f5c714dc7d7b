"""A table that is refreshed whole is there in its old state or its new one, whoever looks and whatever fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel, sql

from include import migrations
from include.catalog import Table
from include.demo.changes import hard_delete, late_arrival, late_fix, move_date
from include.engines.postgres import PostgresWarehouse
from include.engines.postgres.ddl import whole_partition
from include.errors import DatabaseBusy, EmptySource, LockHeld
from include.replication.observe import Step
from include.replication.progress import Status
from include.replication.reconcile import reconcile
from include.replication.replicate import replicate
from include.replication.run import Report, Run
from include.replication.verify import Verify
from include.settings import Settings
from include.windows import WHOLE, Window
from tests.integration.conftest import Stage
from tests.integration.helpers import (
    CATALOG,
    Watch,
    assert_same_rows,
    dump,
    one,
    progress_rows,
    replica_of,
    source_of,
    source_rows,
    staging_tables,
    warehouse_rows,
)
from tests.integration.test_reconcile import change, counts

ITEM, CUSTOMER, EODLOG = (CATALOG[f"APP_4_{name}"] for name in ("ITEM", "CUSTOMER", "EODLOG"))


def refresh(stage: Stage, table: Table = ITEM, run_id: str = "refresh", **options: Any) -> Report:
    return replicate(stage.run(run_id, **options), table, WHOLE, Watch())


def at_source(stage: Stage, statement: str, table: Table = ITEM) -> int:
    with stage.connect_source() as connection:
        return connection.execute(sql.SQL(statement).format(source_of(table))).rowcount  # type: ignore[arg-type]


def change_some(stage: Stage, table: Table = ITEM) -> None:
    change(
        stage,
        lambda c: late_fix(c, table, None, 2, 1),
        lambda c: late_arrival(c, table, None, 3, 2),
        lambda c: hard_delete(c, table, None, 1, 3),
    )


def without_secrets(table: Table) -> Table:
    columns = {name: type_ for name, type_ in table.columns.items() if name not in table.changed}
    return table.model_copy(update={"columns": columns})


@pytest.mark.parametrize("table", [ITEM, CUSTOMER], ids=lambda table: table.name)
def test_a_refresh_makes_the_whole_table_equal(stage: Stage, table: Table) -> None:
    first = refresh(stage, table, "first")
    assert (first.status, first.unchanged, first.window) == (Status.VERIFIED, False, "whole")
    assert first.rows_published == assert_same_rows(stage, without_secrets(table)) > 0
    change_some(stage, table)
    second = refresh(stage, table, "second")
    assert second.rows_replaced == first.rows_published
    assert second.rows_published == assert_same_rows(stage, without_secrets(table)) == first.rows_published + 2
    assert staging_tables(stage) == []


def test_rows_that_changed_are_counted_by_key_and_rowversion(stage: Stage) -> None:
    rows = refresh(stage).rows_published
    assert counts(refresh(stage, run_id="forced", force=True)) == (0, 0, 0)
    change(stage, lambda c: late_fix(c, ITEM, None, 2, 1), lambda c: late_arrival(c, ITEM, None, 3, 2))
    assert at_source(stage, 'DELETE FROM {0} WHERE "ID" = (SELECT max("ID") FROM {0})') == 1
    report = refresh(stage, run_id="second")
    assert counts(report) == (2, 2, 0)
    (row,) = progress_rows(stage, run_id="second")
    assert (row["rows_inserted"], row["rows_updated"], row["rows_deleted"]) == (2, 2, 0)
    assert at_source(stage, "DELETE FROM {}") == rows + 2
    assert counts(refresh(stage, run_id="third", allow_empty=True)) == (0, 0, rows + 2)


@pytest.mark.parametrize("verify", list(Verify))
def test_an_unchanged_table_is_recorded_and_not_read(stage: Stage, verify: Verify) -> None:
    rows = refresh(stage, run_id="first").rows_published
    watch = Watch()
    report = replicate(stage.run("second", verify=verify), ITEM, WHOLE, watch)
    assert (report.status, report.unchanged) == (Status.UNCHANGED, True)
    assert (report.rows_read, report.bytes_read, report.rows_published) == (0, 0, rows)
    assert Step.READING not in watch.steps
    (row,) = progress_rows(stage, run_id="second")
    assert (row["status"], row["window_name"], row["from_date"], row["published_at"]) == (
        "unchanged",
        "whole",
        None,
        None,
    )


def test_force_loads_an_unchanged_table(stage: Stage) -> None:
    rows = refresh(stage, run_id="first").rows_published
    report = refresh(stage, run_id="second", force=True)
    assert (report.status, report.unchanged, report.rows_read) == (Status.VERIFIED, False, rows)


def test_a_deletion_and_an_update_of_one_row_are_each_enough_to_load(stage: Stage) -> None:
    refresh(stage, run_id="first")
    for number, statement in enumerate(
        [
            'DELETE FROM {0} WHERE "ID" = (SELECT max("ID") FROM {0})',
            'UPDATE {0} SET "WBDELETED" = "WBDELETED" WHERE "ID" = (SELECT min("ID") FROM {0})',
        ]
    ):
        assert at_source(stage, statement) == 1
        assert not refresh(stage, run_id=f"again {number}").unchanged
        assert_same_rows(stage, ITEM)


def test_a_source_that_is_empty_is_refused(stage: Stage) -> None:
    rows = refresh(stage, run_id="first").rows_published
    before = warehouse_rows(stage, ITEM)
    at_source(stage, "DELETE FROM {}")
    with pytest.raises(EmptySource, match=rf"APP_4_ITEM: the source is empty, the copy keeps its {rows:,} rows"):
        refresh(stage, run_id="second")
    assert warehouse_rows(stage, ITEM) == before
    assert staging_tables(stage) == []
    (row,) = progress_rows(stage, run_id="second")
    assert row["status"] == "failed"
    report = refresh(stage, run_id="third", allow_empty=True)
    assert (report.rows_published, report.rows_replaced) == (0, rows)
    assert warehouse_rows(stage, ITEM).total() == 0
    assert refresh(stage, run_id="fourth").unchanged


def test_an_empty_table_with_an_empty_copy_is_no_error(stage: Stage) -> None:
    at_source(stage, "DELETE FROM {}")
    report = refresh(stage)
    assert (report.status, report.rows_published) == (Status.VERIFIED, 0)


def test_a_table_without_key_or_rowversion_is_refreshed_and_compared_by_all_values(stage: Stage) -> None:
    table = ITEM.model_copy(update={"key": (), "rowversion": None})
    refresh(stage, table, "first")
    assert refresh(stage, table, "second").status is Status.UNCHANGED
    change_some(stage)
    report = refresh(stage, table, "third")
    assert (report.unchanged, counts(report)) == (False, (None, None, None))
    assert_same_rows(stage, ITEM)


def test_a_key_of_which_the_source_has_two_rows_is_refused(stage: Stage) -> None:
    refresh(stage, run_id="first")
    before = warehouse_rows(stage, ITEM)
    at_source(stage, 'ALTER TABLE {} DROP CONSTRAINT "APP_4_ITEM_pkey"')
    assert at_source(stage, 'INSERT INTO {0} SELECT * FROM {0} ORDER BY "ID" LIMIT 1') == 1
    with pytest.raises(Exception, match="the source has a key twice"):
        refresh(stage, run_id="second")
    assert warehouse_rows(stage, ITEM) == before


def test_a_window_of_a_refreshed_table_with_a_date_is_replaced_alone(stage: Stage) -> None:
    refresh(stage, EODLOG, "first")
    with stage.connect_source() as connection:
        day = one(connection, sql.SQL('SELECT max("DATETIME__BUSINESS_DATE") FROM {}').format(source_of(EODLOG)))
    window = Window.inclusive(date(day.year, day.month, 2), day)
    at_source(stage, "UPDATE {} SET \"STRING_EXTEND_1\" = 'new'", EODLOG)
    report = replicate(stage.run("window"), EODLOG, window, Watch())
    assert report.rows_replaced == report.rows_published == assert_same_rows(stage, EODLOG, window) > 0
    assert (source_rows(stage, EODLOG) - warehouse_rows(stage, EODLOG)).total() > 0
    refresh(stage, EODLOG, "whole")
    assert_same_rows(stage, EODLOG)


def test_days_of_a_refreshed_table_with_a_date_may_be_repaired(stage: Stage) -> None:
    refresh(stage, EODLOG, "first")
    with stage.connect_source() as connection:
        day = one(connection, sql.SQL('SELECT max("DATETIME__BUSINESS_DATE") FROM {}').format(source_of(EODLOG)))
        window = Window.inclusive(day, day)
        rows = len(late_fix(connection, EODLOG, window, 2, 1))
        moved = len(move_date(connection, EODLOG, window, 1, 2, to=date(2025, 8, 3)))
    report = reconcile(stage.run("fix"), EODLOG, window, Watch())
    assert (report.unchanged, (report.rows_updated or 0) >= max(rows, moved)) == (False, True)
    assert_same_rows(stage, EODLOG)


def test_a_table_whose_dates_are_text_is_compared_by_day(stage: Stage) -> None:
    table = EODLOG.model_copy(update={"date": "BUSINESS_DATE", "date_format": "dd/mm/yyyy"})
    with stage.connect_source() as connection:
        query = sql.SQL('UPDATE {} SET "BUSINESS_DATE" = to_char("DATETIME__BUSINESS_DATE", \'DD/MM/YYYY\')')
        connection.execute(query.format(source_of(EODLOG)))
        unreadable = sql.SQL('UPDATE {0} SET "BUSINESS_DATE" = \'31/02/2025\' WHERE "ID" = (SELECT max("ID") FROM {0})')
        assert connection.execute(unreadable.format(source_of(EODLOG))).rowcount == 1
    report = refresh(stage, table, "first")
    assert report.rows_published == assert_same_rows(stage, EODLOG) > 0
    assert refresh(stage, table, "second").unchanged
    change(stage, lambda c: move_date(c, table, None, 1, 1, to=date(2025, 8, 3)))
    assert counts(refresh(stage, table, "third")) == (0, 1, 0)
    assert_same_rows(stage, EODLOG)


@pytest.mark.parametrize("earlier", [False, True], ids=["first load", "older version"])
@pytest.mark.parametrize("step", [step for step in Step if step not in (Step.WAITING, Step.COMPARING, Step.DONE)])
def test_a_refresh_that_breaks_off_leaves_the_old_table_or_the_new(stage: Stage, step: Step, earlier: bool) -> None:
    if earlier:
        refresh(stage, run_id="first")
        change_some(stage)
    before = warehouse_rows(stage, ITEM)

    def break_off() -> None:
        raise KeyError(step)

    with pytest.raises(KeyError):
        replicate(stage.run("broken"), ITEM, WHOLE, Watch(at={step: break_off}))
    visible = step in (Step.PUBLISHED, Step.VERIFYING)
    assert warehouse_rows(stage, ITEM) == (source_rows(stage, ITEM) if visible else before)
    assert staging_tables(stage) == []
    refresh(stage, run_id="next")
    assert_same_rows(stage, ITEM)


def test_two_refreshes_of_a_table_keep_each_other_off(stage: Stage) -> None:
    def refused() -> None:
        with pytest.raises(LockHeld):
            refresh(stage, run_id="other")

    watch = Watch(at={Step.STAGED: refused})
    replicate(stage.run("first"), ITEM, WHOLE, watch)
    assert watch.steps[-1] is Step.DONE


COUNT = sql.SQL("SELECT count(*) FROM {}").format(replica_of(ITEM))


def impatient(stage: Stage, patience: float = 0.3) -> Run:
    settings = Settings(lock_wait=0, publish_wait=patience, publish_lock_wait=0.1)
    warehouse = PostgresWarehouse(stage.warehouse_connection, settings=settings)
    return replace(stage.run("impatient"), warehouse=warehouse, settings=settings)


@contextmanager
def reading(stage: Stage) -> Iterator[psycopg.Connection[Any]]:
    """Open a transaction that sees one moment, in which nothing was read yet."""
    with stage.connect_warehouse() as reader:
        reader.autocommit = False
        reader.isolation_level = IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT 1")
        yield reader


def test_a_reader_of_an_older_moment_sees_the_old_table_or_the_new(stage: Stage) -> None:
    old = refresh(stage, run_id="first").rows_published
    change_some(stage)
    with reading(stage) as reader:
        new = refresh(stage, run_id="second").rows_published
        seen = [one(reader, COUNT), one(reader, COUNT)]
    assert old != new
    assert seen in ([old, old], [new, new])


def test_a_transaction_that_has_read_keeps_the_old_table(stage: Stage) -> None:
    old = refresh(stage, run_id="first").rows_published
    change_some(stage)
    with reading(stage) as reader:
        assert one(reader, COUNT) == old
        with pytest.raises(DatabaseBusy, match=r"APP_4_ITEM whole: publishing"):
            replicate(impatient(stage), ITEM, WHOLE, Watch())
        assert one(reader, COUNT) == old
    refresh(stage, run_id="second")
    assert_same_rows(stage, ITEM)


def test_an_open_cursor_reads_the_old_table_to_its_end_while_a_refresh_waits(stage: Stage) -> None:
    refresh(stage, run_id="first")
    old = warehouse_rows(stage, ITEM)
    change_some(stage)
    reports: list[Report] = []
    with stage.connect_warehouse() as reader:
        reader.autocommit = False
        cursor = reader.cursor(name="report")
        cursor.execute(sql.SQL("SELECT * FROM {}").format(replica_of(ITEM)))
        rows = cursor.fetchmany(1)
        publishing = threading.Thread(
            target=lambda: reports.append(replicate(impatient(stage, 30), ITEM, WHOLE, Watch()))
        )
        publishing.start()
        publishing.join(0.5)
        assert publishing.is_alive()
        rows += cursor.fetchall()
        reader.commit()
    publishing.join()
    assert len(rows) == old.total()
    assert [report.status for report in reports] == [Status.VERIFIED]
    assert_same_rows(stage, ITEM)


def test_no_reader_ever_sees_the_table_empty(stage: Stage) -> None:
    rows = refresh(stage, run_id="first").rows_published
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        with stage.connect_warehouse() as connection:
            while not done.is_set():
                seen.append(one(connection, COUNT))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(5):
            change(stage, lambda c, seed=number: late_arrival(c, ITEM, None, 1, seed))  # type: ignore[misc]
            refresh(stage, run_id=f"again {number}")
    finally:
        done.set()
        reader.join()
    assert seen == sorted(seen)
    assert set(seen) <= set(range(rows, rows + 6))
    assert len(set(seen)) > 1


def make_plain(stage: Stage, table: Table) -> None:
    """Give a replica the form in which version 0.1 made it, with its rows."""
    plain = sql.Identifier(table.target_schema, "plain")
    with stage.connect_warehouse() as connection:
        for statement in (
            sql.SQL("CREATE TABLE {} AS SELECT * FROM {}").format(plain, replica_of(table)),
            sql.SQL("DROP TABLE {}").format(replica_of(table)),
            sql.SQL("ALTER TABLE {} RENAME TO {}").format(plain, sql.Identifier(table.target_table)),
            sql.SQL("CREATE UNIQUE INDEX {} ON {} ({})").format(
                sql.Identifier(f"{table.target_table}_key"),
                replica_of(table),
                sql.SQL(", ").join(map(sql.Identifier, table.key)),
            ),
        ):
            connection.execute(statement)


def test_a_plain_table_of_an_earlier_version_is_wrapped_and_keeps_its_rows(stage: Stage) -> None:
    refresh(stage, run_id="first")
    before = warehouse_rows(stage, ITEM)
    make_plain(stage, ITEM)
    for _ in range(2):
        migrations.migrate("warehouse", stage.warehouse_connection)
        assert warehouse_rows(stage, ITEM) == before
        with stage.connect_warehouse() as connection:
            assert dump(connection, ITEM, whole_partition(ITEM)) == before
            kinds = "SELECT string_agg(relkind::text, '' ORDER BY relname) FROM pg_class WHERE relname LIKE %s"
            assert one(connection, kinds, r"com\_5013\_APP\_4\_ITEM%") == "pri"
    assert refresh(stage, run_id="second").unchanged
    change_some(stage)
    refresh(stage, run_id="third")
    assert_same_rows(stage, ITEM)


def test_the_key_stays_unique_after_many_refreshes(stage: Stage) -> None:
    for number in range(3):
        refresh(stage, run_id=f"run {number}", force=True)
    with stage.connect_warehouse() as connection:
        insert = sql.SQL('INSERT INTO {0} SELECT * FROM {0} ORDER BY "ID" LIMIT 1').format(replica_of(ITEM))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(insert)
