"""The source of a replication, by its kind."""

from __future__ import annotations

from include.cdc.models import Kind
from include.cdc.sources.base import CdcSource
from include.cdc.sources.mssql import MssqlCdcSource
from include.cdc.sources.mysql import MysqlCdcSource
from include.cdc.sources.oracle import OracleCdcSource
from include.cdc.sources.postgres import PostgresCdcSource
from include.connections import Connection

_KINDS: dict[Kind, type[CdcSource]] = {
    Kind.POSTGRES: PostgresCdcSource,
    Kind.MYSQL: MysqlCdcSource,
    Kind.MSSQL: MssqlCdcSource,
    Kind.ORACLE: OracleCdcSource,
}


def source_of(kind: Kind, connection: Connection, application: str = "retail-sync cdc") -> CdcSource:
    """Return the source of a kind."""
    return _KINDS[kind](connection, application)
