"""``replications.yaml`` is read whole: every problem is named with file, replication and field."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.cdc import loader, names
from include.cdc.models import Deletes, Mode, Replication
from include.errors import BadRequest, CatalogError
from include.settings import Settings

SHOP = {"name": "shop", "source": "shop_db", "kind": "postgres", "target_schema": "shop"}


def written(folder: Path, text: str) -> Path:
    file = folder / "replications.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def shop(**fields: object) -> Replication:
    return Replication.model_validate({**SHOP, "tables": ["public.*"], **fields})


def test_the_projects_own_file_is_valid() -> None:
    loader.load(Settings().cdc_file)


def test_defaults_hold_for_each_replication_that_does_not_say_otherwise(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        defaults: {kind: postgres, deletes: soft, source: shop_db}
        replications:
          shop: {tables: [public.orders], target_schema: shop}
          till: {tables: [public.*], target_schema: till, deletes: hard}
        """,
    )
    found = loader.load(file)
    assert list(found) == ["shop", "till"]
    assert [found[name].deletes for name in found] == [Deletes.SOFT, Deletes.HARD]
    assert loader.pick(found, "till").mode is Mode.EMBEDDED
    with pytest.raises(BadRequest, match="shop, till"):
        loader.pick(found, "shops")


def test_all_problems_are_told_at_once_with_file_replication_and_field(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        replications:
          shop: {source: a, kind: postgres, tables: [orders], target_schema: shop}
          Till: {source: a, kind: sybase, tables: [public.*], target_schema: staging, colour: red}
          goods: {source: a, kind: postgres, tables: [public.*], target_schema: goods, rename: {other.t: x}}
          stock: [1]
          first: {source: a, kind: postgres, tables: [public.*], target_schema: same}
          second: {source: a, kind: postgres, tables: [public.*], target_schema: same, target_name: "{tabel}"}
          third: {source: a, kind: postgres, tables: [public.*], target_schema: same}
        """,
    )
    with pytest.raises(CatalogError) as refused:
        loader.load(file)
    lines = str(refused.value).splitlines()
    for start in (
        "shop: tables.0:",
        "Till: name:",
        "Till: kind:",
        "Till: colour:",
        "goods: rename: other.t is not among the tables",
        "stock: has to be a mapping",
        "second: target_name: has to hold {table}",
        "third: target_schema: same is that of first",
    ):
        assert [line for line in lines if line.startswith(f"replications.yaml: {start}")], (start, lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "has to be a mapping"),
        ("replikations: {}", "replikations: unknown"),
        ("replications: [", "is no YAML"),
        ("replications: [a]", "replications: has to be a mapping"),
        ("defaults: 1", "defaults: has to be a mapping"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        loader.load(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="RETAIL_SYNC_CDC_FILE"):
        loader.load(tmp_path / "nowhere.yaml")


def test_an_empty_file_declares_nothing(tmp_path: Path) -> None:
    assert loader.load(written(tmp_path, "")) == {}
    with pytest.raises(BadRequest, match="none is declared"):
        loader.pick({}, "shop")


def test_patterns_choose_tables_and_exclude_takes_some_out() -> None:
    chosen = shop(tables=["public.*", "till.order?"], exclude=["public.tmp_*"])
    tables = ["public.orders", "public.tmp_1", "till.orders", "till.order", "other.orders", "Public.orders"]
    assert [table for table in tables if chosen.holds(table)] == ["public.orders", "till.orders"]


def test_a_table_is_renamed_by_one_line_or_by_a_template() -> None:
    chosen = shop(tables=["*.*"], target_name="{schema}_{table}", rename={"till.orders": "till_sales"})
    assert chosen.target_of("public.orders") == "public_orders"
    assert chosen.target_of("till.orders") == "till_sales"
    assert shop().target_of("public.orders") == "orders"


@pytest.mark.parametrize("schema", ["dbo", "staging", "public", "pg_catalog", "information_schema"])
def test_a_target_schema_of_others_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match="name one of its own"):
        shop(target_schema=schema)


def test_names_fit_the_servers_and_tell_epochs_apart() -> None:
    name = "a" * 30
    epoch = names.new_epoch(datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC))
    assert epoch == "20260203040506"
    assert names.slot(name, epoch) == f"{names.slot_prefix(name)}{epoch}"
    assert len(names.slot(name, epoch)) <= 63
    assert names.consumer_group("shop", epoch) == "cdc_consumer_shop_20260203040506"
    staged = {names.staging_table("shop", f"{schema}.{'t' * 80}") for schema in ("a", "b")}
    assert len(staged) == 2
    assert all(len(table) <= 63 for table in staged)
