"""What an audit found, for people: lines of a log, what is amiss, and a Parquet file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

from include.errors import PermanentError
from include.metadata import replica_audit
from include.windows import UNDATED, Window, merge

#: A row of ``replica_audit``.
Row = Mapping[str, Any]

#: What is shown of a row, with its title.
COLUMNS = {
    "table_name": "table",
    "window_name": "window",
    "rows_source": "source rows",
    "rows_warehouse": "warehouse rows",
    "equal": "equal",
    "found_by": "found by",
    "rows_missing": "missing",
    "rows_extra": "extra",
    "rows_different": "different",
    "repaired": "repaired",
}

_NUMBERS = [name for name in COLUMNS if name.startswith("rows_")]
#: A file's name has 255 bytes at most.
_LONGEST_ID = 200


def cells(row: Row) -> list[str]:
    """Return the texts of a row, by the order of ``COLUMNS``."""
    return [_cell(row[name]) for name in COLUMNS]


def lines(rows: Iterable[Row]) -> list[str]:
    """Return a table of plain text, its titles first."""
    texts = [list(COLUMNS.values()), *(cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(COLUMNS, text, widths, strict=True)
        ).rstrip()
        for text in texts
    ]


def unrepaired(rows: Sequence[Row]) -> list[str]:
    """Return a text for each table that differs and was not repaired; it names the days."""
    left = [row for row in rows if not row["equal"] and not row["repaired"]]
    return [
        f"{table}: source and warehouse differ on {', '.join(_days(found))}"
        for table, found in groupby(left, key=lambda row: row["table_name"])
    ]


def write_report(url: str, run_id: str, rows: Sequence[Row]) -> str:
    """
    Write the rows as ``<url>/audit/audit_<run_id>.parquet``, in the place of an earlier file; returns its path.

    :param url: a folder or the URL of an object store.
    :raises PermanentError: if that cannot be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from include.replication.export import _filesystem

    name = f"audit_{re.sub(r'[^A-Za-z0-9._-]', '_', run_id)[:_LONGEST_ID]}.parquet"
    schema = _schema()
    table = pa.Table.from_pylist([{field: row[field] for field in schema.names} for row in rows], schema=schema)
    try:
        filesystem, root = _filesystem(url)
        folder = f"{root}/audit"
        filesystem.create_dir(folder, recursive=True)
        with filesystem.open_output_stream(f"{folder}/.tmp-{name}") as stream:
            pq.write_table(table, stream)
        filesystem.move(f"{folder}/.tmp-{name}", f"{folder}/{name}")
    except (OSError, ValueError) as error:
        # the message may hold the whole URL, and that a password
        raise PermanentError(
            f"the audit's report {name} cannot be written: {type(error).__name__}; see RETAIL_SYNC_EXPORTS_URL"
        ) from None
    return f"{folder}/{name}"


def _schema() -> Any:
    import pyarrow as pa

    types = {
        str: pa.string(),
        int: pa.int64(),
        bool: pa.bool_(),
        date: pa.date32(),
        datetime: pa.timestamp("us", tz="UTC"),
    }
    return pa.schema(
        [(column.name, types[column.type.python_type]) for column in replica_audit.columns if column.name != "id"]
    )


def _days(rows: Iterable[Row]) -> Iterator[str]:
    """Name the days of rows, those that follow each other together; what is longer than a day is no day."""
    days = [(row["from_date"], row["to_date"]) for row in rows if row["from_date"] == row["to_date"]]
    yield from (window.name for window in merge(Window.inclusive(*pair) for pair in days if pair[0]))
    if (None, None) in days:
        yield UNDATED.name


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
