"""What can be known of the SQL Server engine without a server: its answers, its bookkeeping, the order of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from include import catalog
from include.catalog import SqlType, Table
from include.connections import Connection, parse
from include.engines.arrow import arrow_schema
from include.engines.base import Level
from include.engines.factory import source_of, warehouse_of
from include.engines.mssql import MssqlSource, MssqlWarehouse, partitions, sql
from include.engines.mssql import warehouse as warehouse_module
from include.engines.mssql.features import Features
from include.engines.mssql.publish import TAKE_LOCK, Publication
from include.engines.mssql.source import batch_rows
from include.engines.mssql.types import kept, row_bytes, sql_type
from include.engines.mssql.warehouse import MssqlStaging
from include.errors import AccessDenied, ConnectionLost, LockTimeout, TransientError, ValueDoesNotFit
from include.settings import Settings
from include.windows import Window
from tests.unit.tables import make_table

MONTH = Window(date(2025, 10, 1), date(2025, 11, 1))
SALES = make_table(
    {"ID": "bigint", "DAY": "date", "NAME": "varchar(10)", "V": "rowversion"}, rowversion="V", source_schema="pos"
)
CONNECTION = parse("warehouse", "mssql://loader:secret@server/MarryBrown_DW")

#: As recorded: version, edition, Babelfish, Updateability, collation, snapshot state, login, database.
SQL_2022 = ("16.0.4185.3", "3", None, "READ_WRITE", "Latin1_General_CI_AS", 0, "loader", "MarryBrown_DW")
AZURE_REPLICA = ("12.0.2000.8", "5", None, "READ_ONLY", "SQL_Latin1_General_CP1_CI_AS", 1, "reader", "COM_5013")
BABELFISH = ("12.0.2000.8", "3", "1", None, "bbf_unicode_cp1_ci_as", None, "sa", "master")


def test_a_server_says_what_it_is_and_can_do() -> None:
    server, azure, other = Features.of(SQL_2022), Features.of(AZURE_REPLICA), Features.of(BABELFISH)
    assert (server.name, server.read_only, server.snapshots, server.partitions) == (
        *("SQL Server 16.0.4185.3", False, False, True),
    )
    assert (azure.name, azure.read_only, azure.snapshots, azure.partitions) == (
        *("Azure SQL Database 12.0.2000.8", True, True, True),
    )
    assert other.name == "Babelfish for PostgreSQL (as SQL Server 12.0.2000.8)"
    assert (other.read_only, other.snapshots, other.partitions) == (False, True, False)


@pytest.mark.parametrize(
    ("version", "partitions"), [("12.0.6024.0", False), ("13.0.1601.5", False), ("13.0.4001.0", True), ("", False)]
)
def test_partitions_are_for_every_edition_since_2016_sp1(version: str, partitions: bool) -> None:
    assert Features.of((version, *SQL_2022[1:])).partitions is partitions


@pytest.mark.parametrize(
    ("row", "type_"),
    [
        (("varchar", 20, None, None, None), "varchar(20)"),
        (("varchar", -1, None, None, None), "varchar(max)"),
        (("nvarchar", 40, None, None, None), "nvarchar(40)"),
        (("text", 2147483647, None, None, None), "text"),
        (("decimal", None, 16, 4, None), "decimal(16,4)"),
        (("numeric", None, 10, 0, None), "decimal(10,0)"),
        (("datetime", None, None, None, 3), "datetime"),
        (("datetime2", None, None, None, 0), "datetime2(0)"),
        (("datetimeoffset", None, None, None, 7), "datetimeoffset(7)"),
        (("timestamp", None, None, None, None), "rowversion"),
        (("float", None, 53, None, None), "float"),
        (("bigint", None, 19, 0, None), "bigint"),
        (("uniqueidentifier", None, None, None, None), "uniqueidentifier"),
        (("binary", 8, None, None, None), "binary(8)"),
    ],
    ids=str,
)
def test_a_column_of_the_information_schema_has_a_type_of_the_catalog(row: tuple[Any, ...], type_: str) -> None:
    assert sql_type(*row) == SqlType.parse(type_)


@pytest.mark.parametrize("name", ["sql_variant", "geography", "hierarchyid", "vector"])
def test_a_type_that_cannot_be_replicated_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"type {name} cannot be replicated"):
        sql_type(name, None, None, None, None)


def test_a_rowversion_is_kept_as_its_bytes() -> None:
    assert kept(SqlType.parse("rowversion")) == SqlType.parse("binary(8)")
    assert kept(SqlType.parse("datetime")) == SqlType.parse("datetime")


@pytest.mark.parametrize("table", [*catalog.load()], ids=lambda table: table.name)
def test_the_driver_s_buffers_stay_bounded(table: Table) -> None:
    if table.columns:
        rows = batch_rows(table.columns.values(), Settings().batch_bytes)
        assert 256 <= rows <= 8192
        assert rows * row_bytes(list(table.columns.values())) <= 128 * 2**20


def test_each_kind_of_connection_has_its_engine() -> None:
    assert isinstance(source_of(CONNECTION), MssqlSource)
    assert isinstance(warehouse_of(CONNECTION, Settings()), MssqlWarehouse)


def test_no_checksum_is_asked_of_the_server() -> None:
    with pytest.raises(ValueError, match="no checksum"):
        sql.digest(SALES, "[dbo].[t]", MONTH, Level.CHECKSUM)


class Answers:
    """A session that gives prepared answers and remembers what it was asked."""

    def __init__(self, *answers: tuple[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def exec_driver_sql(self, text: str, values: tuple[Any, ...] = ()) -> Any:
        self.asked.append(text)
        assert text.count("?") == len(values)
        for start, answer in self.answers:
            if text.strip().startswith(start):
                if isinstance(answer, list):
                    return answer
                return SimpleNamespace(rowcount=answer)
        return SimpleNamespace(rowcount=0)

    def fetch(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        return list(self.exec_driver_sql(text, values))

    def commit(self) -> None: ...


class CountOf(list[tuple[int]]):
    """The answer to a count."""

    def __init__(self, rows: int) -> None:
        super().__init__([(rows,)])

    def scalar_one(self) -> int:
        return self[0][0]


TAKEN = (TAKE_LOCK.strip()[:20], [(0,)])


def publication(session: Answers, **fields: Any) -> Publication:
    return Publication(session, SALES, MONTH, **{"staged": 3, **fields})  # type: ignore[arg-type]


def test_a_window_is_published_under_the_lock_and_in_order() -> None:
    session = Answers(TAKEN, ("SELECT MIN", [(1, 9)]), ("DELETE FROM [dbo]", 2), ("INSERT", 3))
    published = publication(session).run(5.0)
    assert (published.rows, published.replaced, published.moved) == (3, 2, 2)
    kinds = [" ".join(text.split()[:3]) for text in session.asked]
    assert kinds == [
        "SET LOCK_TIMEOUT 5000",
        "SET NOCOUNT ON;",
        "SET NOCOUNT OFF",
        "SELECT MIN(CONVERT(bigint, [ID])),",
        "DELETE FROM [staging].[copy_SALES__20251001_20251101]",
        "DELETE FROM [dbo].[copy_SALES]",
        "DELETE FROM [dbo].[copy_SALES]",
        "INSERT INTO [dbo].[copy_SALES]",
        "DROP TABLE IF",
    ]


def test_rows_that_went_missing_between_staging_and_replica_stop_the_publish() -> None:
    session = Answers(TAKEN, ("SELECT MIN", [(1, 9)]), ("INSERT", 2))
    with pytest.raises(TransientError, match="3 rows are staged, 2 were inserted"):
        publication(session).run(5.0)


def test_a_lock_that_is_not_to_be_had_is_worth_a_retry() -> None:
    with pytest.raises(LockTimeout, match=r"publish lock of copy_SALES was not to be had \(-1\)"):
        publication(Answers((TAKE_LOCK.strip()[:20], [(-1,)]))).run(5.0)


def test_text_is_looked_at_only_where_other_characters_than_ascii_were_seen() -> None:
    lost = ("SELECT TOP", [(7,)])
    publication(Answers(TAKEN, lost, ("SELECT MIN", [(None, None)]), ("INSERT", 3))).run(5.0)
    with pytest.raises(ValueDoesNotFit, match="column NAME of the row with ID 7: the warehouse's collation lacks"):
        publication(Answers(TAKEN, lost), not_ascii={"NAME"}).run(5.0)


def test_a_whole_month_is_switched_in_where_the_replica_has_its_partition() -> None:
    bounds = [(MONTH.start, 11), (MONTH.end, 12)]
    answers = (TAKEN, ("SELECT MIN", [(None, None)]), ("SELECT CAST(r.value", bounds), ("SELECT COUNT_BIG", [(5,)]))
    columns = ("SELECT COLUMN_NAME", [(name, "int") for name in SALES.columns])
    session = Answers(*answers, columns, ("INSERT INTO [staging]", 3))
    published = publication(session, partitions=True).run(5.0)
    assert (published.rows, published.replaced) == (3, 5)
    assert session.asked[-4:-1] == partitions.swap(SALES, MONTH, 11)
    assert not any(text.startswith("DELETE FROM [dbo]") for text in session.asked)


def test_a_month_is_not_switched_into_a_replica_that_has_other_columns() -> None:
    bounds = [(MONTH.start, 11), (MONTH.end, 12)]
    columns = ("SELECT COLUMN_NAME", [(name, "int") for name in [*SALES.columns, "GONE"]])
    answers = (TAKEN, ("SELECT MIN", [(None, None)]), ("SELECT CAST(r.value", bounds), columns)
    session = Answers(*answers, ("INSERT INTO [dbo]", 3))
    assert publication(session, partitions=True).run(5.0).rows == 3
    assert not any("SWITCH" in text for text in session.asked)


@pytest.mark.parametrize("found", [{}, {MONTH.start: 11}, {MONTH.start: 11, MONTH.end: 13}], ids=str)
def test_a_partition_of_another_span_is_not_switched(found: dict[date, int]) -> None:
    assert partitions.number_of(MONTH, found) is None


class Bulk:
    """A driver that takes rows, as the real one does, and says how many it copied."""

    def __init__(self, lost: int = 0, error: Exception | None = None) -> None:
        self.lost, self.error, self.seen = lost, error, 0

    def load(self, connection: Connection, application: str, table: str, columns: Any, batches: Any) -> int:
        assert table == "[staging].[copy_SALES__20251001_20251101]"
        assert columns == list(SALES.columns)
        for batch in batches:
            self.seen += batch.num_rows
        if self.error:
            raise self.error
        return self.seen - self.lost


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    session = Answers(("SELECT COUNT_BIG", CountOf(4)))

    @contextmanager
    def begin(self: MssqlWarehouse) -> Iterator[Answers]:
        yield session

    monkeypatch.setattr(MssqlWarehouse, "begin", begin)
    return session.asked


def load(monkeypatch: pytest.MonkeyPatch, driver: Bulk, *names: str) -> MssqlStaging:
    monkeypatch.setattr(warehouse_module, "driver_for", lambda connection: driver)
    staging = MssqlStaging(SALES, MONTH, MssqlWarehouse(CONNECTION))
    rows = [{"ID": n, "DAY": MONTH.start, "NAME": name, "V": b"12345678"} for n, name in enumerate(names)]
    batch = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(SALES))
    told: list[int] = []
    loaded = staging.load(iter([batch, batch]), lambda rows, size: told.append(rows))
    assert told == [batch.num_rows, 2 * batch.num_rows]
    assert loaded.rows == staging.rows == 2 * batch.num_rows
    return staging


def test_a_load_makes_the_heap_and_notes_what_is_not_ascii(
    monkeypatch: pytest.MonkeyPatch, executed: list[str]
) -> None:
    assert load(monkeypatch, Bulk(), "a", "b").not_ascii == set()
    assert load(monkeypatch, Bulk(), "a", "Żółć").not_ascii == {"NAME"}
    assert [text.split(" (")[0] for text in executed[:2]] == [
        "DROP TABLE IF EXISTS [staging].[copy_SALES__20251001_20251101]",
        "CREATE TABLE [staging].[copy_SALES__20251001_20251101]",
    ]


@pytest.mark.parametrize(
    ("driver", "error"),
    [(Bulk(lost=1), "4 rows were sent, the server copied 3"), (Bulk(error=ConnectionLost("link down")), "link down")],
    ids=["rows lost", "link lost"],
)
def test_a_load_that_fails_leaves_the_staging_table_empty(
    monkeypatch: pytest.MonkeyPatch, executed: list[str], driver: Bulk, error: str
) -> None:
    with pytest.raises(TransientError, match=error):
        load(monkeypatch, driver, "a", "b")
    assert executed[-1] == "TRUNCATE TABLE [staging].[copy_SALES__20251001_20251101]"


def test_rows_that_the_server_does_not_have_fail_the_load_whatever_the_driver_says(
    monkeypatch: pytest.MonkeyPatch, executed: list[str]
) -> None:
    with pytest.raises(TransientError, match="6 rows were sent, the server copied 4"):
        load(monkeypatch, Bulk(), "a", "b", "c")
    assert executed[-1].startswith("TRUNCATE TABLE")


def test_a_value_that_is_too_long_is_refused_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch, executed: list[str]
) -> None:
    with pytest.raises(ValueDoesNotFit, match="column NAME of the row with ID 1"):
        load(monkeypatch, Bulk(), "a", "longer than ten")
    assert executed[-1].startswith("TRUNCATE TABLE")


def primary(**extra: Any) -> MssqlSource:
    return MssqlSource(Connection.of("pos_source", kind="mssql", host="server", extra=extra))


def test_a_writable_primary_is_refused_unless_allowed() -> None:
    answers = Answers(("SELECT CAST(SERVERPROPERTY", [SQL_2022]))
    with pytest.raises(AccessDenied, match=r"writable primary.*allow_primary"):
        primary().assert_readable(answers)  # type: ignore[arg-type]
    assert not primary(allow_primary=True).assert_readable(answers).read_only  # type: ignore[arg-type]
    assert not primary(allow_primary="true").assert_readable(answers).read_only  # type: ignore[arg-type]
    replica = Answers(("SELECT CAST(SERVERPROPERTY", [AZURE_REPLICA]))
    assert primary().assert_readable(replica).read_only  # type: ignore[arg-type]
