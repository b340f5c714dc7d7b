"""Planning cases from a file: what is given, and the windows that follow from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from include.errors import BadRequest
from include.orders_sync.pipelines import Scope
from include.orders_sync.planner import OVERLAP_DAYS, WINDOW_DAYS, Planned, Success, plan
from include.windows import Window, parse_date


def planned_cases(file: Path, default_timezone: str) -> Iterator[dict[str, Any]]:
    """
    Plan each case of a file; yields its name and windows, dates inclusive.

    :param file: JSON, ``{"cases": [{"name": …, "given": {"today", "start_date", "window_days", "overlap_days",
        "force", "log_rows": [{"from", "to", "status", "scope", "pipeline", "store_code"}], "pipeline",
        "store_code"}}]}``; ``now_utc`` with ``pipeline_timezone`` stands for ``today``.
    :raises BadRequest: for a file or a case that cannot be read, naming it.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        cases = content["cases"] if isinstance(content, dict) else content
    except (OSError, ValueError, KeyError) as error:
        raise BadRequest(f"--cases: {file} is no file of cases: {error}") from error
    for case in cases:
        name = case.get("name", "a case without name")
        try:
            windows = _planned(case["given"], default_timezone)
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise BadRequest(f"--cases: case {name}: {type(error).__name__}: {error}") from error
        dates = [[item.window.start.isoformat(), item.window.last_day.isoformat()] for item in windows]
        yield {"name": name, "windows": dates}


def _planned(given: Mapping[str, Any], default_timezone: str) -> list[Planned]:
    return plan(
        _today(given, default_timezone),
        parse_date(given["start_date"]),
        [_success(row) for row in given.get("log_rows", []) if row["status"] == "success" and _is_of(row, given)],
        window_days=given.get("window_days", WINDOW_DAYS),
        overlap_days=given.get("overlap_days", OVERLAP_DAYS),
        force=given.get("force", False),
    )


def _today(given: Mapping[str, Any], default_timezone: str) -> date:
    if "now_utc" not in given:
        return parse_date(given["today"])
    now = datetime.fromisoformat(given["now_utc"])
    return now.astimezone(ZoneInfo(given.get("pipeline_timezone", default_timezone))).date()


def _success(row: Mapping[str, Any]) -> Success:
    return Success(Window.inclusive(parse_date(row["from"]), parse_date(row["to"])), Scope(row.get("scope") or "full"))


def _is_of(row: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether a row is of the pipeline and store of its case; a row that does not say is."""
    return all(row.get(name, given.get(name)) == given.get(name) for name in ("pipeline", "store_code"))
