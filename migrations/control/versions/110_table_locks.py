"""Locks of whole tables in the view of who holds which lock."""

from __future__ import annotations

from alembic import op

revision = "110"
down_revision = "100"
branch_labels = None
depends_on = None

_VIEW = """
    CREATE OR REPLACE VIEW retail_sync.lock_holders AS
    SELECT {spaces} AS lock_space,
           application_name AS holder, usename AS login, pid, backend_start AS since
    FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND {condition}
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""


def upgrade() -> None:
    spaces = (
        "CASE classid WHEN 7101 THEN 'window'"
        " WHEN 7102 THEN CASE mode WHEN 'ShareLock' THEN 'table, shared' ELSE 'table' END END"
    )
    op.execute(_VIEW.format(spaces=spaces, condition="classid IN (7101, 7102)"))


def downgrade() -> None:
    op.execute(_VIEW.format(spaces="CASE classid WHEN 7101 THEN 'window' END", condition="classid = 7101"))
