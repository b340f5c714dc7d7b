"""The SQL Server to test and measure on, where somebody names one."""

from __future__ import annotations

import re

from include.connections import Connection

#: Holds an ODBC-style connection string.
VARIABLE = "RETAIL_SYNC_TEST_MSSQL"

_PAIR = re.compile(r"(\w[\w ]*)=(\{(?:[^}]|\}\})*\}|[^;]*)")


def odbc_connection(text: str) -> Connection:
    """
    Return the connection of an ODBC-style string, such as ``Server=host,1433;Database=d;UID=u;PWD={p};Encrypt=no``.

    Such a server is a primary, which the source's side has to be told.
    """
    parts = {key.lower(): value for key, value in _PAIR.findall(text)}
    parts = {key: value[1:-1].replace("}}", "}") if value.startswith("{") else value for key, value in parts.items()}
    host, _, port = parts.get("server", "localhost").removeprefix("tcp:").partition(",")
    extra = {"allow_primary": True, "application_intent": "ReadWrite"}
    for name, key in (("encrypt", "encrypt"), ("trust_server_certificate", "trustservercertificate")):
        if key in parts:
            extra[name] = parts[key]
    if driver := parts.get("driver"):
        extra["driver"] = driver
    return Connection.of(
        "mssql",
        kind="mssql",
        host=host,
        port=port or None,
        database=parts.get("database"),
        login=parts.get("uid"),
        password=parts.get("pwd"),
        extra=extra,
    )
