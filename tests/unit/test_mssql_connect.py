"""How a connection of Airflow becomes one of SQL Server, and what is said when the system lacks a library."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mssql_python
import pytest

from include.connections import Connection, parse
from include.engines.mssql import odbc
from include.engines.mssql.connect import flag, login_timeout, odbc_string, query_timeout, sqlalchemy_engine
from include.engines.mssql.drivers import driver_for
from include.errors import ConnectionLost, NotConfigured

PASSWORDS = ["plain", "p@ss;word", "{brace", "brace}", "}}{;=%40", " blank ", "%41+", "żółć 漢", "a'b\"c\\"]


def of(**extra: Any) -> Connection:
    return Connection.of("pos", kind="mssql", host="server", database="db", login="me", password="pw", extra=extra)


def parsed(text: str) -> dict[str, str]:
    """Read an ODBC connection string by the rules of the ODBC reference."""
    found, rest = {}, text
    while rest:
        name, _, rest = rest.partition("=")
        value = ""
        if rest.startswith("{"):
            rest = rest[1:]
            while True:
                part, _, rest = rest.partition("}")
                value += part
                if not rest.startswith("}"):
                    break
                value, rest = value + "}", rest[1:]
            assert rest[0] == ";"
            rest = rest[1:]
        else:
            value, _, rest = rest.partition(";")
        found[name] = value
    return found


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("form", ["uri", "json"])
def test_a_password_arrives_whatever_is_in_it(password: str, form: str) -> None:
    if form == "uri":
        text = f"mssql://{quote('log;in', safe='')}:{quote(password, safe='')}@server:1444/{quote('da ta')}"
    else:
        parts = {"conn_type": "mssql", "host": "server", "port": 1444, "login": "log;in", "schema": "da ta"}
        text = json.dumps({**parts, "password": password})
    found = parsed(odbc_string(parse("pos", text), "app; {1}", read_only=True, driver="/path/driver.so"))
    assert (found["PWD"], found["UID"], found["Database"]) == (password, "log;in", "da ta")
    assert (found["Server"], found["APP"], found["Driver"]) == ("tcp:server,1444", "app; {1}", "/path/driver.so")


def test_a_source_is_read_with_read_only_intent_and_encrypted() -> None:
    found = parsed(odbc_string(of(), "app", read_only=True))
    assert found["ApplicationIntent"] == "ReadOnly"
    assert (found["Encrypt"], found["TrustServerCertificate"], found["ConnectRetryCount"]) == ("yes", "no", "0")
    assert "Driver" not in found
    assert parsed(odbc_string(of(), "app", read_only=False))["ApplicationIntent"] == "ReadWrite"


@pytest.mark.parametrize(
    ("extra", "name", "value"),
    [
        ({"application_intent": "ReadWrite"}, "ApplicationIntent", "ReadWrite"),
        ({"ApplicationIntent": "readonly"}, "ApplicationIntent", "ReadOnly"),
        ({"encrypt": "no"}, "Encrypt", "no"),
        ({"Encrypt": True}, "Encrypt", "yes"),
        ({"encrypt": "strict"}, "Encrypt", "strict"),
        ({"trust_server_certificate": "yes"}, "TrustServerCertificate", "yes"),
        ({"TrustServerCertificate": True}, "TrustServerCertificate", "yes"),
    ],
)
def test_an_extra_is_read_in_any_of_its_spellings(extra: dict[str, Any], name: str, value: str) -> None:
    assert parsed(odbc_string(of(**extra), "app", read_only=True))[name] == value


@pytest.mark.parametrize(
    "extra",
    [
        {"application_intent": "both"},
        {"encrypt": "maybe"},
        {"trust_server_certificate": "perhaps"},
        {"login_timeout": "soon"},
        {"query_timeout": -1},
        {"client": "other"},
    ],
)
def test_an_extra_that_makes_no_sense_is_named(extra: dict[str, Any]) -> None:
    def read() -> None:
        odbc_string(of(**extra), "app", read_only=True)
        login_timeout(of(**extra))
        query_timeout(of(**extra))
        driver_for(of(**extra))

    with pytest.raises(NotConfigured, match=f"connection 'pos': extra {next(iter(extra))} is"):
        read()


def test_timeouts_have_defaults() -> None:
    assert (login_timeout(of()), query_timeout(of())) == (15, 0)
    assert (login_timeout(of(login_timeout="7")), query_timeout(of(query_timeout=600))) == (7, 600)
    assert flag(of(allow_primary="Yes"), "allow_primary", default=False)


def test_a_driver_is_chosen_by_the_connection() -> None:
    assert driver_for(of()).name == "mssql-python"
    assert driver_for(of(client="pyodbc")).name == "pyodbc"


@pytest.fixture
def fresh_search() -> Iterator[None]:
    odbc._found_driver.cache_clear()
    yield
    odbc._found_driver.cache_clear()


@pytest.mark.usefixtures("fresh_search")
def test_the_driver_of_the_wheel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda path: path)
    found = Path(odbc.find_driver(of()))
    assert found.name.startswith("libmsodbcsql")
    assert found.exists()
    assert odbc.find_driver(of(driver="ODBC Driver 17 for SQL Server")) == "ODBC Driver 17 for SQL Server"


@pytest.mark.usefixtures("fresh_search")
def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str) -> None:
        raise OSError("libltdl.so.7: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(NotConfigured, match=r"needs libltdl, of the package libltdl7: apt-get install .*unixodbc"):
        odbc.find_driver(of())


def test_mssql_python_without_a_library_names_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str) -> None:
        raise OSError("libgssapi_krb5.so.2: cannot open shared object file: No such file or directory")

    def unloaded(*_: Any, **__: Any) -> None:
        raise mssql_python.OperationalError("Connection operation failed", "Failed to load the driver. Please read")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(mssql_python, "connect", unloaded)
    with pytest.raises(NotConfigured, match="needs libgssapi_krb5, of the package libgssapi-krb5-2"):
        driver_for(of()).open(of(), "test", read_only=True)


@pytest.mark.parametrize(
    ("message", "package"),
    [
        ("libodbc.so.2: cannot open shared object file: No such file or directory", "unixodbc"),
        ("libgssapi_krb5.so.2: cannot open shared object file", "libgssapi-krb5-2"),
        ("libkrb5.so.3: cannot open shared object file", "libkrb5-3"),
    ],
)
def test_every_library_has_its_package(message: str, package: str) -> None:
    assert f"of the package {package}" in str(odbc.lacking(message))


def test_pyodbc_that_cannot_be_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    with pytest.raises(NotConfigured, match="the ODBC driver for SQL Server"):
        sqlalchemy_engine(of())


def missing_libraries() -> str:
    try:
        odbc.load_pyodbc()
        odbc.load_wheel()
    except NotConfigured as error:
        return str(error)
    return ""


@pytest.mark.skipif(bool(missing_libraries()), reason=missing_libraries())
@pytest.mark.parametrize("client", ["pyodbc", "mssql-python"])
def test_a_server_that_is_not_there_is_a_lost_connection_without_a_password(client: str) -> None:
    extra = {"login_timeout": 1, "client": client}
    nowhere = Connection.of(
        "pos", kind="mssql", host="127.0.0.1", port=1, database="db", login="me", password="se;cr}et", extra=extra
    )
    with pytest.raises(ConnectionLost, match=r"connecting to pos \(mssql me@127\.0\.0\.1:1/db\)") as told:
        driver_for(nowhere).open(nowhere, "test", read_only=True)
    assert "se;cr" not in str(told.value)
    with pytest.raises(ConnectionLost), sqlalchemy_engine(nowhere).connect():
        pass
