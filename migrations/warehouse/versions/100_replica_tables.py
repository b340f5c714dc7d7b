"""The replica tables of the catalog, and the schema for staging."""

from __future__ import annotations

from alembic import context, op

from include.catalog import load
from include.engines.factory import kind_of_dialect, replica_ddl
from include.settings import Settings

revision = "100"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = kind_of_dialect(context.get_context().dialect.name)
    for statement in replica_ddl(kind, load(), Settings()):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("the replica tables hold data: drop them by hand if that is what you want")
