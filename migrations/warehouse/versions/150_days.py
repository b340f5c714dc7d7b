"""What was compared and repaired a day, and which step a window is at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "150"
down_revision = "140"
branch_labels = None
depends_on = None

_DAY = sa.Date().with_variant(sa.DATE(), "mssql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("etl_progress", sa.Column("step", sa.Unicode(16)), schema="dbo")
    op.create_index("ix_etl_progress_days", "etl_progress", ["table_name", "from_date"], schema="dbo")
    op.create_index("ix_etl_progress_finished", "etl_progress", ["finished_at"], schema="dbo")
    op.create_table(
        "replica_days",
        sa.Column("table_name", sa.Unicode(128), primary_key=True),
        sa.Column("day", _DAY, primary_key=True),
        sa.Column("rows_source", sa.BigInteger, nullable=False),
        sa.Column("rows_warehouse", sa.BigInteger, nullable=False),
        sa.Column("equal", sa.Boolean, nullable=False),
        sa.Column("run_id", sa.Unicode(250), nullable=False),
        sa.Column("compared_at", _MOMENT, nullable=False),
        schema="dbo",
    )
    op.create_table(
        "replica_fixes",
        sa.Column("run_id", sa.Unicode(250), primary_key=True),
        sa.Column("table_name", sa.Unicode(128), primary_key=True),
        sa.Column("day", _DAY, primary_key=True),
        sa.Column("rows_inserted", sa.BigInteger, nullable=False),
        sa.Column("rows_updated", sa.BigInteger, nullable=False),
        sa.Column("rows_deleted", sa.BigInteger, nullable=False),
        sa.Column("fixed_at", _MOMENT, nullable=False),
        schema="dbo",
    )
    op.create_index("ix_replica_fixes_day", "replica_fixes", ["table_name", "day"], schema="dbo")


def downgrade() -> None:
    op.drop_table("replica_fixes", schema="dbo")
    op.drop_table("replica_days", schema="dbo")
    op.drop_index("ix_etl_progress_finished", "etl_progress", schema="dbo")
    op.drop_index("ix_etl_progress_days", "etl_progress", schema="dbo")
    op.drop_column("etl_progress", "step", schema="dbo")
