"""What an audit is asked to do: which tables and days, and whether to repair. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from include.catalog import Catalog, Table
from include.parameters import read_days, read_flag, read_names, refuse_unknown
from include.replication.verify import Verify
from include.windows import Window

#: The parameters of a run with their defaults, in the order in which a form shows them.
DEFAULTS: dict[str, Any] = {"start_date": None, "end_date": None, "tables": [], "repair": False}

#: Days of an audit that names none, the last of them yesterday.
DAYS = 35


@dataclass(frozen=True)
class AuditRequest:
    """A request that makes sense: the tables in the order of the run, and the days."""

    tables: tuple[Table, ...]
    window: Window
    repair: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the request for XCom."""
        return {
            "tables": [table.name for table in self.tables],
            "window": str(self.window),
            "repair": self.repair,
            "verify": Verify.CHECKSUM.value,
            "export": False,
            "force": False,
        }


def read_audit(values: Mapping[str, Any], yesterday: date, catalog: Catalog, today: date) -> AuditRequest:
    """
    Make sense of the parameters of an audit.

    :param values: the parameters by name; those left out have their default.
    :param yesterday: the last day where none is named.
    :param today: the present day in the business timezone.
    :raises BadRequest: naming the parameter and what to write instead.
    """
    refuse_unknown(values, DEFAULTS)
    given = {**DEFAULTS, **values}
    bounds = {name: given[name] for name in ("start_date", "end_date")}
    named = any(bound is not None for bound in bounds.values())
    return AuditRequest(
        tables=tuple(catalog.pick(read_names("tables", given["tables"]), "nightly")),
        window=read_days(bounds, today) if named else Window.inclusive(yesterday - timedelta(days=DAYS - 1), yesterday),
        repair=read_flag("repair", given["repair"]),
    )
