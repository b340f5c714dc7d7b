"""What is recorded of databases that are followed: replications, their tables, incidents, streams."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "130"
down_revision = "120"
branch_labels = None
depends_on = None

_TEXT = sa.UnicodeText().with_variant(sa.Unicode(), "mssql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "cdc_replications",
        sa.Column("name", sa.Unicode(64), primary_key=True),
        sa.Column("state", sa.Unicode(16), nullable=False),
        sa.Column("epoch", sa.Unicode(32)),
        sa.Column("next_epoch", sa.Unicode(32)),
        sa.Column("position", _TEXT),
        sa.Column("next_position", _TEXT),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("applied_at", _MOMENT),
        sa.Column("source_at", _MOMENT),
        sa.Column("events", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("run_id", sa.Unicode(250)),
        sa.Column("reason", _TEXT),
        sa.Column("updated_at", _MOMENT, nullable=False),
        schema="dbo",
    )
    op.create_table(
        "cdc_tables",
        sa.Column("replication", sa.Unicode(64), primary_key=True),
        sa.Column("epoch", sa.Unicode(32), primary_key=True),
        sa.Column("source_table", sa.Unicode(260), primary_key=True),
        sa.Column("target_table", sa.Unicode(128), nullable=False),
        sa.Column("status", sa.Unicode(16), nullable=False),
        sa.Column("snapshot", _TEXT),
        sa.Column("chunk_key", _TEXT),
        sa.Column("rows_expected", sa.BigInteger),
        sa.Column("rows_copied", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("seconds", sa.Double, nullable=False, server_default="0"),
        sa.Column("run_id", sa.Unicode(250)),
        sa.Column("copied_at", _MOMENT),
        sa.Column("updated_at", _MOMENT, nullable=False),
        schema="dbo",
    )
    op.create_table(
        "cdc_incidents",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("replication", sa.Unicode(64), nullable=False),
        sa.Column("kind", sa.Unicode(32), nullable=False),
        sa.Column("subject", sa.Unicode(260), nullable=False, server_default=""),
        sa.Column("severity", sa.Unicode(16), nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("closed_at", _MOMENT),
        schema="dbo",
    )
    op.create_index("ix_cdc_incidents_open", "cdc_incidents", ["replication", "closed_at"], schema="dbo")
    op.create_table(
        "cdc_dead_letters",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("replication", sa.Unicode(64), nullable=False),
        sa.Column("epoch", sa.Unicode(32), nullable=False),
        sa.Column("source_table", sa.Unicode(260), nullable=False),
        sa.Column("row_key", _TEXT, nullable=False),
        sa.Column("content", _TEXT, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("resolved_at", _MOMENT),
        schema="dbo",
    )
    op.create_index("ix_cdc_dead_letters_open", "cdc_dead_letters", ["replication", "resolved_at"], schema="dbo")
    op.create_table(
        "cdc_applies",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("run_id", sa.Unicode(250), nullable=False),
        sa.Column("replication", sa.Unicode(64), nullable=False),
        sa.Column("epoch", sa.Unicode(32), nullable=False),
        sa.Column("consumer", sa.Integer, nullable=False, server_default="0"),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("upserted", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.BigInteger, nullable=False),
        sa.Column("dead", sa.BigInteger, nullable=False),
        sa.Column("batches", sa.BigInteger, nullable=False),
        sa.Column("lag_seconds", sa.Double),
        sa.Column("memory_mb", sa.Double),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT),
        sa.Column("caught_up", sa.Boolean, nullable=False),
        sa.Column("error", _TEXT),
        schema="dbo",
    )
    op.create_index("ix_cdc_applies_replication", "cdc_applies", ["replication", "started_at"], schema="dbo")
    op.create_table(
        "cdc_offsets",
        sa.Column("replication", sa.Unicode(64), primary_key=True),
        sa.Column("epoch", sa.Unicode(32), primary_key=True),
        sa.Column("topic", sa.Unicode(250), primary_key=True),
        sa.Column("partition_no", sa.Integer, primary_key=True),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        schema="dbo",
    )


def downgrade() -> None:
    for name in ("cdc_offsets", "cdc_applies", "cdc_dead_letters", "cdc_incidents", "cdc_tables", "cdc_replications"):
        op.drop_table(name, schema="dbo")
