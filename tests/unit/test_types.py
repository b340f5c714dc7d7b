"""Column types: as the catalog writes them, in PostgreSQL, in Arrow."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include import catalog
from include.catalog import SqlType
from include.engines.arrow import arrow_schema, arrow_type, conform
from include.engines.postgres.types import postgres_type, sql_type
from include.errors import ValueDoesNotFit
from tests.unit.tables import make_table

PLAIN = [
    *("tinyint", "smallint", "int", "bigint", "bit", "real", "float", "money", "smallmoney"),
    *("date", "datetime", "smalldatetime", "text", "ntext", "image", "uniqueidentifier", "xml", "rowversion"),
]

#: Catalog type, its type in PostgreSQL's DDL, how ``format_type`` shows that one, its Arrow type.
TYPES = [
    ("tinyint", "smallint", "smallint", pa.uint8()),
    ("smallint", "smallint", "smallint", pa.int16()),
    ("int", "integer", "integer", pa.int32()),
    ("bigint", "bigint", "bigint", pa.int64()),
    ("bit", "boolean", "boolean", pa.bool_()),
    ("real", "real", "real", pa.float32()),
    ("float", "double precision", "double precision", pa.float64()),
    ("money", "numeric(19,4)", "numeric(19,4)", pa.decimal128(19, 4)),
    ("smallmoney", "numeric(10,4)", "numeric(10,4)", pa.decimal128(10, 4)),
    ("decimal(16,4)", "numeric(16,4)", "numeric(16,4)", pa.decimal128(16, 4)),
    ("decimal(18,0)", "numeric(18,0)", "numeric(18,0)", pa.decimal128(18, 0)),
    ("decimal(38,38)", "numeric(38,38)", "numeric(38,38)", pa.decimal128(38, 38)),
    ("date", "date", "date", pa.date32()),
    ("time(7)", "time(6)", "time(6) without time zone", pa.string()),
    ("time(6)", "time(6)", "time(6) without time zone", pa.time64("us")),
    ("datetime", "timestamp(3)", "timestamp(3) without time zone", pa.timestamp("us")),
    ("smalldatetime", "timestamp(0)", "timestamp(0) without time zone", pa.timestamp("us")),
    ("datetime2(7)", "timestamp(6)", "timestamp(6) without time zone", pa.string()),
    ("datetime2(0)", "timestamp(0)", "timestamp(0) without time zone", pa.timestamp("us")),
    ("datetimeoffset(3)", "varchar(34)", "character varying(34)", pa.string()),
    ("char(5)", "varchar(5)", "character varying(5)", pa.string()),
    ("nchar(5)", "varchar(5)", "character varying(5)", pa.string()),
    ("varchar(255)", "varchar(255)", "character varying(255)", pa.string()),
    ("nvarchar(50)", "varchar(50)", "character varying(50)", pa.string()),
    ("varchar(max)", "text", "text", pa.string()),
    ("nvarchar(max)", "text", "text", pa.string()),
    ("text", "text", "text", pa.string()),
    ("ntext", "text", "text", pa.string()),
    ("xml", "text", "text", pa.string()),
    ("binary(8)", "bytea", "bytea", pa.binary()),
    ("varbinary(max)", "bytea", "bytea", pa.binary()),
    ("image", "bytea", "bytea", pa.binary()),
    ("rowversion", "bytea", "bytea", pa.binary()),
    ("uniqueidentifier", "uuid", "uuid", pa.string()),
]


def type_texts() -> st.SearchStrategy[str]:
    lengths = st.one_of(st.just("max"), st.integers(1, 8000))
    return st.one_of(
        st.sampled_from(PLAIN),
        st.builds("var{}({})".format, st.sampled_from(["char", "binary"]), lengths),
        st.builds("nvarchar({})".format, lengths),
        st.builds("{}({})".format, st.sampled_from(["char", "nchar", "binary"]), st.integers(1, 8000)),
        st.builds("{}({})".format, st.sampled_from(["time", "datetime2", "datetimeoffset"]), st.integers(0, 7)),
        st.integers(1, 38).flatmap(lambda digits: st.builds(f"decimal({digits},{{}})".format, st.integers(0, digits))),
    )


@given(type_texts())
def test_a_type_is_read_back_from_its_text(text: str) -> None:
    type_ = SqlType.parse(text)
    assert str(type_) == text
    assert SqlType.parse(str(type_)) == type_


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("timestamp", "rowversion"),
        ("numeric(16,4)", "decimal(16,4)"),
        ("decimal(10)", "decimal(10,0)"),
        ("datetime2", "datetime2(7)"),
        ("time", "time(7)"),
    ],
)
def test_other_names_of_a_type_are_understood(text: str, written: str) -> None:
    assert str(SqlType.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        *("", "foo", "sql_variant", "geography", "INT", " int", "int ", "int\n", "varchar", "varchar()", "varchar(x)"),
        *("varchar(-1)", "varchar(5,2)", "varchar(max,2)", "int(4)", "float(53)", "decimal", "decimal(max)"),
        *("decimal(16,)", "decimal(16, 4)", "decimal(39,4)", "decimal(4,5)", "decimal(١٦,٤)"),
        *("datetime2(max)", "datetime2(3,1)", "datetime2(8)", "time(10)", "int; drop table x"),
    ],
)
def test_what_is_no_type_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="not a column type") as refused:
        SqlType.parse(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(("text", "declared", "shown", "arrow"), TYPES)
def test_each_type_has_its_place_in_postgres_and_arrow(
    text: str, declared: str, shown: str, arrow: pa.DataType
) -> None:
    type_ = SqlType.parse(text)
    assert postgres_type(type_) == declared
    assert arrow_type(type_) == arrow


@pytest.mark.parametrize(("text", "declared", "shown", "arrow"), TYPES)
def test_a_copy_of_a_copy_has_the_same_columns(text: str, declared: str, shown: str, arrow: pa.DataType) -> None:
    assert postgres_type(sql_type(shown)) == declared


@given(type_texts())
def test_every_type_can_be_kept(text: str) -> None:
    type_ = SqlType.parse(text)
    assert postgres_type(type_)
    assert arrow_type(type_)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("numeric(16,4)", "decimal(16,4)"),
        ("character varying(45)", "varchar(45)"),
        ("character varying", "varchar(max)"),
        ("character(3)", "char(3)"),
        ("timestamp without time zone", "datetime2(6)"),
        ("timestamp(3) without time zone", "datetime2(3)"),
        ("timestamp with time zone", "datetimeoffset(6)"),
        ("time without time zone", "time(6)"),
        ("bytea", "varbinary(max)"),
    ],
)
def test_columns_of_a_postgres_source_get_a_catalog_type(shown: str, text: str) -> None:
    assert str(sql_type(shown)) == text


@pytest.mark.parametrize(
    "shown", ["numeric", "numeric(50,10)", "numeric(5,-2)", "jsonb", "integer[]", "interval", "point", '"my"."type"']
)
def test_a_postgres_type_without_a_place_is_refused(shown: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be replicated|not a column type"):
        sql_type(shown)


def test_the_catalog_uses_no_type_that_is_untested() -> None:
    used = {type_.base for table in catalog.load() for type_ in table.columns.values()}
    assert used <= {SqlType.parse(text).base for text, *_ in TYPES}


def test_batches_have_the_columns_of_the_catalog_in_its_order() -> None:
    table = catalog.load()["APP_4_SALES"]
    schema = arrow_schema(table)
    assert schema.names == list(table.columns)
    assert schema.field("DOUBLE_TOTAL_AMOUNT").type == pa.decimal128(16, 4)


@pytest.mark.parametrize(
    ("text", "is_text", "is_temporal"),
    [
        *(
            (text, True, False)
            for text in ("char(1)", "varchar(max)", "nchar(2)", "nvarchar(9)", "text", "ntext", "xml")
        ),
        *((text, False, True) for text in ("date", "datetime", "smalldatetime", "datetime2(3)", "datetimeoffset(7)")),
        *((text, False, False) for text in ("time(7)", "int", "rowversion", "decimal(16,4)", "uniqueidentifier")),
    ],
)
def test_a_type_says_whether_it_is_text_or_has_a_date(text: str, is_text: bool, is_temporal: bool) -> None:
    type_ = SqlType.parse(text)
    assert (type_.is_text, type_.is_temporal) == (is_text, is_temporal)


def conformed(values: list[Any], found: pa.DataType, type_: str) -> list[Any]:
    table = make_table({"ID": "bigint", "DAY": "date", "V": type_})
    schema = pa.schema([arrow_schema(table).field("V")])
    batch = pa.RecordBatch.from_arrays([pa.array(values, found)], names=["V"])
    result = conform(batch, schema)
    assert result.schema == schema
    return result.column(0).to_pylist()


def test_a_tinyint_takes_all_of_its_range() -> None:
    assert conformed([0, 255, None], pa.int16(), "tinyint") == [0, 255, None]


@pytest.mark.parametrize("value", [-1, 256])
def test_a_value_outside_of_its_type_names_the_column(value: int) -> None:
    with pytest.raises(ValueDoesNotFit, match="column V") as refused:
        conformed([1, value], pa.int16(), "tinyint")
    assert str(value) not in str(refused.value)


def test_decimals_of_text_are_exact_at_the_extremes() -> None:
    texts = ["999999999999.9999", "-999999999999.9999", "0.0001", "-0.0001", "0.0000", "12.3000", None]
    exact = [text and Decimal(text) for text in texts]
    assert conformed(texts, pa.string(), "decimal(16,4)") == exact


@given(st.integers(-(10**16) + 1, 10**16 - 1))
def test_no_digit_of_a_decimal_is_lost(unscaled: int) -> None:
    value = Decimal(unscaled).scaleb(-4)
    assert conformed([f"{value:f}"], pa.string(), "decimal(16,4)") == [value]


@pytest.mark.parametrize("text", ["1000000000000.0000", "0.00001", "NaN", "Infinity", "", "1,5"])
def test_a_text_that_is_no_such_decimal_names_the_column(text: str) -> None:
    with pytest.raises(ValueDoesNotFit, match="column V"):
        conformed([text], pa.string(), "decimal(16,4)")


def test_values_of_the_right_type_pass_untouched() -> None:
    moment = datetime.fromisoformat("2025-10-31T23:59:59.997")
    assert conformed([moment, None], pa.timestamp("us"), "datetime") == [moment, None]
    assert conformed([date.min, date.max], pa.date32(), "date") == [date.min, date.max]


def test_an_extension_type_is_kept_as_what_it_stores() -> None:
    storage = pa.array(["1.5000"])
    column = pa.ExtensionArray.from_storage(pa.opaque(pa.string(), "numeric", "PostgreSQL"), storage)
    batch = pa.RecordBatch.from_arrays([column], names=["V"])
    schema = pa.schema([("V", pa.decimal128(16, 4))])
    assert conform(batch, schema).column(0).to_pylist() == [Decimal("1.5")]


def test_a_batch_with_other_columns_is_refused() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["V", "W"])
    with pytest.raises(ValueError):
        conform(batch, pa.schema([("V", pa.int64())]))
