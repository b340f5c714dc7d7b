"""PostgreSQL 14 or later, at either end."""

from include.engines.postgres.source import PostgresSource
from include.engines.postgres.warehouse import PostgresWarehouse

__all__ = ["PostgresSource", "PostgresWarehouse"]
