"""The days of a month of a table, with the counts of both sides, and what was done to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa

from include.errors import BadRequest
from include.metadata import etl_progress, replica_audit, replica_days, replica_fixes
from include.overview.parts import (
    CHANGED_COLUMNS,
    LETTERS,
    SECONDS_COLUMNS,
    Letter,
    iso,
    short_error,
    total,
    whole,
)
from include.replication.progress import Phase, Status
from include.windows import Window, parse_date

#: Windows that are shown of a month.
MOST_WINDOWS = 50

_KINDS = ("inserted", "updated", "deleted")
_Rows = Sequence[Any]


def month(engine: sa.Engine, table_name: str, month: str) -> dict[str, Any]:
    """
    Return the windows of a month, newest first, and all its days.

    A day's counts are of its last comparison; where none is recorded, those of the last window of that day alone.
    ``inserted``, ``updated`` and ``deleted`` are what was repaired since the day was last loaded.

    :param month: ``2025-10``.
    :raises BadRequest: for another text.
    """
    try:
        window = Window.of_month(parse_date(f"{month}-01"))
    except ValueError:
        raise BadRequest(f"month: {month!r} is none, write it as 2025-10") from None
    with engine.connect() as connection:
        windows = _windows(connection, table_name, window)
        known = _Known(
            [row for row in windows if row["from_date"] is not None],
            {row["day"]: row for row in _of_days(connection, replica_days, table_name, window)},
            _of_days(connection, replica_fixes, table_name, window),
            _differences(connection, table_name, window),
        )
    return {
        "table": table_name,
        "month": month,
        "windows": [_shown(row) for row in windows[:MOST_WINDOWS]],
        "days": [known.day(window.start + timedelta(days=number)) for number in range(window.days)],
    }


@dataclass(frozen=True)
class _Known:
    """What is known of a month, newest first."""

    windows: _Rows
    compared: dict[date, Any]
    fixes: _Rows
    differences: _Rows

    def day(self, day: date) -> dict[str, Any]:
        windows = [row for row in self.windows if row["from_date"] <= day <= row["to_date"]]
        newest = windows[0] if windows else None
        compared, loaded_at = self.compared.get(day), self._loaded_at(windows)
        sums = self._repaired(day, windows, loaded_at)
        rows_source, rows_warehouse, equal = _counts(compared, windows)
        letter = self._letter(day, newest, loaded_at, changed=any(sums.values()) or equal is False)
        by_comparison = compared is not None and (newest is None or _at(newest) < compared["compared_at"])
        at, run = (compared["compared_at"], compared["run_id"]) if by_comparison and compared else (None, None)
        if not by_comparison and newest is not None:
            at, run = _at(newest), newest["run_id"]
        return {
            "day": day.isoformat(),
            "rows_source": rows_source,
            "rows_warehouse": rows_warehouse,
            "equal": equal,
            "status": letter,
            **sums,
            "at": iso(at),
            "run": run,
            "error": newest["error"] if newest is not None and letter is Letter.FAILED else None,
        }

    def _letter(self, day: date, newest: Any, loaded_at: Any, *, changed: bool) -> Letter | None:
        if newest is None:
            return None
        letter = LETTERS[newest["status"]]
        found = any(
            row["from_date"] <= day <= row["to_date"] and (loaded_at is None or row["audited_at"] > loaded_at)
            for row in self.differences
        )
        return Letter.CHANGED if letter is Letter.VERIFIED and (changed or found) else letter

    def _repaired(self, day: date, windows: _Rows, loaded_at: Any) -> dict[str, int | None]:
        """Return what was repaired since a time: by day, or of windows of this day alone where that is not known."""
        fixes = [row for row in self.fixes if row["day"] == day and _is_after(row["fixed_at"], loaded_at)]
        known = {row["run_id"] for row in fixes}
        alone = [
            row
            for row in windows
            if row["phase"] == Phase.FIX and row["from_date"] == row["to_date"] and row["run_id"] not in known
        ]
        fixes += [row for row in alone if _is_after(row["finished_at"], loaded_at)]
        counts = {kind: [row[f"rows_{kind}"] for row in fixes] for kind in _KINDS}
        return {kind: sum(count or 0 for count in found) if found else None for kind, found in counts.items()}

    @staticmethod
    def _loaded_at(windows: Iterable[Any]) -> Any:
        loads = (row for row in windows if row["phase"] == Phase.LOAD and row["status"] == Status.VERIFIED)
        return max((row["finished_at"] for row in loads if row["finished_at"]), default=None)


def _counts(compared: Any, windows: _Rows) -> tuple[int | None, int | None, bool | None]:
    """Return the rows of both sides, and whether they are equal; None for what is not known."""
    if compared is not None:
        return compared["rows_source"], compared["rows_warehouse"], compared["equal"]
    for row in windows:
        if row["from_date"] == row["to_date"] and row["status"] in (Status.VERIFIED, Status.PUBLISHED):
            is_equal = True if row["status"] == Status.VERIFIED else None
            return row["rows_source"], row["rows_published"], is_equal
    return None, None, None


def _windows(connection: sa.Connection, table_name: str, window: Window) -> _Rows:
    """Return all windows that hold a day of the month, the newest first."""
    columns = [column for column in etl_progress.columns if column.name not in ("error", "id", "export_path")]
    query = (
        sa.select(*columns, short_error(), total(etl_progress, SECONDS_COLUMNS).label("seconds"))
        .where(
            etl_progress.c.table_name == table_name,
            etl_progress.c.from_date <= window.last_day,
            etl_progress.c.to_date >= window.start,
        )
        .order_by(etl_progress.c.started_at.desc(), etl_progress.c.id.desc())
    )
    return connection.execute(query).mappings().all()


def _of_days(connection: sa.Connection, table: sa.Table, table_name: str, window: Window) -> list[Any]:
    query = sa.select(table).where(table.c.table_name == table_name, table.c.day.between(window.start, window.last_day))
    return list(connection.execute(query).mappings())


def _differences(connection: sa.Connection, table_name: str, window: Window) -> _Rows:
    """Return the days on which the last audit of each found a difference that nobody repaired."""
    columns = (replica_audit.c[name] for name in ("from_date", "to_date", "equal", "repaired", "audited_at"))
    query = (
        sa.select(*columns)
        .where(
            replica_audit.c.table_name == table_name,
            replica_audit.c.from_date <= window.last_day,
            replica_audit.c.to_date >= window.start,
        )
        .order_by(replica_audit.c.audited_at.desc(), replica_audit.c.id.desc())
    )
    rows = connection.execute(query).mappings().all()
    clear = [row for row in rows if row["equal"] or row["repaired"]]
    return [
        row
        for row in rows
        if not row["equal"]
        and not row["repaired"]
        and row["from_date"] == row["to_date"]
        and not any(
            other["from_date"] <= row["from_date"] <= other["to_date"] and other["audited_at"] > row["audited_at"]
            for other in clear
        )
    ]


def _shown(row: Any) -> dict[str, Any]:
    numbers = ("rows_source", "rows_published", "bytes_read", *CHANGED_COLUMNS)
    return {
        "window": row["window_name"],
        **{name: row[name] for name in ("phase", "status", "attempt")},
        **{name.removesuffix("_read"): whole(row[name]) for name in numbers},
        "seconds": round(row["seconds"], 1),
        "checksum": row["checksum"],
        "error": row["error"],
        "started_at": iso(row["started_at"]),
        "finished_at": iso(row["finished_at"]),
        "run": row["run_id"],
    }


def _at(row: Any) -> Any:
    return row["finished_at"] or row["started_at"]


def _is_after(moment: Any, other: Any) -> bool:
    return moment is not None and (other is None or moment > other)
