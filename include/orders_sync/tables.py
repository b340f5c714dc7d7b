"""
The tables of the orders sync in the control database, PostgreSQL alone.

A deployment that has such tables already is adopted: `migrate` adds what is missing and says
what differs. The columns of staging and final tables are those of ``reports``.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from include.orders_sync.reports import REPORTS, Kind, Report, reported

SCHEMA = "public"

metadata = sa.MetaData(schema=SCHEMA)

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: sa.Text(),
    Kind.NUMBER: sa.Numeric(14, 2),
    Kind.MOMENT: sa.DateTime(timezone=True),
    Kind.DAY: sa.Date(),
    Kind.PHONE: sa.String(10),
}
#: Weights have a third decimal; numbers of orders and codes are short enough to be keys.
_OWN_TYPES: dict[str, Any] = {"weight": sa.Numeric(14, 3), "order_number": sa.String(64)}

STATUSES = ("running", "partial", "success", "failed")
COUNTERS = tuple(
    f"{what}_{counter}"
    for what in ("orders", "sales")
    for counter in ("downloaded", "ingested", "inserted", "updated", "dropped")
)


def _moment(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def _stamps() -> list[sa.Column[Any]]:
    return [_moment(name, nullable=False, server_default=sa.func.now()) for name in ("created_at", "updated_at")]


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True)


pipelines = sa.Table(
    "pipelines",
    metadata,
    _id(),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("description", sa.Text),
    sa.UniqueConstraint("code", name="uq_pipelines_code"),
)
"""What can be run: ``td_orders_sync``, ``uc_orders_sync``, ``orders_sync_run_profiler``."""

pipeline_run_summaries = sa.Table(
    "pipeline_run_summaries",
    metadata,
    _id(),
    sa.Column("pipeline_name", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("run_env", sa.String(32), nullable=False),
    _moment("started_at", nullable=False),
    _moment("finished_at"),
    sa.Column("overall_status", sa.String(16), nullable=False),
    sa.Column("summary_text", sa.Text),
    sa.Column("report_date", sa.Date),
    sa.Column("metrics", JSONB, nullable=False, server_default=sa.text("'{}'")),
    *_stamps(),
    sa.UniqueConstraint("run_id", name="uq_pipeline_run_summaries_run_id"),
    sa.Index("ix_pipeline_run_summaries_recent", "pipeline_name", sa.text("started_at DESC")),
    sa.CheckConstraint(
        f"overall_status IN ({', '.join(repr(status) for status in STATUSES)})",
        name="ck_pipeline_run_summaries_overall_status",
    ),
)
"""A row a run; ``metrics`` holds its plan from the beginning, and what became of each window at the end."""

store_master = sa.Table(
    "store_master",
    metadata,
    _id(),
    sa.Column("store_code", sa.String(8), nullable=False),
    sa.Column("store_name", sa.Text),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("sync_group", sa.String(2)),
    sa.Column("sync_orders_flag", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("start_date", sa.Date),
    sa.Column("cost_center", sa.String(8)),
    sa.Column("sync_config", JSONB, nullable=False, server_default=sa.text("'{}'")),
    *_stamps(),
    sa.UniqueConstraint("store_code", name="uq_store_master_store_code"),
    sa.CheckConstraint("sync_group IN ('TD', 'UC')", name="ck_store_master_sync_group"),
)
"""The stores; ``sync_config`` never holds credentials."""

orders_sync_log = sa.Table(
    "orders_sync_log",
    metadata,
    _id(),
    sa.Column("pipeline_id", sa.BigInteger, sa.ForeignKey(pipelines.c.id), nullable=False),
    sa.Column("run_id", sa.String(64), sa.ForeignKey(pipeline_run_summaries.c.run_id), nullable=False),
    sa.Column("run_env", sa.String(32), nullable=False),
    sa.Column("cost_center", sa.String(8)),
    sa.Column("store_code", sa.String(8), nullable=False),
    sa.Column("from_date", sa.Date, nullable=False),
    sa.Column("to_date", sa.Date, nullable=False),
    _moment("orders_pulled_at"),
    _moment("sales_pulled_at"),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("attempt_no", sa.Integer, nullable=False, server_default=sa.text("1")),
    sa.Column("error_message", sa.Text),
    *_stamps(),
    *(sa.Column(name, sa.Integer) for name in COUNTERS),
    sa.CheckConstraint(f"status IN ({', '.join(map(repr, STATUSES))})", name="ck_orders_sync_log_status"),
    sa.CheckConstraint("from_date <= to_date", name="ck_orders_sync_log_window"),
    sa.Index("uq_orders_sync_log_window", "pipeline_id", "store_code", "from_date", "to_date", "run_id", unique=True),
    sa.Index("ix_orders_sync_log_lookup", "pipeline_id", "store_code", "from_date", "to_date", "status"),
    sa.Index("ix_orders_sync_log_store_recent", "store_code", sa.text("created_at DESC")),
    sa.Index(
        "ix_orders_sync_log_success",
        *("pipeline_id", "store_code", "from_date", "to_date"),
        postgresql_include=["orders_pulled_at", "sales_pulled_at"],
        postgresql_where=sa.text("status = 'success'"),
    ),
    sa.Index("ix_orders_sync_log_pipeline_recent", "pipeline_id", sa.text("created_at DESC")),
)
"""
A row a window that a run worked on; dates inclusive. A report that the run was not asked for has no
``…_pulled_at``, so a success for orders alone is not one for sales.
"""

dropped_rows = sa.Table(
    "dropped_rows",
    metadata,
    _id(),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("pipeline_id", sa.BigInteger, sa.ForeignKey(pipelines.c.id), nullable=False),
    sa.Column("store_code", sa.String(8), nullable=False),
    sa.Column("report", sa.String(16), nullable=False),
    sa.Column("from_date", sa.Date, nullable=False),
    sa.Column("to_date", sa.Date, nullable=False),
    sa.Column("row_number", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("content", JSONB, nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    _moment("created_at", nullable=False, server_default=sa.func.now()),
    sa.UniqueConstraint("pipeline_id", "store_code", "report", "content_hash", name="uq_dropped_rows_content"),
)
"""Rows of reports that could not be kept, once each, with the reason; personal data."""


def _final(name: str, reports: list[Report], *constraints: Any, own: tuple[sa.Column[Any], ...] = ()) -> sa.Table:
    """Return a final table with the columns of all its reports."""
    columns = {column.name: column for report in reports for column in _columns(report)}
    return sa.Table(
        name,
        metadata,
        _id(),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("store_code", sa.String(8), nullable=False),
        sa.Column("cost_center", sa.String(8), nullable=False),
        *columns.values(),
        *own,
        sa.Column("remarks", sa.Text),
        sa.Column("enrichment", JSONB),
        *_stamps(),
        *(sa.Column(reported(status), columns[status].type) for report in reports for status in report.statuses),
        *constraints,
    )


def _staging(report: Report) -> sa.Table:
    return sa.Table(
        report.staging,
        metadata,
        sa.Column("store_code", sa.String(8), nullable=False),
        sa.Column("cost_center", sa.String(8), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("row_number", sa.Integer, nullable=False),
        *_columns(report),
        *_derived(report),
        sa.Column("remarks", sa.Text),
        sa.PrimaryKeyConstraint("store_code", "row_number", name=f"pk_{report.staging}"),
    )


def _columns(report: Report) -> list[sa.Column[Any]]:
    keys = {report.number, report.date}
    return [
        sa.Column(field.name, _OWN_TYPES.get(field.name, _TYPES[field.kind]), nullable=field.name not in keys)
        for field in report.fields
        if field.name
    ]


def _derived(report: Report) -> list[sa.Column[Any]]:
    """Return the columns that the ingest works out."""
    if report.code == "td_sales":
        return [_payment_no()]
    return [sa.Column("tax_amount", sa.Numeric(14, 2))] if report.code == "uc_gst" else []


def _payment_no() -> sa.Column[Any]:
    return sa.Column("payment_no", sa.SmallInteger, nullable=False)


orders = _final(
    "orders",
    [REPORTS["td_orders"], REPORTS["uc_gst"]],
    sa.UniqueConstraint("cost_center", "order_number", "order_date", name="uq_orders_order"),
)
"""
Orders of both CRMs. ``enrichment``, and what later steps add, is never written by the sync; a status only where its
``…_reported``, what the report said last, changes.
"""

sales = _final(
    "sales",
    [REPORTS["td_sales"]],
    sa.UniqueConstraint("cost_center", "order_number", "payment_date", "payment_no", name="uq_sales_payment"),
    own=(_payment_no(),),
)
"""Payments; ``payment_no`` counts those of one order in one second, from 1."""

staging = {report.staging: _staging(report) for report in REPORTS.values()}
