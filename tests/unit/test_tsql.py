"""Every statement for SQL Server is T-SQL to two grammars, quotes its names and binds its values."""

from __future__ import annotations

import itertools
import re
from datetime import date

import pytest
import sqlalchemy as sa
import sqlfluff
import sqlglot
from sqlalchemy.dialects.mssql.pyodbc import MSDialect_pyodbc
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlfluff.core import Linter
from sqlglot import exp
from sqlglot.errors import ErrorLevel

from include import catalog, migrations
from include.catalog import SqlType, Table
from include.connections import parse
from include.engines.base import Level
from include.engines.mssql import ddl, features, partitions, publish, sql, warehouse
from include.engines.mssql.types import declared, readable, staged
from include.metadata import etl_progress, now
from include.replication.progress import ProgressRow
from include.windows import CHANGES, UNDATED, WHOLE, Span, Undated, Window
from tests.unit.tables import make_table

MONTH = Window(date(2025, 10, 1), date(2025, 11, 1))
EVERY_TYPE = [
    *("tinyint", "smallint", "int", "bigint", "bit", "decimal(38,10)", "money", "smallmoney", "real", "float"),
    *("date", "time(3)", "time(7)", "datetime", "smalldatetime", "datetime2(0)", "datetime2(7)", "datetimeoffset(7)"),
    *("char(5)", "varchar(20)", "varchar(max)", "nchar(5)", "nvarchar(20)", "nvarchar(max)", "text", "ntext", "xml"),
    *("binary(4)", "varbinary(20)", "varbinary(max)", "image", "uniqueidentifier", "rowversion"),
]
PLAIN = make_table({"ID": "bigint", "DAY": "date", "AMOUNT": "decimal(16,4)", "V": "rowversion"}, rowversion="V")
EVIL = make_table(
    {"a]b": "bigint", "it's": "date", "select": "varchar(20)", 'q"t': "nvarchar(20)", "żółć 漢 😀": "rowversion"},
    name="we]ird 'na\"me",
    source_schema="order",
    target_schema="sche]ma",
    target_table="cop]y 'x",
    date="it's",
    key=["a]b", "select"],
    rowversion="żółć 漢 😀",
)
TEXT_DATED = make_table(
    {"ID": "uniqueidentifier", "DAY": "varchar(10)"}, date="DAY", date_format="dd/mm/yyyy", key=["ID"]
)
ALL_TYPES = make_table({"ID": "bigint", "DAY": "datetime"} | {f"C{n}": text for n, text in enumerate(EVERY_TYPE)})
KEYLESS = make_table(key=[])
HELD_BACK = make_table(
    {"ID": "bigint", "NO": "char(5)", "DAY": "date", "it]s": "nvarchar(80)", "PIN": "text", "V": "rowversion"},
    key=["ID", "NO"],
    rowversion="V",
    policies={"it]s": "hash", "PIN": "null"},
)
UNDATED_TABLE = make_table(
    {"ID": "uniqueidentifier", "CARD": "varchar(64)", "V": "rowversion"},
    strategy="refresh",
    date=None,
    rowversion="V",
    policies={"CARD": "hash"},
)
TABLES = {
    "plain": PLAIN,
    "evil": EVIL,
    "text dated": TEXT_DATED,
    "all types": ALL_TYPES,
    "keyless": KEYLESS,
    "held back": HELD_BACK,
    "without date": UNDATED_TABLE,
}
SECRET = b"a key"


def spans_of(table: Table) -> tuple[Span, ...]:
    return (MONTH, UNDATED, WHOLE) if table.date else (WHOLE,)


def keys_of(table: Table) -> list[tuple[int, ...]]:
    """Return two keys of as many columns as the table's."""
    return [tuple(range(first, first + len(table.key))) for first in (1, 4)]


def statements(table: Table, span: Span) -> list[sql.Statement]:
    """Return all that the engine can emit for a table and a span."""
    source, target = sql.source_relation(table, SECRET), sql.target_name(table)
    found: list[sql.Statement] = [
        sql.columns_of(table.source_schema, table.name),
        *(sql.select(table, relation, span) for relation in (source, target)),
        *(
            sql.digest(table, relation, span, level)
            for relation in (source, target)
            for level in (Level.COUNTS, Level.VERSIONS)
        ),
        ddl.staging_tables(table),
        publish.delete_span(table, span),
        publish.insert_staged(table, span, target),
        *(
            publish.lost_characters(table, span, name)
            for name, type_ in table.columns.items()
            if type_.base == "varchar"
        ),
    ]
    plain = [
        *(ddl.create_schema(schema) for schema in (table.target_schema, "staging")),
        *ddl.create_replica(table),
        *ddl.create_staging(table, span),
        *(ddl.add_column(table, name, type_) for name, type_ in itertools.islice(table.columns.items(), 40)),
        ddl.drop_staging(table, span),
        ddl.empty_staging(table, span),
        ddl.count_staging(table, span),
    ]
    if table.key:
        found += [
            sql.select_where(table, source, sql.among(table, keys_of(table))),
            publish.delete_keys(table, keys_of(table)),
            publish.delete_staged_keys(table, CHANGES),
            publish.insert_staged(table, CHANGES, target),
        ]
        plain += [*ddl.create_staging(table, CHANGES), ddl.drop_staging(table, CHANGES)]
    if table.key and isinstance(span, Window | Undated):
        found += [publish.key_bounds(table, span), publish.delete_moved(table, span, 1, 2)]
    if isinstance(span, Window) and not table.date_is_text:
        plain += [
            *partitions.create_scheme(declared(table.columns[table.date or ""]), span),
            *ddl.create_replica(table, partitioned=True),
            *partitions.create_incoming(table, span),
            *partitions.swap(table, span, 7),
        ]
        found += [
            publish.insert_staged(table, span, partitions.incoming_table(table, span)),
            *(partitions.boundaries(table, span), publish.count_span(table, span)),
        ]
    if table.key and table.rowversion:
        found += [
            sql.pairs(table, source, sql.in_span(table, span)),
            sql.pairs(table, source, sql.above(table, b"12345678")),
            sql.pairs(table, target, sql.among(table, keys_of(table))),
            publish.delete_stale(table, span, 1, 2) if span != WHOLE else publish.count_kept(table, span),
        ]
        plain.append(sql.highest_version(table))
    return [*found, *((text, ()) for text in plain)]


FIXED = {
    "features": features.QUESTION,
    "rights": warehouse.RIGHTS,
    "lock": publish.TAKE_LOCK,
    "migration lock": migrations.LOCKS["mssql"],
    "wait": "SET LOCK_TIMEOUT 5000",
    "abort": "SET XACT_ABORT ON",
    "snapshot": "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
}
CASES = [
    pytest.param(text, id=f"{name} {span} {number}")
    for name, table in TABLES.items()
    for span in spans_of(table)
    for number, (text, _) in enumerate(statements(table, span))
]


def as_sent(text: str) -> str:
    """Return the statement as the server sees it: question marks are parameters."""
    numbers = itertools.count(1)
    return re.sub(r"\?", lambda _: f"@P{next(numbers)}", text)


#: A name in brackets, with ]] for a bracket in it.
NAME = re.compile(r"\[(?:[^\]]|\]\])*\]")


def assert_sqlglot_reads(text: str) -> None:
    if re.match(r"SET TRANSACTION|ALTER TABLE .+ SWITCH TO ", text):
        return  # it knows neither, sqlfluff does
    for statement in sqlglot.parse(as_sent(text), read="tsql", error_level=ErrorLevel.RAISE):
        # what sqlglot does not know it takes for a command, whatever it says
        known = not isinstance(statement, exp.Command)
        assert known or re.match(r"\s*(EXEC|DECLARE|SET|IF)\b", text), text


def assert_sqlfluff_reads(text: str) -> None:
    if "WITH (PARTITIONS" in text:
        return  # it does not know it, sqlglot does
    # it does not know that ]] is a bracket inside a name
    plain = NAME.sub(lambda name: name[0].replace("]]", "_"), as_sent(text))
    parsed = Linter(dialect="tsql").parse_string(plain + "\n")
    assert not parsed.violations, (text, parsed.violations)
    assert parsed.tree is not None
    assert "unparsable" not in parsed.tree.type_set(), text


@pytest.mark.parametrize("text", CASES)
def test_a_statement_is_t_sql_to_both_grammars(text: str) -> None:
    assert_sqlglot_reads(text)
    assert_sqlfluff_reads(text)


@pytest.mark.parametrize("text", FIXED.values(), ids=FIXED)
def test_a_fixed_statement_is_t_sql_to_both_grammars(text: str) -> None:
    assert_sqlglot_reads(text)
    assert_sqlfluff_reads(text)


@pytest.mark.parametrize("table", [*catalog.load().group("sales")], ids=lambda table: table.name)
def test_the_statements_of_the_sales_tables_are_t_sql(table: Table) -> None:
    for text, _ in statements(table, MONTH):
        assert_sqlglot_reads(text)


def test_the_migrations_are_t_sql() -> None:
    text = migrations.offline_sql("warehouse", parse("warehouse", "mssql://user@server/MarryBrown_DW"))
    batches = [batch for batch in re.split(r"(?m)^GO\s*$", text) if batch.strip()]
    assert len(batches) > len(list(catalog.load()))
    for batch in batches:
        assert_sqlglot_reads(batch)
    assert "CREATE TABLE [dbo].[com_5013_APP_4_SALES]" in text
    assert "DATETIMEOFFSET" in text
    assert "from_date DATE NULL" in text


def test_the_run_record_is_written_in_t_sql() -> None:
    dialect = MSDialect_pyodbc(paramstyle="qmark")
    dialect.server_version_info, dialect.deprecate_large_types = (16, 0), True
    row = ProgressRow(sa.create_mock_engine("mssql+pyodbc://", print), "run", PLAIN, MONTH)  # type: ignore[arg-type]
    written = [
        CreateTable(etl_progress),
        *(CreateIndex(index) for index in etl_progress.indexes),
        row.update({"status": "verified", "error": "x", "finished_at": now(), "seconds_loading": 1.5}),
        etl_progress.insert().values(run_id="run", table_name="SALES", window_name="2025-10", status="running"),
        sa.select(sa.literal(1)).where(etl_progress.c.status.in_(["published", "verified"])).limit(1),
        sa.select(etl_progress).order_by(etl_progress.c.started_at, etl_progress.c.id),
    ]
    for statement in written:
        text = str(statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))
        assert_sqlglot_reads(text)
        assert_sqlfluff_reads(text)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_values_are_only_ever_bound(table: Table) -> None:
    for text, values in itertools.chain.from_iterable(statements(table, span) for span in spans_of(table)):
        assert text.count("?") == len(values), text
        without_names = NAME.sub("", text)
        of_partitions = "PARTITION FUNCTION" in text or "CHECK (" in text  # where nothing can be bound
        assert of_partitions or "2025" not in without_names, text


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_nothing_is_used_that_another_engine_lacks(table: Table) -> None:
    lacking = r"\b(MERGE|ALTER\s+INDEX|SWITCH|CHECKSUM_AGG|BINARY_CHECKSUM|COLUMNSTORE|MIN_ACTIVE_ROWVERSION|ONLINE)\b"
    whole_months = r"SWITCH TO|WITH \(PARTITIONS"  # only where the server says that it can
    found = itertools.chain.from_iterable(statements(table, span) for span in spans_of(table))
    texts = [text for text, _ in found if not re.search(whole_months, text)]
    for text in [*texts, *FIXED.values()]:
        assert not re.search(lacking, text, re.IGNORECASE), text


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("a", "[a]"), ("a]b", "[a]]b]"), ("]", "[]]]"), ("order by", "[order by]"), ('it\'s "é"', '[it\'s "é"]')],
)
def test_a_name_is_quoted_whatever_is_in_it(name: str, quoted: str) -> None:
    assert sql.quoted(name) == quoted
    column = sqlglot.parse_one(f"SELECT {quoted} FROM [t]", read="tsql").find(exp.Column)
    assert column is not None
    assert column.name == name


@pytest.mark.parametrize("text", EVERY_TYPE)
def test_a_type_has_all_three_forms(text: str) -> None:
    type_ = SqlType.parse(text)
    for form in (declared(type_), staged(type_)):
        assert_sqlglot_reads(f"CREATE TABLE [t] ([c] {form} NULL)")
        assert_sqlfluff_reads(f"CREATE TABLE [t] ([c] {form} NULL)")
    assert_sqlfluff_reads(f"SELECT {readable(type_, '[c]')} FROM [t]")
    assert declared(type_) == ("binary(8)" if text == "rowversion" else text)


def test_the_grammars_do_refuse_what_is_no_t_sql() -> None:
    with pytest.raises(sqlglot.errors.ParseError):
        assert_sqlglot_reads("SELECT FROM WHERE")
    with pytest.raises(AssertionError):
        assert_sqlfluff_reads("SELECT [a FROM t]] WHERE (")
    assert sqlfluff.__version__
