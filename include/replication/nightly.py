"""What a nightly run is asked to do: which days are loaded, which are checked. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from include.catalog import Catalog, Table
from include.errors import BadRequest
from include.parameters import read_day, read_days, read_flag, read_names, refuse_unknown
from include.replication.verify import Verify
from include.windows import Window

#: The parameters of a run with their defaults, in the order in which a form shows them.
DEFAULTS: dict[str, Any] = {
    "date": None,
    "start": None,
    "end": None,
    "check_fixes_only": False,
    "fix_days": 1,
    "tables": [],
    "sweep": True,
    "export": False,
}

MOST_FIX_DAYS = 366


@dataclass(frozen=True)
class NightlyRequest:
    """A request that makes sense: the days to load (T-0), those to check (T-1), and whether to sweep."""

    tables: tuple[Table, ...]
    load: Window | None
    fix: Window
    sweep: bool
    export: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the request for XCom."""
        return {
            "tables": [table.name for table in self.tables],
            "load": str(self.load) if self.load else None,
            "fix": str(self.fix),
            "sweep": self.sweep,
            "verify": Verify.CHECKSUM.value,
            "export": self.export,
            "force": False,
        }


def read_nightly(values: Mapping[str, Any], yesterday: date, catalog: Catalog, today: date) -> NightlyRequest:
    """
    Make sense of the parameters of a nightly run.

    :param values: the parameters by name; those left out have their default.
    :param yesterday: the day to load where none is named.
    :param today: the present day in the business timezone.
    :raises BadRequest: naming the parameter and what to write instead.
    """
    refuse_unknown(values, DEFAULTS)
    given = {**DEFAULTS, **values}
    named = _named_days(given, today)
    days = named or Window.inclusive(yesterday, yesterday)
    fix_days = _fix_days(given["fix_days"])
    only = read_flag("check_fixes_only", given["check_fixes_only"])
    return NightlyRequest(
        tables=tuple(catalog.pick(read_names("tables", given["tables"]), "nightly")),
        load=None if only else days,
        fix=_days_to_check(days, fix_days, themselves=only and named is not None, ranged=given["start"] is not None),
        sweep=read_flag("sweep", given["sweep"]) and not only,
        export=read_flag("export", given["export"]),
    )


def day_before(moment: datetime, zone: ZoneInfo) -> date:
    """Return the day before a moment, as the clocks of the zone show it."""
    return moment.astimezone(zone).date() - timedelta(days=1)


def _named_days(given: Mapping[str, Any], today: date) -> Window | None:
    day, bounds = given["date"], {"start": given["start"], "end": given["end"]}
    ranged = any(bound is not None for bound in bounds.values())
    if day is not None and ranged:
        raise BadRequest("date beside start and end: give one day, or a range")
    if day is not None:
        first = read_day("date", day)
        if first > today:
            raise BadRequest(f"date {first} is in the future, today is {today}")
        return Window.inclusive(first, first)
    return read_days(bounds, today) if ranged else None


def _days_to_check(days: Window, fix_days: int, *, themselves: bool, ranged: bool) -> Window:
    """The days before those that are loaded; with ``themselves`` the named days, the day's own past included."""
    if not themselves:
        return Window(days.start - timedelta(days=fix_days), days.start)
    return days if ranged else Window(days.end - timedelta(days=fix_days), days.end)


def _fix_days(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_FIX_DAYS:
        raise BadRequest(f"fix_days: expected a number of days from 1 to {MOST_FIX_DAYS}, found {value!r}")
    return value
