"""Every statement of the maintenance for SQL Server is T-SQL to two grammars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.mssql.pyodbc import MSDialect_pyodbc

from include import catalog
from include.catalog import Table
from include.engines.mssql import sql, upkeep, views
from include.maintenance.quality import measure
from include.maintenance.request import maintained
from include.maintenance.upkeep import index_digits
from include.windows import Window
from tests.unit.tables import make_table
from tests.unit.test_tsql import assert_sqlfluff_reads, assert_sqlglot_reads

WINDOW = Window(date(2025, 9, 27), date(2025, 11, 1))
CATALOG = catalog.load()
ANY = {"most": 0.0}
EVIL = make_table(
    {"a]b": "bigint", "it's": "date", "select": "varchar(20)", 'q"t': "text", "gone": "bit", "C": "nvarchar(8)"},
    name="we]ird 'na\"me",
    target_schema="sche]ma",
    target_table="cop]y 'x",
    date="it's",
    key=["a]b", "select"],
    soft_delete="gone",
    indexes=[["it's", "select"], ["a]b"]],
    typed={"select": "dd/mm/yyyy", 'q"t': "dd/mm/yyyy hh:mm:ss", "C": "hh:mm:ss"},
    parent={"table": "parent", "column": "a]b", "parent_column": "ID"},
    quality=dict.fromkeys(("null_keys", "duplicate_keys", "unreadable_dates", "orphans", "volume"), ANY),
)
TABLES = [EVIL, *maintained(CATALOG)]


def assert_is_t_sql(text: str) -> None:
    assert_sqlglot_reads(text)
    assert_sqlfluff_reads(text)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_statement_is_t_sql_to_both_grammars(table: Table) -> None:
    texts = [
        upkeep.index_names(table)[0],
        upkeep.is_partitioned(table)[0],
        *(upkeep.create_index(table, columns) for columns in table.indexes),
        *(upkeep.drop_index(table, upkeep.index_name(columns)) for columns in table.indexes),
    ]
    for text in texts:
        assert_is_t_sql(text)
    assert_sqlfluff_reads(upkeep.update_statistics(table))  # sqlglot does not know it
    if table.typed:
        assert_sqlglot_reads(views.create_view(table, list(table.columns)))


@pytest.mark.parametrize("table", [EVIL, CATALOG["APP_4_PRICELOG"]], ids=lambda table: table.name)
def test_a_view_is_t_sql_to_both_grammars(table: Table) -> None:
    text = views.create_view(table, list(table.columns))

    assert_is_t_sql(text)
    assert text.startswith("CREATE OR ALTER VIEW [")


def test_a_view_has_what_the_replica_has() -> None:
    table = make_table({"ID": "bigint", "DAY": "date", "T": "varchar(8)", "GONE": "bit"}, soft_delete="GONE")
    table = table.model_copy(update={"typed": {"T": "hh:mm:ss"}})

    text = views.create_view(table, ["ID", "DAY", "T", "GONE", "NEW"])
    assert text.index("[NEW]") < text.index("[T_TYPED]") < text.index("[IS_DELETED]")
    assert "[T_TYPED]" not in views.create_view(table, ["ID", "DAY"])
    assert "[IS_DELETED]" not in views.create_view(table, ["ID", "DAY"])
    assert views.create_view(table, ["T", "T_TYPED"]).count("T_TYPED") == 1


def test_our_indexes_are_known_by_their_names() -> None:
    table = make_table(target_table="com_5013_X")
    found = ["ix_0a1b2c", "ix_0a1b2ccom_5013_xd41d8cd98f", "ix_decade_of_sales", "ix_0a1b2", "com_5013_X_key"]

    assert upkeep.own_indexes(table, found) == {"ix_0a1b2c"}
    assert upkeep.index_name(("A", "B")) == f"ix_{index_digits(('A', 'B'))}" != upkeep.index_name(("B", "A"))


@dataclass
class Recorder:
    """Answers every query with ones, and keeps its text in T-SQL."""

    texts: list[str] = field(default_factory=list)

    @contextmanager
    def connect(self) -> Any:
        yield self

    def execute(self, statement: Any) -> Any:
        dialect = MSDialect_pyodbc(paramstyle="qmark")
        dialect.server_version_info, dialect.deprecate_large_types = (16, 0), True
        compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        self.texts.append(str(compiled))
        return Answer(len(statement.selected_columns) if isinstance(statement, sa.Select) else 0)


@dataclass
class Answer:
    width: int
    rowcount: int = 0

    def scalar_one(self) -> int:
        return 1

    def one(self) -> tuple[int, ...]:
        return (1,) * self.width

    def __iter__(self) -> Iterator[tuple[date, int]]:
        return iter([(date(2025, 10, 31), 3), (date(2025, 10, 24), 2)])


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_metrics_are_asked_in_t_sql(table: Table) -> None:
    recorder = Recorder()
    parent = make_table({"ID": "bigint", "DAY": "date", "SALES_NO": "varchar(45)"}) if table.parent else None

    found = list(measure(recorder, "run", table, parent, WINDOW))  # type: ignore[arg-type]
    queries = [text for text in dict.fromkeys(recorder.texts) if text.startswith("SELECT")]

    assert {"null_keys", "duplicate_keys"} <= {measurement.metric for measurement in found}
    assert len(found) == len([text for text in recorder.texts if text.startswith("INSERT")])
    for text in queries:
        assert_sqlglot_reads(text)
        assert sql.quoted(table.target_schema) in text
    if table in (EVIL, CATALOG["APP_4_SALESITEM"], CATALOG["APP_4_ORDERITEM"]):
        for text in queries:
            assert_sqlfluff_reads(text)
