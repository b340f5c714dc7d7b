"""
The project's own tables in the warehouse, in one place; a test holds them equal to the migrations.

Dates are inclusive business dates, times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

SCHEMA = "dbo"

metadata = sa.MetaData(schema=SCHEMA)


def day_type() -> TypeEngine[Any]:
    """Return the type of a business date; on SQL Server SQLAlchemy would print it as a string offline."""
    return sa.Date().with_variant(sa.DATE(), "mssql")


def long_text() -> TypeEngine[Any]:
    """Return the type of a text without a limit."""
    return sa.UnicodeText().with_variant(sa.Unicode(), "mssql")


def moment() -> TypeEngine[Any]:
    """Return the type of a time with its offset from UTC."""
    return sa.DateTime(timezone=True)


etl_progress = sa.Table(
    "etl_progress",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.Unicode(250), nullable=False),
    sa.Column("table_name", sa.Unicode(128), nullable=False),
    sa.Column("window_name", sa.Unicode(32), nullable=False),
    sa.Column("from_date", day_type()),
    sa.Column("to_date", day_type()),
    sa.Column("status", sa.Unicode(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("rows_source", sa.BigInteger),
    sa.Column("rows_read", sa.BigInteger),
    sa.Column("rows_published", sa.BigInteger),
    sa.Column("rows_replaced", sa.BigInteger),
    sa.Column("rows_moved", sa.BigInteger),
    sa.Column("bytes_read", sa.BigInteger),
    sa.Column("seconds_waiting", sa.Double),
    sa.Column("seconds_loading", sa.Double),
    sa.Column("seconds_publishing", sa.Double),
    sa.Column("seconds_verifying", sa.Double),
    sa.Column("checksum", sa.Unicode(16)),
    sa.Column("export_path", sa.Unicode(1024)),
    sa.Column("error", long_text()),
    sa.Column("started_at", moment(), nullable=False),
    sa.Column("published_at", moment()),
    sa.Column("finished_at", moment()),
    sa.Column("phase", sa.Unicode(16), nullable=False, server_default="load"),
    sa.Column("rows_inserted", sa.BigInteger),
    sa.Column("rows_updated", sa.BigInteger),
    sa.Column("rows_deleted", sa.BigInteger),
    sa.Column("rows_unchanged", sa.BigInteger),
    sa.Column("step", sa.Unicode(16)),
    sa.UniqueConstraint("run_id", "table_name", "window_name", "phase", name="uq_etl_progress_window"),
    sa.Index("ix_etl_progress_table", "table_name", "window_name", "status"),
    sa.Index("ix_etl_progress_days", "table_name", "from_date"),
    sa.Index("ix_etl_progress_finished", "finished_at"),
)
"""A row a run, table, window and phase; ``step`` is the last one that it has begun."""

replica_days = sa.Table(
    "replica_days",
    metadata,
    sa.Column("table_name", sa.Unicode(128), primary_key=True),
    sa.Column("day", day_type(), primary_key=True),
    sa.Column("rows_source", sa.BigInteger, nullable=False),
    sa.Column("rows_warehouse", sa.BigInteger, nullable=False),
    sa.Column("equal", sa.Boolean, nullable=False),
    sa.Column("run_id", sa.Unicode(250), nullable=False),
    sa.Column("compared_at", moment(), nullable=False),
)
"""A row a table and day: what the two sides had when they were compared last. The undated rows have none."""

replica_fixes = sa.Table(
    "replica_fixes",
    metadata,
    sa.Column("run_id", sa.Unicode(250), primary_key=True),
    sa.Column("table_name", sa.Unicode(128), primary_key=True),
    sa.Column("day", day_type(), primary_key=True),
    sa.Column("rows_inserted", sa.BigInteger, nullable=False),
    sa.Column("rows_updated", sa.BigInteger, nullable=False),
    sa.Column("rows_deleted", sa.BigInteger, nullable=False),
    sa.Column("fixed_at", moment(), nullable=False),
    sa.Index("ix_replica_fixes_day", "table_name", "day"),
)
"""A row a run, table and day on which a fix check found rows to repair; a row that moved is deleted and inserted."""

replica_run_history = sa.Table(
    "replica_run_history",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.Unicode(250), nullable=False),
    sa.Column("run_type", sa.Unicode(16), nullable=False),
    sa.Column("from_date", day_type()),
    sa.Column("to_date", day_type()),
    sa.Column("tables", long_text(), nullable=False),
    sa.Column("started_at", moment(), nullable=False),
    sa.Column("finished_at", moment()),
    sa.Column("success", sa.Boolean),
    sa.Column("rows_loaded", sa.BigInteger),
    sa.Column("rows_fixed", sa.BigInteger),
    sa.Column("error", long_text()),
    sa.UniqueConstraint("run_id", "run_type", name="uq_replica_run_history_run"),
    sa.Index("ix_replica_run_history_type", "run_type", "started_at"),
)
"""A row a run and type; ``success`` is NULL while it runs."""

replica_watermarks = sa.Table(
    "replica_watermarks",
    metadata,
    sa.Column("table_name", sa.Unicode(128), primary_key=True),
    sa.Column("high_mark", sa.LargeBinary(8).with_variant(sa.BINARY(8), "mssql"), nullable=False),
    sa.Column("low_mark", sa.LargeBinary(8).with_variant(sa.BINARY(8), "mssql"), nullable=False),
    sa.Column("run_id", sa.Unicode(250), nullable=False),
    sa.Column("updated_at", moment(), nullable=False),
)
"""How far the changes of a table are applied: the highest rowversion of the last sweep, and of the one before."""

dimension_refresh_audit = sa.Table(
    "dimension_refresh_audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.Unicode(250), nullable=False),
    sa.Column("table_name", sa.Unicode(128), nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("table_hash", sa.Unicode(16), nullable=False),
    sa.Column("hash_method", sa.Unicode(64), nullable=False),
    sa.Column("refreshed_at", moment()),
    sa.Column("seconds", sa.Double),
    sa.Column("rows_changed", sa.BigInteger),
    sa.Column("audited_at", moment(), nullable=False),
    sa.UniqueConstraint("run_id", "table_name", name="uq_dimension_refresh_audit_table"),
    sa.Index("ix_dimension_refresh_audit_table", "table_name", "audited_at"),
)
"""A row a maintenance run and reference table; the hash does not depend on the order of rows."""

data_quality_metrics = sa.Table(
    "data_quality_metrics",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.Unicode(250), nullable=False),
    sa.Column("table_name", sa.Unicode(128), nullable=False),
    sa.Column("metric", sa.Unicode(32), nullable=False),
    sa.Column("from_date", day_type()),
    sa.Column("to_date", day_type()),
    sa.Column("value", sa.Double),
    sa.Column("rows_counted", sa.BigInteger, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("breach", sa.Unicode(8)),
    sa.Column("details", long_text()),
    sa.Column("measured_at", moment(), nullable=False),
    sa.UniqueConstraint("run_id", "table_name", "metric", name="uq_data_quality_metrics_metric"),
    sa.Index("ix_data_quality_metrics_table", "table_name", "metric", "measured_at"),
)
"""A row a maintenance run, table and metric; ``breach`` is warn or fail where the value is over the threshold."""

replica_audit = sa.Table(
    "replica_audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.Unicode(250), nullable=False),
    sa.Column("table_name", sa.Unicode(128), nullable=False),
    sa.Column("window_name", sa.Unicode(32), nullable=False),
    sa.Column("from_date", day_type()),
    sa.Column("to_date", day_type()),
    sa.Column("rows_source", sa.BigInteger, nullable=False),
    sa.Column("rows_warehouse", sa.BigInteger, nullable=False),
    sa.Column("equal", sa.Boolean, nullable=False),
    sa.Column("found_by", sa.Unicode(16), nullable=False),
    sa.Column("rows_missing", sa.BigInteger),
    sa.Column("rows_extra", sa.BigInteger),
    sa.Column("rows_different", sa.BigInteger),
    sa.Column("keys", long_text()),
    sa.Column("repaired", sa.Boolean, nullable=False),
    sa.Column("audited_at", moment(), nullable=False),
    sa.UniqueConstraint("run_id", "table_name", "window_name", name="uq_replica_audit_window"),
    sa.Index("ix_replica_audit_table", "table_name", "audited_at"),
)
"""A row an audit, table and window that was compared, and one for each day that differs."""


def now() -> datetime:
    """Return the time for a record, in UTC."""
    return datetime.now(UTC)


def upsert(connection: sa.Connection, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Write the row of a key: no MERGE, nothing of one dialect. The caller keeps others off the row."""
    update = table.update().where(*(table.c[name] == value for name, value in key.items())).values(dict(values))
    if not connection.execute(update).rowcount:
        connection.execute(table.insert().values({**key, **values}))
