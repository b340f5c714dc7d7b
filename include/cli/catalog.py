"""``add-table``: fetch the columns of a table that was written into tables.yaml."""

from __future__ import annotations

from typing import Annotated

import typer

from include.catalog import editing
from include.cli import common
from include.engines.factory import source_of


def add_table(
    name: Annotated[str, typer.Argument(help="A table that has its line in tables.yaml.")],
) -> None:
    """Fetch a table's columns from the source into columns.json, for a new table or a changed one."""
    config = common.settings()
    entry = editing.read_entry(name)
    found = source_of(common.source_connection(config)).column_types(str(entry["source_schema"]), name)
    table = editing.save_columns(name, found)
    common.console.print(
        f"{name}: {len(table.columns)} columns written to columns.json; `python -m include migrate` makes its replica"
    )
