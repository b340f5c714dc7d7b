"""What the sections share: letters, times, texts, and columns of ``etl_progress``."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from include.metadata import etl_progress
from include.replication.progress import Phase, Status

#: Characters of an error that are shown.
ERROR_LENGTH = 200

FINISHED = (Status.PUBLISHED, Status.VERIFIED, Status.UNCHANGED)


class Letter(StrEnum):
    """How a cell or a day is; a cell that is not there is missing."""

    VERIFIED = "v"
    PUBLISHED = "p"
    CHANGED = "c"
    RUNNING = "r"
    FAILED = "f"
    NOT_EXPOSED = "n"


LETTERS = {
    Status.RUNNING: Letter.RUNNING,
    Status.PUBLISHED: Letter.PUBLISHED,
    Status.VERIFIED: Letter.VERIFIED,
    Status.UNCHANGED: Letter.VERIFIED,
    Status.FAILED: Letter.FAILED,
    Status.NOT_EXPOSED: Letter.NOT_EXPOSED,
}

CHANGED_COLUMNS = ("rows_inserted", "rows_updated", "rows_deleted")
SECONDS_COLUMNS = ("seconds_loading", "seconds_publishing", "seconds_verifying")


def total(table: sa.FromClause, names: tuple[str, ...]) -> sa.ColumnElement[Any]:
    """Return the sum of columns of a row, of which some may be NULL."""
    first, *others = (sa.func.coalesce(table.c[name], 0) for name in names)
    return sum(others, start=first)


def changed_by_fix(progress: sa.FromClause = etl_progress) -> sa.ColumnElement[Any]:
    """Return how many rows a fix check changed; 0 for a load."""
    return sa.case((progress.c.phase == Phase.FIX, total(progress, CHANGED_COLUMNS)), else_=0)


def short_error(progress: sa.FromClause = etl_progress) -> sa.ColumnElement[Any]:
    """Return the first characters of the error of a row that failed, as column ``error``."""
    failed = progress.c.status == Status.FAILED
    return sa.case((failed, sa.func.substring(progress.c.error, 1, ERROR_LENGTH))).label("error")


def unix(moment: datetime | None) -> int | None:
    """Return a time as Unix seconds."""
    return None if moment is None else int(moment.timestamp())


def iso(moment: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def whole(number: Any) -> int | None:
    """Return a number of the database as ``int``."""
    return None if number is None else int(number)
