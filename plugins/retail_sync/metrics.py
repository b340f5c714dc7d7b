"""
What the work is in numbers, as metrics of Airflow: to StatsD or OpenTelemetry, whatever it is set to send to.

Names begin with ``retail_sync.``, behind the prefix that Airflow is set to. Rows, bytes, fixes and failures
count up; seconds, lag and holes are the last value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from include.cdc.health import Health
    from include.orders_sync.planner import Planned
    from include.orders_sync.summary import Summary
    from include.orders_sync.sync import Result
    from include.replication.run import Report

_PREFIX = "retail_sync"
_FIXES = ("inserted", "updated", "deleted")


def of_report(report: Report, phase: str) -> None:
    """Send what was done to a window of a table; rows and bytes are those that were read."""
    tags = {"table": report.table, "phase": phase}
    _count("rows", report.rows_read, tags)
    _count("bytes", report.bytes_read, tags)
    _gauge("seconds", report.seconds, tags)
    if phase != "load":
        for kind in _FIXES:
            _count("fixes", getattr(report, f"rows_{kind}"), {**tags, "kind": kind})


def of_audit(table: str, days: int) -> None:
    """Send how many days of a table an audit has left different."""
    _gauge("holes", days, {"table": table, "kind": "differs"})


def of_plan(pipeline: str, codes: Iterable[str], plans: Mapping[str, Sequence[Planned]]) -> None:
    """Send how many days each store lacks before its last success."""
    from include.orders_sync.planner import Reason

    for code in codes:
        days = sum(item.window.days for item in plans.get(code, []) if item.reason is Reason.GAP)
        _gauge("holes", days, {"pipeline": pipeline, "store": code, "kind": "gap"})


def of_orders_window(result: Result) -> None:
    """Send that a window of a store has failed."""
    if result.status == "failed":
        _count("failures", 1, {"pipeline": result.store.pipeline.code, "store": result.store.code})


def of_orders_store(pipeline: str, store: str, seconds: float) -> None:
    """Send how long a store was worked on."""
    _gauge("seconds", seconds, {"pipeline": pipeline, "store": store})


def of_orders_run(summary: Summary) -> None:
    """Send the orders and payments of a run by store; fixes are those that were new or differed."""
    for window in summary.windows:
        for phase in ("orders", "sales"):
            tags = {"pipeline": window.pipeline, "store": window.store_code, "phase": phase}
            _count("rows", window.counts.get(f"{phase}_ingested"), tags)
            for kind in ("inserted", "updated"):
                _count("fixes", window.counts.get(f"{phase}_{kind}"), {**tags, "kind": kind})


def of_copy(replication: str, table: str, rows: int, seconds: float) -> None:
    """Send what was copied of a followed table."""
    tags = {"replication": replication, "table": table, "phase": "copy"}
    _count("rows", rows, tags)
    _gauge("seconds", seconds, tags)


def of_apply(replication: str, figures: Mapping[str, Any]) -> None:
    """Send what a stream has applied; a failure is a row that could not be."""
    tags = {"replication": replication, "phase": "apply"}
    for kind in ("upserted", "deleted"):
        _count("rows", figures.get(kind), {**tags, "kind": kind})
    _count("failures", figures.get("dead"), tags)
    _gauge("seconds", figures.get("seconds"), tags)


def of_health(health: Health) -> None:
    """Send how far a replication is behind, and whether it is unhealthy: 1, or 0."""
    tags = {"replication": health.name}
    _gauge("lag_seconds", health.lag_seconds, tags)
    _gauge("lag_bytes", health.lag_bytes, tags)
    _gauge("unhealthy", float(health.status == "unhealthy"), tags)


@contextmanager
def counting_failures(**tags: str) -> Iterator[None]:
    """Count it as a failure if the block raises; being skipped is none."""
    try:
        yield
    except AirflowSkipException:
        raise
    except Exception:
        _count("failures", 1, tags)
        raise


def _count(name: str, value: int | None, tags: Mapping[str, str]) -> None:
    if value:
        stats.incr(f"{_PREFIX}.{name}", value, tags=_clean(tags))


def _gauge(name: str, value: float | None, tags: Mapping[str, str]) -> None:
    if value is not None:
        stats.gauge(f"{_PREFIX}.{name}", round(value, 3), tags=_clean(tags))


def _clean(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags of which none is dropped: names of stores may hold anything."""
    return {name: stats.normalize_name_for_stats(value, log_warning=False) for name, value in tags.items()}
