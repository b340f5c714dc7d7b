"""What a maintenance run is asked to do. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from include.catalog import Catalog, Table
from include.errors import BadRequest
from include.windows import Window, parse_date

#: The parameters of a run with their defaults, in the order in which a form shows them.
DEFAULTS: dict[str, Any] = {"tables": [], "date": None}

#: Quality is measured over a week more than what a nightly run compares.
_DAYS = 35


class Step(StrEnum):
    """What is done to all tables, in this order."""

    UPKEEP = "upkeep"
    DIMENSIONS = "dimensions"
    QUALITY = "quality"


@dataclass(frozen=True)
class Request:
    """A request that makes sense: the tables in the order of the run, and the day up to which is measured."""

    tables: tuple[Table, ...]
    day: date | None = None
    """None for the day of the newest nightly run."""

    def as_dict(self) -> dict[str, Any]:
        """Return the request for XCom; ``read_request`` reads it back."""
        return {"tables": [table.name for table in self.tables], "date": self.day.isoformat() if self.day else None}


def read_request(values: Mapping[str, Any], catalog: Catalog, today: date) -> Request:
    """
    Make sense of the parameters of a run.

    :param values: the parameters by name; those left out have their default.
    :param today: the present day in the business timezone.
    :raises BadRequest: naming the parameter and what to write instead.
    """
    if unknown := sorted(set(values) - set(DEFAULTS)):
        raise BadRequest(f"unknown parameters: {', '.join(unknown)}; known are {', '.join(DEFAULTS)}")
    given = {**DEFAULTS, **values}
    return Request(_tables(given["tables"] or [], catalog), _day(given["date"], today))


def maintained(catalog: Catalog) -> list[Table]:
    """Return the tables that have a replica, in the order of a run."""
    return [table for table in catalog if table.columns]


def measured_days(day: date) -> Window:
    """Return the days of which the quality is measured, up to and including ``day``."""
    return Window.inclusive(day - timedelta(days=_DAYS - 1), day)


def _tables(names: Any, catalog: Catalog) -> tuple[Table, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise BadRequest(f"tables: expected a list of names, found {names!r}")
    tables = maintained(catalog)
    known = {table.name for table in tables}
    if unknown := [name for name in names if name not in known]:
        raise BadRequest(f"tables without a replica: {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
    return tuple(table for table in tables if not names or table.name in names)


def _day(value: Any, today: date) -> date | None:
    if value is None:
        return None
    try:
        day = parse_date(str(value))
    except ValueError as error:
        raise BadRequest(f"date: {error}") from error
    if day > today:
        raise BadRequest(f"date {day} is in the future, today is {today}")
    return day
