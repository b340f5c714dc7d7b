"""``etl_progress``: the record of every window of every run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "110"
down_revision = "100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "etl_progress",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("run_id", sa.Unicode(250), nullable=False),
        sa.Column("table_name", sa.Unicode(128), nullable=False),
        sa.Column("window_name", sa.Unicode(32), nullable=False),
        sa.Column("from_date", sa.Date().with_variant(sa.DATE(), "mssql")),
        sa.Column("to_date", sa.Date().with_variant(sa.DATE(), "mssql")),
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
        sa.Column("error", sa.UnicodeText().with_variant(sa.Unicode(), "mssql")),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("run_id", "table_name", "window_name", name="uq_etl_progress_window"),
        schema="dbo",
    )
    op.create_index("ix_etl_progress_table", "etl_progress", ["table_name", "window_name", "status"], schema="dbo")


def downgrade() -> None:
    op.drop_table("etl_progress", schema="dbo")
