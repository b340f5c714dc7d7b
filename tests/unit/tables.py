"""Tables made by hand, for tests that need no catalog."""

from __future__ import annotations

from typing import Any

from include.catalog import Table


def make_table(columns: dict[str, str] | None = None, **fields: Any) -> Table:
    """Return a window table; its date column is ``DAY``, its key ``ID``."""
    values: dict[str, Any] = {
        "name": "SALES",
        "strategy": "window",
        "source_schema": "pos",
        "target_schema": "dbo",
        "target_table": "copy_SALES",
        "date": "DAY",
        "key": ["ID"],
        "columns": columns or {"ID": "bigint", "DAY": "date", "AMOUNT": "decimal(16,4)"},
    }
    return Table.model_validate({**values, **fields})
