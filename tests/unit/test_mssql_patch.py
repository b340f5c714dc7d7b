"""Keys, versions and patches of SQL Server at the drivers' seam: the order of steps, what is bound and held back."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import time
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from include.catalog import Table
from include.connections import Connection, parse
from include.engines.arrow import arrow_schema, pairs_schema
from include.engines.base import VERSION, Changed, DaySum, Level, Published
from include.engines.mssql import MssqlSource, MssqlWarehouse, sql
from include.engines.mssql import warehouse as warehouse_module
from include.engines.mssql.patch import Patch
from include.engines.mssql.publish import TAKE_LOCK, Publication
from include.engines.mssql.source import MssqlSnapshot
from include.engines.mssql.warehouse import MssqlStaging
from include.errors import LockTimeout, NotConfigured, TransientError, ValueDoesNotFit
from include.settings import Settings
from include.windows import CHANGES, UNDATED, WHOLE
from tests.unit.tables import make_table
from tests.unit.test_mssql_engine import MONTH, SALES, TAKEN, Answers

CONNECTION = parse("warehouse", "mssql://loader:secret@server/MarryBrown_DW")
TWO_KEYS = make_table({"ID": "bigint", "AT": "time(3)", "DAY": "date", "V": "rowversion"}, key=["ID", "AT"])
REFERENCE = make_table({"ID": "int", "V": "rowversion"}, strategy="refresh", date=None, rowversion="V")
HASHED = make_table({"ID": "int", "DAY": "date", "CARD": "varchar(80)"}, policies={"CARD": "hash"})


def kinds(session: Answers) -> list[str]:
    return [" ".join(text.split()[:3]) for text in session.asked]


def patch(session: Answers, staged: int = 3, **fields: Any) -> Patch:
    return Patch(session, SALES, CHANGES, staged, **fields)  # type: ignore[arg-type]


def test_rows_are_patched_under_the_lock_and_in_order() -> None:
    session = Answers(
        *(TAKEN, ("DELETE FROM [dbo].[copy_SALES] WHERE EXISTS", 2), ("DELETE FROM [dbo]", 1), ("INSERT", 3))
    )
    assert patch(session).apply([[(7,), (8,)], [(9,)]], 5.0) == Changed(inserted=1, updated=2, deleted=2)
    assert kinds(session) == [
        "SET LOCK_TIMEOUT 5000",
        "SET NOCOUNT ON;",
        "SET NOCOUNT OFF",
        "DELETE FROM [dbo].[copy_SALES]",
        "DELETE FROM [dbo].[copy_SALES]",
        "DELETE FROM [dbo].[copy_SALES]",
        "INSERT INTO [dbo].[copy_SALES]",
        "DROP TABLE IF",
    ]
    assert session.asked[4].endswith("WHERE [ID] IN (CONVERT(bigint, ?), CONVERT(bigint, ?))")
    assert session.asked[-1].endswith("[staging].[copy_SALES__changes]")


def test_staged_rows_that_were_not_inserted_stop_the_patch() -> None:
    session = Answers(TAKEN, ("INSERT", 2))
    with pytest.raises(TransientError, match="3 rows are staged, 2 were inserted"):
        patch(session).apply([], 5.0)
    assert not any(text.startswith("DROP") for text in session.asked)


def test_a_patch_looks_for_lost_characters_before_it_deletes() -> None:
    session = Answers(TAKEN, ("SELECT TOP", [(7,)]))
    with pytest.raises(ValueDoesNotFit, match="column NAME of the row with ID 7"):
        patch(session, not_ascii={"NAME"}).apply([[(1,)]], 5.0)
    assert not any(text.startswith("DELETE") for text in session.asked)


def test_a_patch_queues_behind_publishes_of_the_table() -> None:
    with pytest.raises(LockTimeout, match="publish lock of copy_SALES"):
        patch(Answers((TAKE_LOCK.strip()[:20], [(-1,)]))).apply([], 5.0)


def test_a_whole_table_tells_what_became_of_its_rows_and_has_none_elsewhere() -> None:
    session = Answers(TAKEN, ("SELECT COUNT_BIG", [(4, 1)]), ("DELETE", 6), ("INSERT", 5))
    published = Publication(session, REFERENCE, WHOLE, 5, partitions=True).run(5.0)  # type: ignore[arg-type]
    assert published == Published(rows=5, replaced=6, moved=0, changed=Changed(inserted=1, updated=1, deleted=2))
    assert kinds(session)[3:] == [
        "SELECT COUNT_BIG(*), COALESCE(SUM(CASE",
        "DELETE FROM [dbo].[copy_SALES]",
        "INSERT INTO [dbo].[copy_SALES]",
        "DROP TABLE IF",
    ]
    assert session.asked[4].endswith("WHERE 1 = 1")


@pytest.mark.parametrize("fields", [{"key": []}, {"rowversion": None}], ids=str)
def test_without_key_or_rowversion_nothing_is_told(fields: dict[str, Any]) -> None:
    table = REFERENCE.model_copy(update=fields)
    session = Answers(TAKEN, ("DELETE", 6), ("INSERT", 5))
    assert Publication(session, table, WHOLE, 5).run(5.0).changed is None  # type: ignore[arg-type]


class Engine(Answers):
    """A session of the warehouse that remembers the keys it bound and the statements it was given."""

    def __init__(self, *answers: tuple[str, Any]) -> None:
        super().__init__(*answers)
        self.bound: list[tuple[Any, ...]] = []
        self.executed: list[Any] = []

    def exec_driver_sql(self, text: str, values: tuple[Any, ...] = ()) -> Any:
        if " IN (" in text:
            self.bound.append(values)
        return super().exec_driver_sql(text, values)

    def execute(self, statement: Any) -> None:
        self.executed.append(statement)


def warehouse_with(session: Answers, monkeypatch: pytest.MonkeyPatch) -> MssqlWarehouse:
    @contextmanager
    def begin(self: MssqlWarehouse) -> Iterator[Answers]:
        yield session

    monkeypatch.setattr(MssqlWarehouse, "begin", begin)
    return MssqlWarehouse(CONNECTION, settings=Settings(publish_wait=5.0, publish_lock_wait=0.01))


def test_a_patch_steps_back_and_tries_again_then_records(monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([-1, 0])

    class Busy(Engine):
        def exec_driver_sql(self, text: str, values: tuple[Any, ...] = ()) -> Any:
            found = super().exec_driver_sql(text, values)
            return [(next(results),)] if text == TAKE_LOCK else found

    session = Busy(("DELETE FROM [dbo]", 1), ("INSERT", 2))
    warehouse = warehouse_with(session, monkeypatch)
    keys = pa.table({"ID": list(range(4500))}, schema=pa.schema([("ID", pa.int64())]))
    statements, told = [sa.text("SELECT 1"), sa.text("SELECT 2")], []

    def record(changed: Changed) -> Sequence[sa.Executable]:
        told.append(changed)
        return statements

    changed = warehouse.patch(
        MssqlStaging(SALES, CHANGES, warehouse, rows=2), keys, record, lambda: told.append(Changed(0, 0, 0))
    )
    assert changed == Changed(inserted=1, updated=1, deleted=3)
    assert told == [changed, Changed(0, 0, 0)]
    assert session.executed == statements
    assert [len(values) for values in session.bound] == [2000, 2000, 500]
    assert [value for values in session.bound for value in values] == list(range(4500))


def test_what_is_raised_before_the_commit_leaves_a_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise TransientError("the lock was lost")

    warehouse = warehouse_with(Engine(TAKEN), monkeypatch)
    gone = pa.table({"ID": pa.array([], pa.int64())})
    with pytest.raises(TransientError, match="SALES: repairing: the lock was lost"):
        warehouse.patch(MssqlStaging(SALES, CHANGES, warehouse), gone, lambda changed: [], lost)


class Rows:
    """A session that is read: it gives one batch a query and remembers what it was asked."""

    def __init__(self, row: dict[str, Any] | None = None, days: Sequence[tuple[Any, ...]] = ()) -> None:
        self.row, self.days = row, days
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def batches(
        self, query: str, values: Sequence[Any], batch_rows: int, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        assert query.count("?") == len(values)
        self.asked.append((query, tuple(values)))
        yield pa.RecordBatch.from_pylist([self.row] if self.row else [], schema=schema)

    def fetch(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        self.asked.append((text, values))
        return list(self.days)

    def close(self) -> None: ...


def snapshot(session: Rows, table: Table, secret: bytes | None = None) -> MssqlSnapshot:
    source = MssqlSource(Connection.of("pos_source", kind="mssql", host="server"), secret=secret)
    return MssqlSnapshot(table, WHOLE, session, source)  # type: ignore[arg-type]


def test_rows_are_asked_for_by_as_many_keys_as_can_be_bound() -> None:
    session = Rows()
    keys = pa.table({"ID": pa.array(range(2001), pa.int64())})
    assert [batch.schema for batch in snapshot(session, SALES).rows_of(keys)] == [arrow_schema(SALES)] * 2
    assert [len(values) for _, values in session.asked] == [2000, 1]
    assert session.asked[1][0].endswith("FROM [pos].[SALES] WHERE [ID] IN (CONVERT(bigint, ?))")


def test_a_composite_key_binds_fewer_rows_and_times_whole() -> None:
    session = Rows()
    moment = time(13, 45, 0, 123000)
    keys = pa.table({"ID": pa.array(range(1001), pa.int64()), "AT": pa.array([moment] * 1001, pa.time64("us"))})
    assert len(list(snapshot(session, TWO_KEYS).rows_of(keys))) == 2
    assert [len(values) for _, values in session.asked] == [2000, 2]
    query, values = session.asked[1]
    assert query.endswith("WHERE ([ID] = CONVERT(bigint, ?) AND [AT] = CONVERT(time(3), ?))")
    assert values == (1000, "13:45:00.123000")


def test_pairs_are_key_and_rowversion_or_key_and_hash() -> None:
    session = Rows({"ID": 7, "DAY": MONTH.start, "NAME": "a", "V": b"12345678", VERSION: b"12345678"})
    view = snapshot(session, SALES)
    (versions,) = view.pairs(Level.VERSIONS)
    (hashes,) = view.at(MONTH).pairs(Level.CHECKSUM)
    assert versions.to_pylist() == [{"ID": 7, VERSION: b"12345678"}]
    assert hashes.schema == pairs_schema(SALES, Level.CHECKSUM)
    assert session.asked[0] == (
        "SELECT [ID] AS [ID], CONVERT(binary(8), [V]) AS [row version] FROM [pos].[SALES] WHERE 1 = 1",
        (),
    )
    assert session.asked[1][1] == (MONTH.start, MONTH.end)
    assert "[NAME]" in session.asked[1][0]


def test_pairs_above_a_mark_bind_it() -> None:
    session = Rows()
    list(snapshot(session, SALES).pairs_above(b"\0" * 8))
    ((query, values),) = session.asked
    assert query.endswith("WHERE [V] > CONVERT(binary(8), ?)")
    assert values == (b"\0" * 8,)


def test_the_copy_gives_its_pairs_in_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Rows({"ID": 7, VERSION: b"12345678"})
    opened: list[str] = []

    class Driver:
        def open(self, connection: Connection, application: str, *, read_only: bool) -> Rows:
            opened.append(application)
            return session

    monkeypatch.setattr(warehouse_module, "driver_for", lambda connection: Driver())
    warehouse = MssqlWarehouse(CONNECTION)
    assert len(list(warehouse.pairs_of(SALES, pa.table({"ID": pa.array(range(2001), pa.int64())})))) == 2
    assert opened == ["retail-sync"]
    assert [len(values) for _, values in session.asked] == [2000, 1]
    (pairs,) = warehouse.pairs(SALES, UNDATED, Level.VERSIONS)
    assert pairs.schema == pairs_schema(SALES, Level.VERSIONS)
    assert session.asked[-1][0].endswith("FROM [dbo].[copy_SALES] WHERE [DAY] IS NULL")


@pytest.mark.parametrize("found", [None, b"12345678"], ids=str)
def test_the_copy_knows_its_highest_rowversion(monkeypatch: pytest.MonkeyPatch, found: bytes | None) -> None:
    class Highest(list[Any]):
        def scalar(self) -> bytes | None:
            return found

    assert warehouse_with(Answers(("SELECT TOP (1) [V]", Highest())), monkeypatch).highest_version(SALES) == found


@pytest.mark.parametrize(("rows", "days"), [(0, {}), (3, {None: DaySum(3, 30)})], ids=str)
def test_a_table_without_a_date_has_one_day_or_none(rows: int, days: dict[None, DaySum]) -> None:
    session = Rows(days=[(None, rows, 10 * rows)])
    assert snapshot(session, REFERENCE).digest(Level.VERSIONS).days == days
    assert "GROUP BY" not in session.asked[0][0]


def test_a_hash_is_hmac_of_the_utf_16_text() -> None:
    secret, value = b"a key", "4111 żółć"
    relation = sql.source_relation(HASHED, secret)
    found = re.search(
        r"CONVERT\(varchar\(80\), LOWER\(CONVERT\(char\(64\), HASHBYTES\('SHA2_256', 0x(\w+) \+"
        r" HASHBYTES\('SHA2_256', 0x(\w+) \+ CONVERT\(varbinary\(max\), CONVERT\(nvarchar\(max\), \[CARD\]\)\)\)\),"
        r" 2\)\)\) AS \[CARD\] FROM \[pos\]\.\[SALES\]\) AS \[held_back\]$",
        relation,
    )
    assert found is not None
    outer, inner = map(bytes.fromhex, found.groups())
    text = value.encode("utf-16-le")
    made = hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).hexdigest()
    assert made == hmac.digest(secret, text, "sha256").hex()
    assert b"a key".hex() not in relation


def test_what_is_held_back_is_held_back_wherever_the_source_is_read() -> None:
    session = Rows(days=[(None, 0, 0)])
    view = snapshot(session, HASHED, b"a key")
    list(view.batches(2**20))
    list(view.rows_of(pa.table({"ID": pa.array([1], pa.int32())})))
    list(view.pairs(Level.CHECKSUM))
    view.digest(Level.CHECKSUM)
    view.digest(Level.COUNTS)
    assert len(session.asked) == 5
    assert all("HASHBYTES" in query and query.count("[pos].[SALES]") == 1 for query, _ in session.asked)
    assert "a key" not in repr(view)


def test_a_hash_needs_a_key() -> None:
    with pytest.raises(NotConfigured, match="CARD is to be hashed, but there is no key"):
        snapshot(Rows(), HASHED).batches(1)
