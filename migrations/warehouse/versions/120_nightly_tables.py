"""What the nightly run records: phases, the run history, watermarks, audits and quality metrics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "120"
down_revision = "110"
branch_labels = None
depends_on = None

_DAY = sa.Date().with_variant(sa.DATE(), "mssql")
_TEXT = sa.UnicodeText().with_variant(sa.Unicode(), "mssql")
_MOMENT = sa.DateTime(timezone=True)
_VERSION = sa.LargeBinary(8).with_variant(sa.BINARY(8), "mssql")


def upgrade() -> None:
    op.add_column(
        "etl_progress", sa.Column("phase", sa.Unicode(16), nullable=False, server_default="load"), schema="dbo"
    )
    for name in ("rows_inserted", "rows_updated", "rows_deleted", "rows_unchanged"):
        op.add_column("etl_progress", sa.Column(name, sa.BigInteger), schema="dbo")
    op.drop_constraint("uq_etl_progress_window", "etl_progress", schema="dbo", type_="unique")
    op.create_unique_constraint(
        "uq_etl_progress_window", "etl_progress", ["run_id", "table_name", "window_name", "phase"], schema="dbo"
    )
    op.create_table(
        "replica_run_history",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("run_id", sa.Unicode(250), nullable=False),
        sa.Column("run_type", sa.Unicode(16), nullable=False),
        sa.Column("from_date", _DAY),
        sa.Column("to_date", _DAY),
        sa.Column("tables", _TEXT, nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT),
        sa.Column("success", sa.Boolean),
        sa.Column("rows_loaded", sa.BigInteger),
        sa.Column("rows_fixed", sa.BigInteger),
        sa.Column("error", _TEXT),
        sa.UniqueConstraint("run_id", "run_type", name="uq_replica_run_history_run"),
        schema="dbo",
    )
    op.create_index("ix_replica_run_history_type", "replica_run_history", ["run_type", "started_at"], schema="dbo")
    op.create_table(
        "replica_watermarks",
        sa.Column("table_name", sa.Unicode(128), primary_key=True),
        sa.Column("high_mark", _VERSION, nullable=False),
        sa.Column("low_mark", _VERSION, nullable=False),
        sa.Column("run_id", sa.Unicode(250), nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        schema="dbo",
    )
    op.create_table(
        "dimension_refresh_audit",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("run_id", sa.Unicode(250), nullable=False),
        sa.Column("table_name", sa.Unicode(128), nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("table_hash", sa.Unicode(16), nullable=False),
        sa.Column("hash_method", sa.Unicode(64), nullable=False),
        sa.Column("refreshed_at", _MOMENT),
        sa.Column("seconds", sa.Double),
        sa.Column("rows_changed", sa.BigInteger),
        sa.Column("audited_at", _MOMENT, nullable=False),
        sa.UniqueConstraint("run_id", "table_name", name="uq_dimension_refresh_audit_table"),
        schema="dbo",
    )
    op.create_index(
        "ix_dimension_refresh_audit_table", "dimension_refresh_audit", ["table_name", "audited_at"], schema="dbo"
    )
    op.create_table(
        "data_quality_metrics",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("run_id", sa.Unicode(250), nullable=False),
        sa.Column("table_name", sa.Unicode(128), nullable=False),
        sa.Column("metric", sa.Unicode(32), nullable=False),
        sa.Column("from_date", _DAY),
        sa.Column("to_date", _DAY),
        sa.Column("value", sa.Double),
        sa.Column("rows_counted", sa.BigInteger, nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("breach", sa.Unicode(8)),
        sa.Column("details", _TEXT),
        sa.Column("measured_at", _MOMENT, nullable=False),
        sa.UniqueConstraint("run_id", "table_name", "metric", name="uq_data_quality_metrics_metric"),
        schema="dbo",
    )
    op.create_index(
        "ix_data_quality_metrics_table",
        "data_quality_metrics",
        ["table_name", "metric", "measured_at"],
        schema="dbo",
    )
    op.create_table(
        "replica_audit",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("run_id", sa.Unicode(250), nullable=False),
        sa.Column("table_name", sa.Unicode(128), nullable=False),
        sa.Column("window_name", sa.Unicode(32), nullable=False),
        sa.Column("from_date", _DAY),
        sa.Column("to_date", _DAY),
        sa.Column("rows_source", sa.BigInteger, nullable=False),
        sa.Column("rows_warehouse", sa.BigInteger, nullable=False),
        sa.Column("equal", sa.Boolean, nullable=False),
        sa.Column("found_by", sa.Unicode(16), nullable=False),
        sa.Column("rows_missing", sa.BigInteger),
        sa.Column("rows_extra", sa.BigInteger),
        sa.Column("rows_different", sa.BigInteger),
        sa.Column("keys", _TEXT),
        sa.Column("repaired", sa.Boolean, nullable=False),
        sa.Column("audited_at", _MOMENT, nullable=False),
        sa.UniqueConstraint("run_id", "table_name", "window_name", name="uq_replica_audit_window"),
        schema="dbo",
    )
    op.create_index("ix_replica_audit_table", "replica_audit", ["table_name", "audited_at"], schema="dbo")


def downgrade() -> None:
    for name in (
        "replica_audit",
        "data_quality_metrics",
        "dimension_refresh_audit",
        "replica_watermarks",
        "replica_run_history",
    ):
        op.drop_table(name, schema="dbo")
    op.drop_constraint("uq_etl_progress_window", "etl_progress", schema="dbo", type_="unique")
    for name in ("rows_unchanged", "rows_deleted", "rows_updated", "rows_inserted", "phase"):
        op.drop_column("etl_progress", name, schema="dbo")
    op.create_unique_constraint(
        "uq_etl_progress_window", "etl_progress", ["run_id", "table_name", "window_name"], schema="dbo"
    )
