"""The drivers' bookkeeping, with a stand-in for the driver's cursor: what is sent, what comes back, what is raised."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from include.connections import Connection
from include.engines.arrow import arrow_schema
from include.engines.mssql import via_mssql_python, via_pyodbc
from include.engines.mssql.via_mssql_python import MssqlPythonDriver, MssqlPythonSession
from include.engines.mssql.via_pyodbc import PyodbcDriver, PyodbcSession
from include.errors import ConnectionLost, SchemaMismatch, SourceChanged, TransientError, ValueDoesNotFit
from tests.unit.tables import make_table

CONNECTION = Connection.of("warehouse", kind="mssql")
EDGES: dict[str, list[Any]] = {
    "bigint": [-(2**63), 2**63 - 1, None],
    "tinyint": [0, 255, None],
    "bit": [True, False, None],
    "decimal(38,38)": [Decimal("0.1"), Decimal("-0." + "9" * 38), None],
    "money": [Decimal("-922337203685477.5808"), Decimal(0), None],
    "real": [0.5, -1.5, None],
    "date": [date.min, date.max, None],
    "time(6)": [time(0, 0, 0, 1), time(23, 59, 59, 999999), None],
    "datetime": [datetime(1753, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 997000), None],
    "datetime2(7)": ["0001-01-01 00:00:00.1234567", "9999-12-31 23:59:59.9999999", None],
    "datetimeoffset(7)": ["2025-10-01 00:00:00.0000000 +08:00", "", None],
    "nvarchar(20)": ["", "Żółć \U0001f600  ", None],
    "varbinary(max)": [b"", b"\x00\xff", None],
    "uniqueidentifier": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", None],
}
TABLE = make_table({"ID": "bigint", "DAY": "date"} | {f"C{n}": text for n, text in enumerate(EDGES)})
SCHEMA = arrow_schema(TABLE)
ROWS = [(n, date(2025, 10, 1), *values) for n, values in enumerate(zip(*EDGES.values(), strict=True))]
BATCH = pa.RecordBatch.from_arrays(
    [pa.array(column, field.type) for column, field in zip(zip(*ROWS, strict=True), SCHEMA, strict=True)], schema=SCHEMA
)


class Cursor:
    """A driver's cursor: gives prepared rows, takes what is loaded."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.loaded, self.sizes, self.options = answers, [], [], {}
        self.fast_executemany = False

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, *_: Any) -> Cursor:
        return self

    def fetchmany(self, rows: int) -> list[Any]:
        taken, self.answers["rows"] = self.answers["rows"][:rows], self.answers["rows"][rows:]
        return taken

    def arrow_reader(self, rows: int) -> Any:
        return iter(self.answers["batches"])

    def bulkcopy_arrow(self, table: str, reader: Any, **options: Any) -> dict[str, int]:
        self.options = options
        try:
            self.loaded += list(reader)
        except BaseException as error:
            if not self.answers.get("swallow"):
                raise RuntimeError("Failed to read next Arrow batch: something") from error
        if error := self.answers.get("error"):
            raise error
        return {"rows_copied": sum(batch.num_rows for batch in self.loaded)}

    def setinputsizes(self, sizes: list[Any]) -> None:
        self.sizes = sizes

    def executemany(self, statement: str, rows: list[Any]) -> None:
        assert statement.startswith("INSERT INTO [staging].[t] ([ID], [DAY], ")
        assert self.fast_executemany
        self.loaded += rows

    def close(self) -> None: ...


class Session:
    def __init__(self, cursor: Cursor) -> None:
        self._cursor, self.committed, self.closed = cursor, 0, 0

    def cursor(self) -> Cursor:
        return self._cursor

    def execute(self, *_: Any) -> Cursor:
        return self._cursor

    def commit(self) -> None:
        self.committed += 1

    def rollback(self) -> None: ...

    def close(self) -> None:
        self.closed += 1


def copied_by(driver: Any, cursor: Cursor, batches: Iterator[pa.RecordBatch], monkeypatch: pytest.MonkeyPatch) -> int:
    session = Session(cursor)
    monkeypatch.setattr(via_mssql_python, "_connect", lambda *_, **__: session)
    monkeypatch.setattr(via_pyodbc, "connect", lambda *_, **__: session)
    try:
        return int(driver.load(CONNECTION, "test", "[staging].[t]", list(TABLE.columns), batches))
    finally:
        assert session.closed


def test_batches_of_mssql_python_get_the_catalogs_types() -> None:
    loose = pa.schema([field.with_type(_as_driven(field.type)) for field in SCHEMA])
    driven = pa.RecordBatch.from_arrays(
        [column.cast(field.type) for column, field in zip(BATCH.columns, loose, strict=True)], schema=loose
    )
    session = MssqlPythonSession(Session(Cursor(batches=[driven, driven])))
    assert list(session.batches("SELECT", (), 10, SCHEMA)) == [BATCH, BATCH]


def _as_driven(type_: pa.DataType) -> pa.DataType:
    """The types that mssql-python 1.16 gives."""
    if pa.types.is_time(type_):
        return pa.time64("ns")
    return {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(type_, type_)


def test_rows_of_pyodbc_get_the_catalogs_types() -> None:
    session = PyodbcSession(Session(Cursor(rows=list(ROWS))))  # type: ignore[arg-type]
    batches = list(session.batches("SELECT", (), 2, SCHEMA))
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches) == pa.Table.from_batches([BATCH])


def test_a_row_of_pyodbc_that_does_not_fit_names_its_column() -> None:
    session = PyodbcSession(Session(Cursor(rows=[(2**70, *ROWS[0][1:])])))  # type: ignore[arg-type]
    with pytest.raises(ValueDoesNotFit, match="column ID: a value is no int64"):
        list(session.batches("SELECT", (), 2, SCHEMA))


@pytest.mark.parametrize(
    ("value", "type_"), [(datetime(2025, 10, 1, 12), pa.date32()), (1.5, pa.int32()), (Decimal("1.5"), pa.int64())]
)
def test_a_value_of_pyodbc_is_never_cut_to_the_catalogs_type(value: Any, type_: pa.DataType) -> None:
    session = PyodbcSession(Session(Cursor(rows=[(None,), (value,)])))  # type: ignore[arg-type]
    with pytest.raises(SchemaMismatch, match=f"column C: the source has a {type(value).__name__}, the catalog"):
        list(session.batches("SELECT", (), 2, pa.schema([("C", type_)])))


def test_a_bulk_copy_streams_names_its_columns_and_has_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = Cursor()
    assert copied_by(MssqlPythonDriver(), cursor, iter([BATCH, BATCH]), monkeypatch) == 6
    assert cursor.loaded == [BATCH, BATCH]
    assert cursor.options == {
        "timeout": 0,
        "table_lock": True,
        "keep_nulls": True,
        "column_mappings": list(TABLE.columns),
    }


def test_no_rows_are_no_copy() -> None:
    assert MssqlPythonDriver().load(CONNECTION, "test", "t", [], iter([])) == 0


@pytest.mark.parametrize("driver", [MssqlPythonDriver(), PyodbcDriver()], ids=lambda driver: driver.name)
def test_what_the_source_raises_comes_out_and_not_what_the_copy_makes_of_it(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield BATCH
        raise SourceChanged("the source went away")

    with pytest.raises(SourceChanged, match="the source went away"):
        copied_by(driver, Cursor(), broken(), monkeypatch)


class TaskTimeout(BaseException):
    """What Airflow raises in a task: no Exception."""


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.parametrize("error", [SourceChanged("gone"), TaskTimeout("late"), KeyboardInterrupt()], ids=repr)
def test_a_bulk_copy_hides_nothing_that_its_batches_raise(
    error: BaseException, swallow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield BATCH
        raise error

    with pytest.raises(type(error)) as raised:
        copied_by(MssqlPythonDriver(), Cursor(swallow=swallow), broken(), monkeypatch)
    assert raised.value is error


class PanicException(BaseException):
    __module__ = "pyo3_runtime"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("Connection reset by peer"), ConnectionLost),
        (PanicException("the core panicked"), TransientError),
        (RuntimeError("String or binary data would be truncated"), ValueDoesNotFit),
    ],
)
def test_what_the_copy_raises_is_an_error_of_ours(
    error: BaseException, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(kind, match=r"copying into \[staging\]\.\[t\]"):
        copied_by(MssqlPythonDriver(), Cursor(error=error), iter([BATCH]), monkeypatch)


def test_an_interrupt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        copied_by(MssqlPythonDriver(), Cursor(error=KeyboardInterrupt()), iter([BATCH]), monkeypatch)


def test_pyodbc_inserts_rows_with_times_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = Cursor()
    assert copied_by(PyodbcDriver(), cursor, iter([BATCH]), monkeypatch) == 3
    place = list(TABLE.columns).index(f"C{list(EDGES).index('time(6)')}")
    assert [row[place] for row in cursor.loaded] == ["00:00:00.000001", "23:59:59.999999", None]
    assert [len(row) for row in cursor.loaded] == [len(TABLE.columns)] * 3
    assert [n for n, size in enumerate(cursor.sizes) if size] == [place]
