"""A SQL Server warehouse that is followed into: types, and that every statement is T-SQL, quoted and bound."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlglot

from include.cdc.changes import TargetTable
from include.cdc.models import Replication
from include.cdc.prerequisites import warehouse_mssql
from include.cdc.sources.base import SourceTable
from include.cdc.targets import mssql_columns, mssql_compare, mssql_copies, mssql_texts
from include.cdc.targets.base import Alteration, Refused
from include.cdc.targets.mssql import MssqlTarget
from include.cdc.targets.mssql_texts import TextTable
from include.cdc.targets.mssql_types import column_type
from include.cdc.targets.mssql_writer import moment
from include.cdc.values import SUPPORTED
from include.connections import Connection
from include.errors import (
    BreaksConstraint,
    ConnectionLost,
    DatabaseBusy,
    SchemaMismatch,
    TransientError,
    ValueDoesNotFit,
)
from tests.unit.test_tsql import assert_sqlfluff_reads, assert_sqlglot_reads

EVIL = TargetTable(
    "public.t",
    "sche]ma",
    "ta'ble",
    ("na]me", "id"),
    {"id": "bigint", "na]me": "character varying(20)", "it's": "numeric(10,2)", "at": "timestamp with time zone"},
)
SOFT = TargetTable("public.t", "copy", "t", ("id",), {"id": "uuid", "b": "bytea", "n": "numeric"}, soft=True)
KEY_ONLY = TargetTable("public.t", "copy", "t", ("id",), {"id": "integer"})


@dataclass
class Result:
    rowcount: int = 1
    value: Any = None
    rows: Sequence[tuple[Any, ...]] = ()

    def scalar(self) -> Any:
        return self.value

    scalar_one = scalar

    def first(self) -> Any:
        return self.rows[0] if self.rows else None

    one = first

    def scalars(self) -> list[Any]:
        return [row[0] for row in self.rows]

    def all(self) -> list[tuple[Any, ...]]:
        return list(self.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)


@dataclass
class Written:
    """Writes down what is said, and answers what it was told to; no server is behind it."""

    answers: dict[str, Result | Exception] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    values: list[tuple[Any, ...]] = field(default_factory=list)

    def exec_driver_sql(self, statement: str, values: tuple[Any, ...] = ()) -> Result:
        self.said.append(statement)
        self.values.append(values)
        found = next(
            (answer for begin, answer in self.answers.items() if statement.strip().startswith(begin)), Result()
        )
        if isinstance(found, Exception):
            raise found
        return found


def target(**answers: Result | Exception) -> tuple[MssqlTarget, Written]:
    written = Written(dict(answers))
    connection = Connection.of("warehouse", kind="mssql", database="dw", login="etl")
    return MssqlTarget(connection, "test", written), written  # type: ignore[arg-type]


def everything(table: TargetTable) -> list[str]:
    """Return all that is said of a table."""
    columns = [
        (name, kind, table.key.index(name) + 1 if name in table.key else 0) for name, kind in table.columns.items()
    ]
    of, written = target()
    answers = {
        "SELECT c.name, COALESCE": Result(rows=columns),
        "SELECT name FROM sys.columns": Result(rows=[(name,) for name in (*table.columns, "_deleted_at")]),
        "SELECT name FROM sys.key": Result(value="pk"),
        "SELECT name FROM sys.foreign_keys": Result(),
        "SELECT CASE p.state": Result(rows=[("GRANT SELECT", "[reader]", None)]),
        "SELECT d.name": Result(rows=[("df", "((7))")]),
        "SELECT value FROM sys.fn": Result(),
        "SELECT k.[_retail_sync_refuses]": Result(rows=[(None, *("1" for _ in table.key))]),
        "SELECT k.[_retail_sync_number]": Result(rows=[(0,)]),
        "SELECT COUNT_BIG(*), MIN": Result(rows=[(1, None)]),
        "SET NOCOUNT ON": Result(value=0),
    }
    for held in (0, 1):
        written.answers = {**answers, "SELECT COUNT(*) FROM sys.sql_expr": Result(value=held)}
        of.place("cdc_1", table.schema, table.name, soft=table.soft)
    writer, key = of.writer(table), tuple("1" for _ in table.key)
    assert writer.canonical([key]) == [key]
    assert writer.alive([key]) == {key}
    writer.truncate(0)
    writer.delete([(key, 0)])
    for update_only in (False, True):
        writer.upsert(tuple(table.columns), update_only=update_only)([tuple("1" for _ in table.columns)])
    of.begin_copy("cdc_1", table.columns, table.key, soft=table.soft)
    of.finish_copy("cdc_1", table.key)
    of.drop_copy("cdc_1")
    added, defaults = {"new": "text", "flag": "boolean"}, {"flag": "true", "new": "it's"}
    of.alter(EVIL, Alteration(added, defaults, {"id": "bigint", "it's": "numeric(12,2)"}, {"at": True}))
    of.unmarked(table, ["at"])
    of.wait_at_most(1.5)
    mssql_copies.convert(of.records, "cdc_1", mssql_copies.types_of(table.columns, table.key), 1)
    compared = [mssql_compare.count(table)]
    for kind in ("missing", "extra", "different"):
        compared += [mssql_compare.counted(table, "cdc_1", kind), mssql_compare.named(table, "cdc_1", kind)]
    return [*written.said, *mssql_copies.create_heap("cdc_1", list(table.columns)), *compared]


STATEMENTS = [
    *dict.fromkeys(itertools.chain.from_iterable(everything(table) for table in (EVIL, SOFT, KEY_ONLY))),
    *(warehouse_mssql.DATABASE, warehouse_mssql.SCHEMA, warehouse_mssql.RIGHT, warehouse_mssql.PRESENT),
]


#: Neither grammar has these: https://learn.microsoft.com/sql/t-sql/statements/alter-schema-transact-sql and
#: https://learn.microsoft.com/sql/t-sql/statements/alter-table-column-definition-transact-sql
UNKNOWN = ("ALTER SCHEMA", " WITH VALUES")


@pytest.mark.parametrize("statement", [text for text in STATEMENTS if not any(part in text for part in UNKNOWN)])
def test_a_statement_is_t_sql(statement: str) -> None:
    assert_sqlfluff_reads(statement)
    if statement.strip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP")):
        assert_sqlglot_reads(statement)


def test_values_are_bound_and_never_part_of_a_statement() -> None:
    of, written = target()
    of.writer(EVIL).delete([(("secret", "7"), 0)])
    assert not any("secret" in statement for statement in written.said)
    assert [values for values in written.values if values] == [
        ('[["secret","7","0","1970-01-01T00:00:00.000+00:00"]]',),
    ]


@pytest.mark.parametrize("type_text", sorted(SUPPORTED))
def test_every_type_that_can_be_followed_has_one_here(type_text: str) -> None:
    for is_key in (False, True):
        of = column_type(type_text, is_key=is_key)
        sqlglot.parse_one(f"CREATE TABLE t (c {of.declared})", read="tsql")
        sqlglot.parse_one(f"SELECT {of.converted.format('x')}, {of.written.format('x')}", read="tsql")
        sqlglot.parse_one(f"SELECT 1 WHERE {of.refuses('x')} AND {of.same('x', 'y')}", read="tsql")


@pytest.mark.parametrize(
    ("type_text", "declared"),
    [
        ("numeric", "decimal(38,12)"),
        ("numeric(10,2)", "decimal(10,2)"),
        ("numeric(50,10)", "decimal(38,10)"),
        ("numeric(3,5)", "decimal(5,5)"),
        ("numeric(5,-2)", "decimal(7,0)"),
        ("character varying(40)", "nvarchar(80)"),
        ("character varying(3000)", "nvarchar(max)"),
        ("character(5)", "nvarchar(10)"),
        ("text", "nvarchar(max)"),
        ("timestamp(3) without time zone", "datetime2(3)"),
        ("timestamp with time zone", "datetimeoffset(6)"),
        ("integer[]", "nvarchar(max)"),
    ],
)
def test_a_type_is_kept_by_one_that_holds_it(type_text: str, declared: str) -> None:
    assert column_type(type_text).declared == declared


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"id": "integer", "a": "numeric(39,2)", "b": "numeric(38,2)", "c": "numeric"}, "a is numeric(39,2)"),
        ({"id": "integer", "a": "text", "A": "text"}, "columns a, A differ in case only"),
        ({"id": "integer[]"}, "id is integer[] and part of the key"),
    ],
)
def test_what_cannot_be_held_or_told_apart_is_a_problem(columns: dict[str, str], text: str) -> None:
    of = {"name": "shop", "source": "shop", "kind": "postgres", "tables": ["public.*"], "target_schema": "copy"}
    table = SourceTable("public.t", ("id",), 0)
    (problem,) = warehouse_mssql.column_problems(Replication.model_validate(of), table, columns)
    assert text in str(problem)
    without = Replication.model_validate({**of, "without": {"public.t": ["a", "id"]}})
    assert warehouse_mssql.column_problems(without, table, columns) == []


def test_keys_are_told_apart_by_case_and_blanks() -> None:
    of = column_type("text", is_key=True)
    assert of.declared == "nvarchar(450) COLLATE Latin1_General_100_BIN2"
    assert "DATALENGTH(a) = DATALENGTH(b)" in of.same("a", "b")


def test_a_long_key_is_not_clustered() -> None:
    assert "CLUSTERED" in mssql_columns.primary_key("t", {"a": "integer"}, ["a"])
    assert "NONCLUSTERED" in mssql_columns.primary_key("t", {"a": "text", "b": "integer"}, ["a", "b"])


def test_a_text_that_a_column_refuses_is_named_by_the_column() -> None:
    table = TextTable(Written({"SELECT MIN": Result(value=1)}), {"a": column_type("text"), "b": column_type("date")})  # type: ignore[arg-type]
    with pytest.raises(Refused, match="column b"):
        table.put([("x", "no date")])
    types = {"id": column_type("bigint")}
    found = Written({"SELECT COUNT_BIG": Result(rows=[(1, 0)])})
    with pytest.raises(ValueDoesNotFit, match=r"column id: bigint cannot hold a value"):
        mssql_copies.convert(found, "cdc_1", types, 1)  # type: ignore[arg-type]
    assert mssql_copies.convert(found, "cdc_1", types, 1, strict=False) == 1  # type: ignore[arg-type]
    with pytest.raises(TransientError, match="2 rows were sent, the server has 1"):
        mssql_copies.convert(found, "cdc_1", types, 2)  # type: ignore[arg-type]


def test_rows_are_looked_through_once_where_all_of_them_fit() -> None:
    for number, looks in ((None, 1), (0, 2)):
        found = Written({"SELECT COUNT_BIG": Result(rows=[(1, number)])})
        mssql_copies.convert(found, "cdc_1", {"id": column_type("bigint")}, 1, strict=False)  # type: ignore[arg-type]
        assert sum("CASE WHEN" in statement for statement in found.said) == looks


def test_texts_travel_in_batches() -> None:
    rows = [("1", None), ("2", "ü")]
    (batch,) = mssql_copies.batches(rows, ["a", "b"])
    assert batch.to_pylist() == [{"a": "1", "b": None}, {"a": "2", "b": "ü"}]
    assert list(mssql_copies.batches([], ["a"])) == []


def test_a_transaction_commits_or_goes_back_as_a_whole_and_in_parts() -> None:
    of, written = target()
    with of.transaction():
        with pytest.raises(Refused), of.transaction():
            raise Refused("c")
        assert of.is_in_transaction
    begun = ["BEGIN TRANSACTION", "SAVE TRANSACTION rs_1", "ROLLBACK TRANSACTION rs_1", "COMMIT TRANSACTION"]
    assert written.said == begun
    assert not of.is_in_transaction
    written.said.clear()
    with pytest.raises(LookupError), of.transaction():
        raise LookupError
    assert written.said == ["BEGIN TRANSACTION", "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"]


def test_a_transaction_that_the_server_has_ended_is_not_gone_on_with() -> None:
    of, _ = target(ROLLBACK=DatabaseBusy("no savepoint of that name"))
    with pytest.raises(TransientError, match="has ended the whole transaction"), of.transaction(), of.transaction():
        raise BreaksConstraint("a key is there twice")
    with pytest.raises(ConnectionLost), of.transaction(), of.transaction():
        raise ConnectionLost("gone")


def test_a_moment_is_written_with_its_offset() -> None:
    assert moment(1_700_000_000_123) == "2023-11-14T22:13:20.123+00:00"


def test_a_type_that_does_not_hold_all_of_the_one_before_is_not_followed() -> None:
    of, written = target()
    wide = TargetTable("public.t", "copy", "t", ("id",), {"id": "integer", "n": "numeric(30,15)"})
    with pytest.raises(SchemaMismatch, match=r"column n is numeric at the source, and decimal\(38,12\)"):
        mssql_columns.alter(of.records, wide, Alteration(widened={"n": "numeric"}))
    written.answers["SELECT CASE WHEN"] = Result(value=1)
    added = Alteration({"at": "timestamp with time zone"}, {"at": "infinity"})
    with pytest.raises(SchemaMismatch, match="the default of its new column at is none of datetimeoffset"):
        mssql_columns.alter(of.records, wide, added)


def test_a_key_that_is_none_to_the_server_stays_as_it_is() -> None:
    of, _ = target(**{"SELECT k.[_retail_sync_refuses]": Result(rows=[(0, None, None)])})
    assert of.writer(EVIL).canonical([("too long", "1")]) == [("too long", "1")]


def test_foreign_keys_are_in_the_way_of_a_new_copy() -> None:
    of, _ = target(**{"SELECT name FROM sys.foreign_keys": Result(rows=[("fk_lines",)])})
    of.records.answers["SELECT name FROM sys.columns"] = Result(rows=[("id",)])  # type: ignore[attr-defined]
    with pytest.raises(SchemaMismatch, match="drop fk_lines"):
        of.place("cdc_1", "copy", "t", soft=False)


def test_the_texts_of_rows_are_read_from_one_json() -> None:
    of = {"a": column_type("integer"), "b": column_type("text")}
    statement = mssql_texts.insert("#t", of)
    assert statement.count("?") == 1
    assert "'$[1]'" in statement
