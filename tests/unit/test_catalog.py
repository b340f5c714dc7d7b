"""The catalog of the project, and what is refused when one is read."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from include import catalog
from include.catalog import Catalog, SqlType, loader
from include.catalog.editing import read_entry, save_columns
from include.errors import BadRequest, CatalogError, SchemaMismatch

SALES_TABLES = [
    "APP_4_SALES",
    "APP_4_SALESITEM",
    "APP_4_PAYMENT",
    "APP_4_VOIDSALESITEM",
    "APP_4_SALESCREDITNOTE",
    "APP_4_SALESCREDITNOTEITEM",
    "APP_4_SALESDEBITNOTE",
    "APP_4_SALESDEBITNOTEITEM",
    "APP_4_EPAYMENTLOG",
    "APP_4_VOUCHER",
]

DEFAULTS = {"source_schema": "pos", "target_schema": "dbo", "target_table": "copy_{table}", "key": ["ID"]}
WINDOW = {"strategy": "window", "date": "DAY"}
COLUMNS = {"ID": "bigint", "DAY": "date", "WRITTEN": "varchar(10)", "VERSION": "rowversion"}


def test_the_project_catalog_holds_the_whole_point_of_sale() -> None:
    tables = list(catalog.load())
    described = [table for table in tables if table.columns]
    assert len(tables) == 38
    assert len(described) == 36
    assert sum(len(table.columns) for table in described) == 2093
    assert [table.name for table in tables if not table.columns] == ["APP_4_STAFF", "APP_4_TERMINAL"]
    assert [table.name for table in tables if table.optional] == ["APP_4_STAFF", "APP_4_TERMINAL"]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("APP_4_SALES", 184),
        ("APP_4_SALESITEM", 197),
        ("APP_4_PAYMENT", 70),
        ("APP_4_ITEM", 190),
        ("LOCATION_DETAIL", 14),
        ("APP_4_EXTENDEDSALESITEM", 6),
    ],
)
def test_a_table_has_all_columns_of_the_source(name: str, columns: int) -> None:
    assert len(catalog.load()[name].columns) == columns


def test_the_types_are_those_of_the_source() -> None:
    types = [str(type_) for type_ in catalog.load()["APP_4_SALES"].columns.values()]
    counts = {text: types.count(text) for text in ("decimal(16,4)", "date", "datetime", "tinyint", "rowversion")}
    assert counts == {"decimal(16,4)": 26, "date": 6, "datetime": 3, "tinyint": 17, "rowversion": 1}


def test_the_sales_tables_are_run_in_their_order() -> None:
    assert [table.name for table in catalog.load().group("sales")] == SALES_TABLES


@pytest.mark.parametrize("name", ["APP_4_ITEM", "APP_4_STOCK"])
def test_items_and_stock_are_reference_tables(name: str) -> None:
    table = catalog.load()[name]
    assert table.groups == ("reference",)
    assert table.strategy == "refresh"


def test_every_table_is_read_in_some_run() -> None:
    assert [table.name for table in catalog.load() if not table.groups] == []


def test_each_sales_table_has_a_date_a_key_and_a_rowversion() -> None:
    for table in catalog.load().group("sales"):
        assert table.date in table.columns
        assert table.key == ("ID",)
        assert table.rowversion is not None
        assert table.columns[table.rowversion] == SqlType("rowversion")


def test_dates_written_as_text_say_how() -> None:
    written = {table.name: table.date_format for table in catalog.load() if table.date_is_text}
    assert written == {"APP_4_SALESQUANTITIES": "dd/mm/yyyy", "APP_4_ORDERITEM": "dd/mm/yyyy"}


def test_no_column_name_is_cut_by_postgres() -> None:
    assert [name for table in catalog.load() for name in table.columns if len(name.encode()) > 63] == []


def test_picking_nothing_means_all_of_the_group() -> None:
    assert [table.name for table in catalog.load().pick([], "sales")] == SALES_TABLES


def test_picked_tables_come_once_and_in_the_order_of_the_run() -> None:
    picked = catalog.load().pick(["APP_4_VOUCHER", "APP_4_SALES", "APP_4_VOUCHER"], "sales")
    assert [table.name for table in picked] == ["APP_4_SALES", "APP_4_VOUCHER"]


@pytest.mark.parametrize("name", ["APP_4_ITEM", "app_4_sales", "NO_SUCH_TABLE"])
def test_a_table_outside_of_the_group_cannot_be_picked(name: str) -> None:
    with pytest.raises(BadRequest, match=f"not sales tables: {name}; choose from .*APP_4_SALES"):
        catalog.load().pick(["APP_4_SALES", name], "sales")


def test_an_unknown_table_is_told_how_to_be_added() -> None:
    with pytest.raises(BadRequest, match=r"NO_SUCH_TABLE.*add-table NO_SUCH_TABLE"):
        catalog.load()["NO_SUCH_TABLE"]


@dataclass(frozen=True)
class Files:
    """A catalog of its own: ``SALES`` replicated by windows, ``ITEM`` as a whole."""

    folder: Path

    @property
    def tables(self) -> Path:
        return self.folder / "tables.yaml"

    @property
    def columns(self) -> Path:
        return self.folder / "columns.json"

    def write(self, tables: Any, columns: Any | None = None, defaults: Any = DEFAULTS) -> None:
        self.tables.write_text(yaml.safe_dump({"defaults": defaults, "tables": tables}, sort_keys=False))
        self.columns.write_text(json.dumps(dict.fromkeys(tables, COLUMNS) if columns is None else columns))

    def read(self) -> Catalog:
        return loader.read(self.tables, self.columns)

    def refusal(self) -> str:
        with pytest.raises(CatalogError) as refused:
            self.read()
        return str(refused.value)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write({"SALES": WINDOW, "ITEM": {"strategy": "refresh"}})
    return files


def test_defaults_are_filled_in(files: Files) -> None:
    files.write(
        {"SALES": {**WINDOW, "key": ["ID", "DAY"]}, "ITEM": {"strategy": "refresh", "target_table": "items"}},
        defaults={**DEFAULTS, "rowversion": "VERSION"},
    )
    sales, item = files.read()
    assert (sales.source_schema, sales.target_schema, sales.target_table) == ("pos", "dbo", "copy_SALES")
    assert (sales.key, sales.rowversion, sales.soft_delete) == (("ID", "DAY"), "VERSION", None)
    assert (item.key, item.target_table) == (("ID",), "items")


def test_a_default_can_be_taken_back(files: Files) -> None:
    files.write({"SALES": {**WINDOW, "rowversion": None}}, defaults={**DEFAULTS, "rowversion": "GONE"})
    assert files.read()["SALES"].rowversion is None


def test_tables_keep_the_order_of_the_file(files: Files) -> None:
    files.write({name: {"strategy": "refresh"} for name in ("B", "C", "A")})
    assert [table.name for table in files.read()] == ["B", "C", "A"]


def test_columns_keep_the_order_of_the_source(files: Files) -> None:
    assert list(files.read()["SALES"].columns) == list(COLUMNS)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"strategy": "widnow", "date": "DAY"}, "strategy: Input should be 'window' or 'refresh'"),
        ({"date": "DAY"}, "strategy: Field required"),
        ({**WINDOW, "stratgy": "window"}, "stratgy: unknown field"),
        ({**WINDOW, "columns": {}}, "columns: unknown field"),
        ({**WINDOW, "name": "OTHER"}, "name: unknown field"),
        ({**WINDOW, "groups": ["sale"]}, "groups.0: Input should be"),
        ({**WINDOW, "groups": "sales"}, "groups: Input should be a valid tuple"),
        ({**WINDOW, "key": "ID"}, "key: Input should be a valid tuple"),
        ({**WINDOW, "rows": -1}, "rows: Input should be greater than or equal to 0"),
        ({**WINDOW, "date_format": "yyyy-mm-dd"}, "date_format: Input should be 'dd/mm/yyyy'"),
        ({"strategy": "window"}, "date: strategy window needs a date column"),
        ({"strategy": "refresh", "groups": ["sales"]}, "groups: a table of group sales has strategy window"),
        ({"strategy": "window", "date": "GONE"}, "date: the table has no column 'GONE'"),
        ({**WINDOW, "key": ["ID", "GONE"]}, "key[1]: the table has no column 'GONE'"),
        ({**WINDOW, "rowversion": "GONE"}, "rowversion: the table has no column 'GONE'"),
        ({**WINDOW, "soft_delete": "GONE"}, "soft_delete: the table has no column 'GONE'"),
        ({"strategy": "window", "date": "WRITTEN"}, "date_format: WRITTEN is varchar(10), say how"),
        ({**WINDOW, "date_format": "dd/mm/yyyy"}, "date_format: DAY is date, not text"),
        ({"strategy": "window", "date": "ID"}, "date: ID is bigint, not a date"),
        ({**WINDOW, "target_table": None}, "target_table: Input should be a valid string"),
        ({**WINDOW, "target_table": "x" * 44}, "target_table: 'xxx"),
        ({**WINDOW, "target_table": "é" * 22}, "target_table: 'ééé"),
        ({**WINDOW, "target_table": "copy_ITEM"}, "target_table: copy_ITEM is that of ITEM"),
        ({**WINDOW, "policies": {"GONE": "null"}}, "policies: GONE: the table has no column 'GONE'"),
        ({**WINDOW, "policies": {"WRITTEN": "mask"}}, "policies.WRITTEN: Input should be 'copy', 'null' or 'hash'"),
        ({**WINDOW, "policies": {"ID": "hash"}}, "policies: ID: date, key and rowversion are copied as they are"),
        ({**WINDOW, "policies": {"DAY": "null"}}, "policies: DAY: date, key and rowversion are copied as they are"),
        (
            {**WINDOW, "policies": {"WRITTEN": "hash"}},
            "policies: WRITTEN: a hash is text of 64 characters, varchar(10)",
        ),
        ({**WINDOW, "indexes": [["ID"], ["GONE"]]}, "indexes: GONE: the table has no column 'GONE'"),
        ({**WINDOW, "typed": {"GONE": "hh:mm:ss"}}, "typed: GONE: the table has no column 'GONE'"),
        ({**WINDOW, "typed": {"DAY": "dd/mm/yyyy"}}, "typed: DAY is date, not text"),
        ({**WINDOW, "typed": {"WRITTEN": "mm/dd/yyyy"}}, "typed.WRITTEN: Input should be 'dd/mm/yyyy'"),
        ({**WINDOW, "quality": {"nulls": {"most": 0}}}, "quality.nulls.[key]: Input should be 'null_keys'"),
        ({**WINDOW, "quality": {"volume": {"most": -1}}}, "quality.volume.most: Input should be greater"),
        (
            {**WINDOW, "parent": {"table": "NONE", "column": "ID", "parent_column": "ID"}},
            "parent: NONE is not in the catalog",
        ),
        (
            {**WINDOW, "parent": {"table": "ITEM", "column": "ID", "parent_column": "NO"}},
            "parent: ITEM has no column 'NO'",
        ),
        (None, "expected a mapping, found None"),
        (["window"], "expected a mapping, found ['window']"),
    ],
)
def test_a_wrong_field_is_named_with_its_file_and_table(files: Files, fields: Any, told: str) -> None:
    files.write({"ITEM": {"strategy": "refresh"}, "SALES": fields})
    assert files.refusal().startswith(f"tables.yaml: SALES: {told}")


@pytest.mark.parametrize(
    ("types", "told"),
    [
        ({"ID": "bigint", "DAY": "dat"}, "SALES: DAY: not a column type: 'dat'"),
        ({"ID": 8}, "SALES: ID: "),
        (["ID"], "SALES: expected a mapping, found ['ID']"),
    ],
)
def test_a_wrong_type_is_named_with_its_file_table_and_column(files: Files, types: Any, told: str) -> None:
    files.write({"SALES": WINDOW}, {"SALES": types})
    assert files.refusal().startswith(f"columns.json: {told}")


def test_a_table_without_columns_has_to_be_optional(files: Files) -> None:
    files.write({"SALES": WINDOW}, {})
    assert files.refusal() == "tables.yaml: SALES: columns: unknown; fetch them with `python -m include add-table`"
    files.write({"SALES": {**WINDOW, "optional": True}}, {})
    assert files.read()["SALES"].columns == {}


def test_columns_of_a_table_that_is_not_listed_are_refused(files: Files) -> None:
    files.write({"SALES": WINDOW}, {"SALES": COLUMNS, "STRAY": COLUMNS})
    assert files.refusal() == "columns.json: STRAY: not in tables.yaml"


def test_passwords_of_customers_never_leave_the_source() -> None:
    changed = {table.name: table.changed for table in catalog.load() if table.changed}
    assert changed == {"APP_4_CUSTOMER": {"PASSWORD": "null", "API_PASSWORD": "null"}}
    assert catalog.load()["APP_4_CUSTOMER"].policies["IC"] == "copy"
    assert not catalog.load().hashes


def test_text_dates_are_typed_wherever_a_table_has_them_as_text(files: Files) -> None:
    files.write({"SALES": WINDOW})
    forms = {"text_dates": {"dd/mm/yyyy": ["WRITTEN", "DAY", "ELSEWHERE"]}}
    files.tables.write_text(files.tables.read_text() + yaml.safe_dump(forms))
    assert files.read()["SALES"].typed == {"WRITTEN": "dd/mm/yyyy"}


def test_a_threshold_of_a_table_takes_the_place_of_the_usual_one(files: Files) -> None:
    usual = {"null_keys": {"most": 0, "breach": "fail"}, "volume": {"most": 0.5}}
    own = {"volume": {"most": 2}}
    files.write({"SALES": {**WINDOW, "quality": own}}, defaults={**DEFAULTS, "quality": usual})
    quality = files.read()["SALES"].quality
    assert {metric: (limit.most, limit.breach) for metric, limit in quality.items()} == {
        "null_keys": (0, "fail"),
        "volume": (2, "warn"),
    }


def test_an_unknown_default_is_refused(files: Files) -> None:
    files.write({"SALES": WINDOW}, defaults={**DEFAULTS, "strategy": "window"})
    assert files.refusal().startswith("tables.yaml: defaults: strategy: unknown field, expected one of key, ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("defualts: {}\n", "tables.yaml: defualts: unknown field, expected one of defaults, tables"),
        ("- SALES\n", "tables.yaml: expected a mapping, found ['SALES']"),
        ("", "tables.yaml: expected a mapping, found None"),
        ("tables: [SALES]\n", "tables.yaml: tables: expected a mapping"),
        ("defaults: [1]\n", "tables.yaml: defaults: expected a mapping"),
        ("tables:\n  SALES: {}\n  SALES: {}\n", "tables.yaml: line 3: SALES: named twice"),
        ("tables:\n  SALES: {key: [ID], key: [DAY]}\n", "tables.yaml: line 2: key: named twice"),
        ("tables:\n  SALES: {strategy: window\n", "tables.yaml: line 3: "),
        ("tables:\n  SALES: {target_table: {{table}}}\n", "tables.yaml: line 2: a name is expected"),
        ("tables: {SALES: !!python/object/apply:os.getcwd []}\n", "tables.yaml: line 1: "),
        ("tables: {NO: {strategy: refresh}}\n", "tables.yaml: False: name: Input should be a valid string"),
    ],
)
def test_a_file_of_another_form_is_refused(files: Files, text: str, told: str) -> None:
    files.columns.write_text("{}")
    files.tables.write_text(text)
    assert files.refusal().startswith(told)


@pytest.mark.parametrize("name", ["tables.yaml", "columns.json"])
def test_a_file_that_cannot_be_read_is_named(files: Files, name: str) -> None:
    file = files.folder / name
    file.unlink()
    assert files.refusal() == f"{name}: cannot be read: No such file or directory"
    file.mkdir()
    assert files.refusal() == f"{name}: cannot be read: Is a directory"
    file.rmdir()
    file.write_bytes('{"é": 1}'.encode("latin-1"))
    assert files.refusal() == f"{name}: is no plain UTF-8 text"


@pytest.mark.parametrize(("text", "told"), [("{\n]", "line 2"), ("", "line 1"), ("[]", "expected a mapping")])
def test_broken_columns_are_refused(files: Files, text: str, told: str) -> None:
    files.columns.write_text(text)
    assert files.refusal().startswith(f"columns.json: {told}")


def types_of(texts: dict[str, str]) -> dict[str, SqlType]:
    return {name: SqlType.parse(text) for name, text in texts.items()}


def test_an_entry_is_read_before_its_columns_are_known(files: Files) -> None:
    files.write({"SALES": WINDOW, "ITEM": {"strategy": "refresh"}}, {"ITEM": COLUMNS})
    assert read_entry("SALES", files.tables) == {**DEFAULTS, **WINDOW, "target_table": "copy_SALES"}


def test_a_table_without_a_line_cannot_be_added(files: Files) -> None:
    with pytest.raises(CatalogError, match=r"tables\.yaml: NEW: not there; write its line first"):
        read_entry("NEW", files.tables)


def test_a_new_table_is_written_at_its_place(files: Files) -> None:
    files.write(
        {name: {"strategy": "refresh"} for name in ("FIRST", "NEW", "LAST")}, {"LAST": COLUMNS, "FIRST": COLUMNS}
    )
    table = save_columns("NEW", types_of({"ID": "int", "NOTE": "nvarchar(max)"}), files.tables, files.columns)
    written = json.loads(files.columns.read_text())
    assert list(written) == ["FIRST", "NEW", "LAST"]
    assert written["NEW"] == {"ID": "int", "NOTE": "nvarchar(max)"}
    assert written["FIRST"] == written["LAST"] == COLUMNS
    assert files.read()["NEW"] == table


def test_the_columns_of_a_changed_table_are_replaced(files: Files) -> None:
    save_columns("ITEM", types_of({"ID": "bigint", "ADDED": "int"}), files.tables, files.columns)
    tables = files.read()
    assert list(tables["ITEM"].columns) == ["ID", "ADDED"]
    assert list(tables["SALES"].columns) == list(COLUMNS)


def test_a_rowversion_that_the_source_keeps_as_bytes_stays_a_rowversion(files: Files) -> None:
    files.write({"SALES": {**WINDOW, "rowversion": "VERSION"}})
    found = types_of({"ID": "int", "DAY": "date", "VERSION": "varbinary(max)", "PHOTO": "varbinary(max)"})
    table = save_columns("SALES", found, files.tables, files.columns)
    assert table.columns["VERSION"] == SqlType("rowversion")
    assert table.columns["PHOTO"] == SqlType("varbinary")


@pytest.mark.parametrize(
    ("found", "error", "told"),
    [
        (None, SchemaMismatch, "SALES: the source has no such table"),
        ({"ID": "int"}, CatalogError, r"tables\.yaml: SALES: date: the table has no column 'DAY'"),
        ({"DAY": "date"}, CatalogError, r"tables\.yaml: SALES: key\[0\]: the table has no column 'ID'"),
        ({"ID": "int", "DAY": "varchar(10)"}, CatalogError, "SALES: date_format: DAY is varchar"),
        ({}, CatalogError, "SALES: columns: unknown"),
    ],
)
def test_columns_that_do_not_fit_the_line_are_not_written(
    files: Files, found: dict[str, str] | None, error: type[Exception], told: str
) -> None:
    before = files.columns.read_bytes()
    with pytest.raises(error, match=told):
        save_columns("SALES", None if found is None else types_of(found), files.tables, files.columns)
    assert files.columns.read_bytes() == before
    assert {file.name for file in files.folder.iterdir()} == {"tables.yaml", "columns.json"}


def test_fetching_the_same_columns_again_changes_no_table(tmp_path: Path) -> None:
    tables = Path(shutil.copy(loader.TABLES_FILE, tmp_path))
    columns = Path(shutil.copy(loader.COLUMNS_FILE, tmp_path))
    sales = catalog.load()["APP_4_SALES"]
    save_columns(sales.name, sales.columns, tables, columns)
    assert [(table, list(table.columns)) for table in loader.read(tables, columns)] == [
        (table, list(table.columns)) for table in catalog.load()
    ]
