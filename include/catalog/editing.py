"""Write the columns of a table into the catalog, once they hold together with its line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from include.catalog import loader
from include.catalog.models import Table
from include.catalog.types import SqlType
from include.errors import SchemaMismatch


def read_entry(name: str, tables_file: Path = loader.TABLES_FILE) -> dict[str, Any]:
    """
    Return a table's fields of ``tables.yaml``, the defaults filled in.

    :raises CatalogError: if the file is wrong, or does not name the table.
    """
    return loader.read_entries(tables_file, required=name)[name]


def save_columns(
    name: str,
    columns: Mapping[str, SqlType] | None,
    tables_file: Path = loader.TABLES_FILE,
    columns_file: Path = loader.COLUMNS_FILE,
) -> Table:
    """
    Write the columns of a table, and return the table as it is now.

    :raises SchemaMismatch: if the source does not have the table.
    :raises CatalogError: if its line and the columns do not fit; nothing is written then.
    """
    if columns is None:
        raise SchemaMismatch(f"{name}: the source has no such table")
    entry = read_entry(name, tables_file)
    texts = {column: str(type_) for column, type_ in columns.items()}
    if entry.get("rowversion") in texts:
        # a source that is no SQL Server keeps it as plain bytes
        texts[entry["rowversion"]] = "rowversion"
    table = loader.build_table(tables_file, name, entry, texts)
    known = json.loads(columns_file.read_text(encoding="utf-8"))
    known[name] = texts
    ordered = {table: known[table] for table in loader.read_entries(tables_file) if table in known}
    draft = columns_file.with_suffix(".tmp")
    draft.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(columns_file)
    return table
