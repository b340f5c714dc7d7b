"""Sessions with a warehouse, by its kind."""

from __future__ import annotations

from contextlib import AbstractContextManager

from include.cdc.targets.base import Target
from include.connections import Connection


def opened(connection: Connection, application: str) -> AbstractContextManager[Target]:
    """
    Open a session with a warehouse.

    :param application: what the server shows of it.
    """
    if connection.kind == "mssql":
        from include.cdc.targets import mssql

        return mssql.opened(connection, application)
    from include.cdc.targets import postgres

    return postgres.opened(connection, application)
