"""
Bring a database to the state that this version of the project needs.

Safe to run twice and from several tasks at once: the database itself lets one of them
through at a time. Tables that the catalog gained since are made afterwards.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from include.catalog import Catalog, load
from include.connections import Connection, Kind
from include.engines.factory import metadata_engine, replica_ddl
from include.engines.postgres.errors import translated
from include.settings import PROJECT_ROOT, Settings

Target = Literal["warehouse", "control"]

#: The lock that lets one migration through at a time, on the migrated database itself.
LOCKS: dict[Kind, str] = {
    "postgres": "SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended('retail-sync migrate', 0))",
    "mssql": "EXEC sp_getapplock @Resource = N'retail-sync migrate', @LockMode = N'Exclusive',"
    " @LockOwner = N'Session', @LockTimeout = -1",
}
_DIALECTS: dict[Kind, str] = {"postgres": "postgresql", "mssql": "mssql"}
_VERSION_SCHEMAS: dict[Kind, str] = {"postgres": "public", "mssql": "dbo"}


@dataclass(frozen=True)
class State:
    """How far a database is migrated; ``current`` is None before the first time."""

    current: str | None
    head: str

    @property
    def up_to_date(self) -> bool:
        """Whether nothing is left to do."""
        return self.current == self.head


def migrate(target: Target, connection: Connection) -> State:
    """
    Migrate a database to the newest state.

    :raises AccessDenied: if the login may not create what is needed.
    """
    engine = metadata_engine(connection, "retail-sync migrate")
    with translated(f"migrating {connection}"), engine.connect() as session:
        session.exec_driver_sql(LOCKS[connection.kind])
        session.commit()
        config = _config(target, connection.kind)
        config.attributes["connection"] = session
        command.upgrade(config, "head")
        if target == "warehouse":
            for statement in replica_ddl(connection.kind, load(), Settings()):
                session.execute(sa.text(statement))
        session.commit()
        return _state(target, connection.kind, session)


def state(target: Target, connection: Connection) -> State:
    """Return how far a database is migrated."""
    with metadata_engine(connection, "retail-sync check").connect() as session:
        return _state(target, connection.kind, session)


def offline_sql(target: Target, connection: Connection) -> str:
    """Return the statements of all migrations, for somebody else to run; nothing is connected to."""
    config = _config(target, connection.kind)
    buffer = io.StringIO()
    config.output_buffer = buffer
    config.attributes["dialect"] = _DIALECTS[connection.kind]
    command.upgrade(config, "head", sql=True)
    return buffer.getvalue()


def missing_replicas(connection: Connection, catalog: Catalog) -> list[str]:
    """Return the replica tables that the warehouse does not have."""
    with metadata_engine(connection, "retail-sync check").connect() as session:
        inspector = sa.inspect(session)
        there = {
            (schema, name)
            for schema in {table.target_schema for table in catalog}
            if inspector.has_schema(schema)
            for name in inspector.get_table_names(schema)
        }
    wanted = [table for table in catalog if table.columns]
    return [table.target_table for table in wanted if (table.target_schema, table.target_table) not in there]


def version_table(target: Target) -> str:
    """Return the name of the table in which Alembic keeps the state of a target."""
    return f"retail_sync_{target}_version"


def _state(target: Target, kind: Kind, session: sa.Connection) -> State:
    context = MigrationContext.configure(
        session, opts={"version_table": version_table(target), "version_table_schema": _VERSION_SCHEMAS[kind]}
    )
    head = ScriptDirectory.from_config(_config(target, kind)).get_current_head()
    assert head is not None
    return State(context.get_current_revision(), head)


def _config(target: Target, kind: Kind) -> Config:
    config = Config()
    config.set_main_option("script_location", str(PROJECT_ROOT / "migrations" / target).replace("%", "%%"))
    config.attributes["version_table"] = version_table(target)
    config.attributes["version_table_schema"] = _VERSION_SCHEMAS[kind]
    return config
