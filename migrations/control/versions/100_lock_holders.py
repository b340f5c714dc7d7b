"""A view of who holds which lock of the project, for people."""

from __future__ import annotations

from alembic import op

revision = "100"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS retail_sync")
    op.execute("""
        CREATE VIEW retail_sync.lock_holders AS
        SELECT CASE classid WHEN 7101 THEN 'window' END AS lock_space,
               application_name AS holder, usename AS login, pid, backend_start AS since
        FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = 7101
          AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    """)


def downgrade() -> None:
    op.execute("DROP VIEW retail_sync.lock_holders")
