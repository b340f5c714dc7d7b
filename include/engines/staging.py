"""What the staging table of a span is called, in every warehouse."""

from __future__ import annotations

from datetime import date

from include.catalog import Table
from include.windows import Span, Window, parse_span

STAGING_SCHEMA = "staging"


def staging_name(table: Table, span: Span) -> str:
    """Return the unqualified name of a span's staging table; ``staging_span`` reads it back."""
    suffix = f"{digits(span.start)}_{digits(span.end)}" if isinstance(span, Window) else span.name
    return f"{table.target_table}__{suffix}"


def staging_span(table: Table, name: str) -> Span | None:
    """Return the span of a staging table's name, None if it is not one of this table's."""
    prefix = f"{table.target_table}__"
    if not name.startswith(prefix):
        return None
    suffix = name.removeprefix(prefix)
    try:
        if "_" not in suffix:
            return parse_span(suffix)
        start, end = suffix.split("_")
        return Window(date.fromisoformat(start), date.fromisoformat(end))
    except ValueError:
        return None


def digits(day: date) -> str:
    """Return the eight digits of a day; ``%Y`` would not pad an early year."""
    return day.isoformat().replace("-", "")
