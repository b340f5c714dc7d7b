"""PostgreSQL 14 or later, at either end."""

from include.engines.postgres.connect import sqlalchemy_engine
from include.engines.postgres.ddl import replica_ddl
from include.engines.postgres.source import PostgresSource
from include.engines.postgres.warehouse import PostgresWarehouse

__all__ = ["PostgresSource", "PostgresWarehouse", "replica_ddl", "sqlalchemy_engine"]
