"""
What the reports said last of a status, beside the status, which later steps move on.

An adopted table that has such a column already keeps it as it is. Where a row's is NULL, the sync
keeps the status that is there.
"""

from __future__ import annotations

from alembic import op

revision = "121"
down_revision = "120"
branch_labels = None
depends_on = None

_COLUMNS = ("order_status_reported", "payment_status_reported")

#: ``ADD COLUMN IF NOT EXISTS`` asks for the owner's rights also where there is nothing to add.
_ADD = """
    DO $do$
    BEGIN
        IF NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute
            WHERE attrelid = 'public.orders'::regclass AND attname = '{column}' AND NOT attisdropped
        ) THEN
            ALTER TABLE public.orders ADD COLUMN {column} text;
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'public.orders lacks the column {column}: ' || SQLERRM;
    END
    $do$
"""


def upgrade() -> None:
    for column in _COLUMNS:
        op.execute(_ADD.format(column=column))


def downgrade() -> None:
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE public.orders DROP COLUMN IF EXISTS {column}")
