"""Connections: both of Airflow's forms, where they are looked for, and what libpq is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from include.connections import Connection, embedded_environment, embedded_file, find, parse, secret_of
from include.engines.factory import metadata_engine, source_of, warehouse_of
from include.engines.postgres.connect import conninfo
from include.errors import NotConfigured
from include.settings import Settings

PASSWORDS = ["p@ss;w{o}r%d/:", "ends with blank ", "'quoted' \\ \"twice\"", "пароль", "#?&=+", "%41", "["]


def as_uri(password: str, rest: str = "@db.example:5433/pos") -> str:
    return f"postgres://reader:{quote(password, safe='')}{rest}"


def as_json(**parts: Any) -> str:
    return json.dumps(
        {"conn_type": "postgres", "host": "db.example", "port": 5433, "schema": "pos", "login": "reader", **parts}
    )


@pytest.mark.parametrize("password", PASSWORDS)
def test_both_forms_mean_the_same(password: str) -> None:
    expected = Connection("pos_source", "postgres", "db.example", 5433, "pos", "reader", password)
    assert parse("pos_source", as_uri(password)) == expected
    assert parse("pos_source", as_json(password=password)) == expected


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_password_reaches_libpq_as_it_is(password: str) -> None:
    for connection in (parse("x", as_uri(password)), parse("x", as_json(password=password))):
        assert conninfo_to_dict(conninfo(connection, "test")).get("password", "") == password


@pytest.mark.parametrize("login", ["DOMAIN\\reader", "reader@example.com", "a b"])
def test_login_and_database_may_need_quoting(login: str) -> None:
    found = parse("x", f"mssql://{quote(login, safe='')}:pw@db.example/{quote('my db/1', safe='')}")
    assert (found.kind, found.login, found.database) == ("mssql", login, "my db/1")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_names_of_postgres_are_one_kind(scheme: str) -> None:
    assert parse("x", f"{scheme}://u@h/d").kind == "postgres"
    assert parse("x", as_json(conn_type=scheme)).kind == "postgres"


def test_what_is_left_out_has_a_default() -> None:
    assert parse("x", "postgres://") == Connection("x", "postgres", "localhost", None, "", "", "")
    assert parse("x", '{"conn_type": "postgres"}') == Connection("x", "postgres", "localhost", None, "", "", "")


def test_a_unix_socket_keeps_its_case() -> None:
    found = parse("x", "postgres://u:pw@%2FUsers%2FMe%2FSockets:5433/pos")
    assert (found.host, found.port) == ("/Users/Me/Sockets", 5433)


def test_an_ipv6_address_is_a_host() -> None:
    found = parse("x", "postgres://u:pw@[::1]:5433/pos")
    assert (found.host, found.port) == ("::1", 5433)


def test_extras_of_a_uri_are_its_query() -> None:
    assert parse("x", "postgres://h/d?sslmode=require&note=").extra == {"sslmode": "require", "note": ""}


def test_extras_that_are_no_text_come_in_one_field() -> None:
    extra = {"sslmode": "require", "nested": {"a": [1, True, None]}}
    assert parse("x", f"postgres://h/d?__extra__={quote(json.dumps(extra))}").extra == extra
    assert parse("x", as_json(extra=extra)).extra == extra
    assert parse("x", as_json(extra=json.dumps(extra))).extra == extra


@pytest.mark.parametrize(
    "text", ["sqlite://u:hidden@h/d", as_json(conn_type="sqlite", password="hidden"), "/just/a/path"]
)
def test_another_database_is_not_supported(text: str) -> None:
    with pytest.raises(NotConfigured, match=r"'pos_source'.* is not supported, use postgres or mssql") as refused:
        parse("pos_source", text)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("open_", [source_of, metadata_engine, lambda connection: warehouse_of(connection, Settings())])
def test_a_database_that_can_only_be_followed_is_no_source_or_warehouse(open_: Callable[[Connection], object]) -> None:
    with pytest.raises(NotConfigured, match="'x': type 'mysql' can only be followed"):
        open_(parse("x", "mysql://u:hidden@h/d"))


@pytest.mark.parametrize(
    "text",
    [
        "postgres://u:hidden@h:port/d",
        "postgres://u:hidden@h:99999/d",
        "postgres://u:hidden/x@h/d",
        "postgres://u:hidden[@h/d",
        "postgres://u@h/d?__extra__=hidden",
        "postgres://u@h/d?__extra__=[1]",
        '{"conn_type": "postgres", "password": "hidden"',
        as_json(port="hidden"),
        as_json(extra="hidden"),
        as_json(extra=["hidden"]),
        as_json(conn_type=["hidden"]),
    ],
)
def test_what_cannot_be_read_is_not_quoted(text: str) -> None:
    with pytest.raises(NotConfigured, match="'pos_source': neither an Airflow connection URI nor JSON") as refused:
        parse("pos_source", text)
    assert "hidden" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_a_connection_never_shows_its_secrets() -> None:
    connection = parse("pos_source", as_uri("hidden", "@db.example:5433/pos?sslpassword=hidden"))
    assert str(connection) == "pos_source (postgres reader@db.example:5433/pos)"
    assert "hidden" not in repr(connection) + str(connection) + f"{connection!r:>9} {[connection]}"


@pytest.fixture
def local_dir(tmp_path: Path) -> Path:
    embedded_file(tmp_path).write_text(json.dumps({"AIRFLOW_CONN_POS_SOURCE": "postgres://embedded/pos"}))
    return tmp_path


def test_the_environment_comes_first(local_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_POS_SOURCE", "postgres://own/pos")
    assert find("pos_source", local_dir).host == "own"


@pytest.mark.parametrize("value", [None, ""])
def test_the_embedded_default_comes_second(local_dir: Path, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("AIRFLOW_CONN_POS_SOURCE", value)
    assert find("pos_source", local_dir).host == "embedded"


def test_a_connection_that_is_nowhere_names_its_variable(local_dir: Path, tmp_path: Path) -> None:
    for folder in (local_dir, tmp_path / "never_started"):
        with pytest.raises(NotConfigured, match="'warehouse' is not set: export AIRFLOW_CONN_WAREHOUSE"):
            find("warehouse", folder)


def test_a_broken_file_of_the_embedded_default_is_named(tmp_path: Path) -> None:
    embedded_file(tmp_path).write_text('{"AIRFLOW_CONN_POS_SOURCE": "postgres://u:hid')
    with pytest.raises(NotConfigured, match=r"connections\.json cannot be read") as refused:
        find("pos_source", tmp_path)
    assert "hid" not in str(refused.value)


def test_nothing_is_embedded_where_nothing_was_started(tmp_path: Path) -> None:
    assert embedded_environment(tmp_path) == {}


def libpq_options(application: str = "retail-sync", **parts: Any) -> dict[str, Any]:
    return conninfo_to_dict(conninfo(Connection.of("x", kind="postgres", **parts), application))


def test_libpq_is_told_where_and_who() -> None:
    options = libpq_options(host="h", port="5433", database="my db", login="it's me", password="p w")
    assert {name: options[name] for name in ("host", "port", "dbname", "user", "password")} == {
        "host": "h",
        "port": "5433",
        "dbname": "my db",
        "user": "it's me",
        "password": "p w",
    }


def test_the_port_of_postgres_is_the_default() -> None:
    assert libpq_options()["port"] == "5432"


def test_a_connection_without_password_leaves_it_to_libpq() -> None:
    assert "password" not in libpq_options(password="")


def test_the_server_gets_as_much_of_the_name_as_it_keeps() -> None:
    assert libpq_options("x" * 63 + "y")["application_name"] == "x" * 63
    assert libpq_options("sales_replication months[3] try 1")["application_name"] == "sales_replication months[3] try 1"


def test_only_extras_of_libpq_are_passed_on() -> None:
    extra = {"sslmode": "require", "connect_timeout": 3, "cursor": "dictcursor", "iam": True}
    options = libpq_options(extra=extra)
    assert (options["sslmode"], options["connect_timeout"]) == ("require", "3")
    assert not {"cursor", "iam"} & set(options)


def test_a_dead_link_is_noticed_and_sessions_agree_on_how_values_are_written() -> None:
    options = libpq_options()
    assert (options["keepalives"], options["connect_timeout"]) == ("1", "15")
    assert (
        int(options["keepalives_idle"]) + int(options["keepalives_interval"]) * int(options["keepalives_count"]) <= 120
    )
    assert {"TimeZone=UTC", "DateStyle=ISO,YMD", "search_path=pg_catalog"} <= set(options["options"].split(" "))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('{"conn_type": "generic", "password": "p@ss"}', b"p@ss"),
        ("generic://:p%40ss@", b"p@ss"),
        ("generic://", None),
        ('{"conn_type": "generic"}', None),
        (None, None),
    ],
)
def test_a_secret_is_the_password_of_a_connection_of_any_type(
    text: str | None, secret: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if text is not None:
        monkeypatch.setenv("AIRFLOW_CONN_HASH_KEY", text)
    assert secret_of("hash_key", tmp_path) == secret


def test_a_secret_that_cannot_be_read_is_not_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_HASH_KEY", '{"password": "hidden')
    with pytest.raises(NotConfigured, match="'hash_key'") as told:
        secret_of("hash_key", tmp_path)
    assert "hidden" not in str(told.value)
