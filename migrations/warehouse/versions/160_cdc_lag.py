"""How much log a followed database has that is not applied, as the last look found it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "160"
down_revision = "150"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cdc_replications", sa.Column("lag_bytes", sa.BigInteger), schema="dbo")
    op.add_column("cdc_replications", sa.Column("looked_at", sa.DateTime(timezone=True)), schema="dbo")


def downgrade() -> None:
    op.drop_column("cdc_replications", "looked_at", schema="dbo")
    op.drop_column("cdc_replications", "lag_bytes", schema="dbo")
