"""How the tables of a followed database were defined, of servers whose log does not say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "140"
down_revision = "130"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cdc_definitions",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("replication", sa.Unicode(64), nullable=False),
        sa.Column("epoch", sa.Unicode(32), nullable=False),
        sa.Column("definition", sa.UnicodeText().with_variant(sa.Unicode(), "mssql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        schema="dbo",
    )
    op.create_index("ix_cdc_definitions_epoch", "cdc_definitions", ["replication", "epoch", "id"], schema="dbo")


def downgrade() -> None:
    op.drop_table("cdc_definitions", schema="dbo")
