"""What both ``env.py`` of migrations/ do: run on the session that was handed in, or print."""

from __future__ import annotations

from alembic import context


def run() -> None:
    """Run the migrations of the current Alembic context."""
    attributes = context.config.attributes
    options = {name: attributes[name] for name in ("version_table", "version_table_schema")}
    if context.is_offline_mode():
        context.configure(dialect_name=attributes["dialect"], literal_binds=True, **options)
    else:
        context.configure(connection=attributes["connection"], transactional_ddl=True, **options)
    with context.begin_transaction():
        context.run_migrations()
