"""
What a run is asked to do: which tables, which days, and how. Pure: the clock is an argument.

Dates in a request are inclusive, as people type them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from include.catalog import Catalog, Table
from include.catalog.models import Group
from include.errors import BadRequest
from include.parameters import read_choice, read_days, read_flag, read_names, refuse_unknown
from include.replication.verify import Verify
from include.windows import Window, months


class OnFailure(StrEnum):
    """What becomes of the later tables when a window has failed."""

    CONTINUE = "continue"
    STOP = "stop"


#: The parameters of a run with their defaults, in the order in which a form shows them.
DEFAULTS: dict[str, Any] = {
    "start_date": None,
    "end_date": None,
    "tables": [],
    "export": False,
    "verify": Verify.CHECKSUM.value,
    "on_failure": OnFailure.CONTINUE.value,
    "force": False,
}


@dataclass(frozen=True)
class Request:
    """A request that makes sense: the tables in the order of the run, and the days."""

    tables: tuple[Table, ...]
    window: Window
    export: bool
    verify: Verify
    on_failure: OnFailure
    force: bool

    @property
    def months(self) -> list[Window]:
        """The windows of each table, a month or a part of one."""
        return months(self.window)

    def as_dict(self) -> dict[str, Any]:
        """Return the request for XCom."""
        return {
            "tables": [table.name for table in self.tables],
            "windows": [str(window) for window in self.months],
            "export": self.export,
            "verify": self.verify.value,
            "on_failure": self.on_failure.value,
            "force": self.force,
        }


def read_request(
    values: Mapping[str, Any], fallback: Window | None, catalog: Catalog, today: date, group: Group = "sales"
) -> Request:
    """
    Make sense of the parameters of a run.

    :param values: the parameters by name; those left out have their default.
    :param fallback: the window of a request that names no dates.
    :param today: the present day in the business timezone.
    :param group: the tables that may be named, all of it where none is.
    :raises BadRequest: naming the parameter and what to write instead.
    """
    refuse_unknown(values, DEFAULTS)
    given = {**DEFAULTS, **values}
    return Request(
        tables=tuple(catalog.pick(read_names("tables", given["tables"]), group)),
        window=_window(given["start_date"], given["end_date"], fallback, today),
        export=read_flag("export", given["export"]),
        verify=read_choice("verify", given["verify"], Verify),
        on_failure=read_choice("on_failure", given["on_failure"], OnFailure),
        force=read_flag("force", given["force"]),
    )


def interval_window(start: datetime, end: datetime, zone: ZoneInfo) -> Window:
    """
    Return the business days of a data interval.

    :raises BadRequest: if its bounds are no midnights of the zone, or it is empty.
    """
    first, last = start.astimezone(zone), end.astimezone(zone)
    if any(bound.time() != time.min for bound in (first, last)) or first >= last:
        raise BadRequest(f"data interval {first.isoformat()} .. {last.isoformat()} is no span of days in {zone.key}")
    return Window(first.date(), last.date())


def month_before(moment: datetime, zone: ZoneInfo) -> Window:
    """Return the last whole month before a moment, in the zone."""
    first = moment.astimezone(zone).date().replace(day=1)
    return Window.of_month(first - timedelta(days=1))


def _window(start: Any, end: Any, fallback: Window | None, today: date) -> Window:
    if start is None and end is None:
        if fallback is None:
            raise BadRequest("start_date and end_date are missing")
        return fallback
    return read_days({"start_date": start, "end_date": end}, today)
