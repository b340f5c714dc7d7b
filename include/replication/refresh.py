"""Refresh reference tables: replace each whole, or some days of those that have a date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from include.catalog import Catalog, Table
from include.errors import BadRequest
from include.parameters import read_days, read_flag, read_names, refuse_unknown
from include.replication.verify import Verify
from include.windows import WHOLE, Span, Window, parse_span

if TYPE_CHECKING:
    from include.replication.observe import Observer
    from include.replication.run import Report, Run

#: The parameters of a run with their defaults, in the order in which a form shows them.
DEFAULTS: dict[str, Any] = {
    "tables": [],
    "full_table": True,
    "start_date": None,
    "end_date": None,
    "allow_empty": False,
    "force": False,
    "export": False,
}


@dataclass(frozen=True)
class RefreshRequest:
    """A request that makes sense: the tables, the smallest first, and the days of those that have a date."""

    tables: tuple[Table, ...]
    window: Window | None
    """None for whole tables."""
    allow_empty: bool = False
    force: bool = False
    export: bool = False

    def span_of(self, table: Table) -> Span:
        """Return what is replaced of a table: a table without a date is replaced whole."""
        return self.window if self.window and table.date else WHOLE

    def as_dict(self) -> dict[str, Any]:
        """Return the request for XCom."""
        return {
            "tables": [table.name for table in self.tables],
            "spans": {table.name: str(self.span_of(table)) for table in self.tables},
            "window": str(self.window) if self.window else None,
            "verify": Verify.CHECKSUM.value,
            "allow_empty": self.allow_empty,
            "force": self.force,
            "export": self.export,
        }


def read_refresh(values: Mapping[str, Any], catalog: Catalog, today: date) -> RefreshRequest:
    """
    Make sense of the parameters of a refresh.

    :param values: the parameters by name; those left out have their default.
    :param today: the present day in the business timezone.
    :raises BadRequest: naming the parameter and what to write instead.
    """
    refuse_unknown(values, DEFAULTS)
    given = {**DEFAULTS, **values}
    full = read_flag("full_table", given["full_table"])
    bounds = {name: given[name] for name in ("start_date", "end_date")}
    dated = any(bound is not None for bound in bounds.values())
    if full and dated:
        raise BadRequest("start_date and end_date are a filter: set full_table to false, or leave them out")
    if not full and not dated:
        raise BadRequest("full_table is false: give start_date and end_date")
    tables = catalog.pick(read_names("tables", given["tables"]), "reference")
    return RefreshRequest(
        tables=tuple(sorted(tables, key=lambda table: table.rows)),
        window=None if full else read_days(bounds, today),
        allow_empty=read_flag("allow_empty", given["allow_empty"]),
        force=read_flag("force", given["force"]),
        export=read_flag("export", given["export"]),
    )


def refresh(run: Run, table: Table, span: Span, observer: Observer, attempt: int = 1) -> Report | None:
    """
    Replace a table, or a span of it, by the source's rows.

    Returns None for a table that the source does not have.

    :raises EmptySource: if the source is empty, the copy is not, and the run does not allow that.
    """
    from include.replication.prepare import prepare
    from include.replication.replicate import replicate

    return replicate(run, table, span, observer, attempt) if prepare(run, table) else None


def span_of(request: Mapping[str, Any], table: Table) -> Span:
    """Return what a request, as XCom has it, says of a table."""
    return parse_span(request["spans"][table.name])
