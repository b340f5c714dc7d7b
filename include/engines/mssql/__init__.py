"""SQL Server 2016 or later, Azure SQL, and engines that speak T-SQL, at either end."""

from include.engines.mssql.connect import sqlalchemy_engine
from include.engines.mssql.ddl import replica_ddl
from include.engines.mssql.source import MssqlSource
from include.engines.mssql.warehouse import MssqlWarehouse

__all__ = ["MssqlSource", "MssqlWarehouse", "replica_ddl", "sqlalchemy_engine"]
