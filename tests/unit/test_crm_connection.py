"""Connections to the CRMs: both of Airflow's forms, which one a store has, and the feed that each stands for."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from include.connections import embedded_file
from include.errors import NotConfigured
from include.orders_sync.crm import CrmConnection, feed_of, find_crm, lookup_environment, parse_crm
from include.orders_sync.feeds.api import ApiFeed
from include.orders_sync.feeds.files import FilesFeed
from include.orders_sync.pipelines import TD, UC

ZONE = ZoneInfo("Asia/Kolkata")


def crm(**parts: Any) -> CrmConnection:
    return CrmConnection.of("crm_td", **{"conn_type": "http", "host": "crm.example", **parts})


def test_both_forms_mean_the_same() -> None:
    extra = {"paths": {"td_orders": "/v2/orders"}, "attempts": 2}
    parts = {
        "conn_type": "https",
        "host": "crm.example",
        "port": 8443,
        "schema": "api",
        "login": "me",
        "password": "p@:",
    }
    expected = CrmConnection("crm_td", "https", "crm.example", 8443, "api", "me", "p@:", extra)
    uri = f"https://me:p%40%3A@crm.example:8443/api?__extra__={quote(json.dumps(extra))}"
    assert parse_crm("crm_td", uri) == expected
    assert parse_crm("crm_td", json.dumps({**parts, "password": "p@:", "extra": extra})) == expected
    assert parse_crm("crm_td", json.dumps({**parts, "password": "p@:", "extra": json.dumps(extra)})) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://u:hidden@h:port/",
        "https://u:hidden[@h/",
        "https://u:hidden@h/?__extra__=hidden",
        '{"password": "hidden"',
    ],
)
def test_what_cannot_be_read_is_not_quoted(text: str) -> None:
    with pytest.raises(NotConfigured, match="'crm_td': neither an Airflow connection URI nor JSON") as refused:
        parse_crm("crm_td", text)
    assert "hidden" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_a_connection_never_shows_its_secrets() -> None:
    connection = parse_crm("crm_td", "https://me:hidden@h/?key=hidden")
    assert "hidden" not in f"{connection} {connection!r}"


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({}, "http://crm.example"),
        ({"conn_type": "https"}, "https://crm.example"),
        ({"schema": "https", "port": 8443}, "https://crm.example:8443"),
        ({"host": "https://crm.example/Api/"}, "https://crm.example/Api"),
        ({"host": "https://crm.example/api", "port": 8443}, "https://crm.example:8443/api"),
        ({"host": "crm.example:81/api", "port": 82}, "http://crm.example:81/api"),
        ({"conn_type": "https", "schema": "api/v2"}, "https://crm.example/api/v2"),
        ({"host": "http://[::1]:80"}, "http://[::1]:80"),
    ],
)
def test_host_schema_and_port_make_the_address(parts: dict[str, Any], url: str) -> None:
    assert crm(**parts).base_url == url


@pytest.mark.parametrize("host", ["https%3A%2F%2Fcrm.example%2FApi", "https://crm.example"])
def test_a_host_with_its_own_protocol_survives_the_uri(host: str) -> None:
    uri = f"http://me:pw@{host}" if "%" in host else f"http://{host.replace('://', '://me:pw@')}/Api"
    found = parse_crm("crm_td", uri)
    assert (found.base_url, found.login) == ("https://crm.example/Api", "me")


@pytest.mark.parametrize(
    "host", ["", "ftp://crm.example", "https://me:hidden@crm.example", "crm.example:port", "http://["]
)
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(NotConfigured, match="connection 'crm_td'") as refused:
        feed_of(crm(host=host), ZONE)
    assert "hidden" not in str(refused.value)


def test_a_store_may_have_a_connection_of_its_own() -> None:
    own, shared = crm(login="own"), crm(login="shared")
    assert find_crm(TD, "A1", {"crm_td__A1": own, "crm_td": shared}.get) is own
    assert find_crm(TD, "A2", {"crm_td__A1": own, "crm_td": shared}.get) is shared
    with pytest.raises(NotConfigured, match=r"store A2: .*'crm_uc__A2'.*'crm_uc'.* export AIRFLOW_CONN_CRM_UC"):
        find_crm(UC, "A2", {"crm_td": shared}.get)


def test_the_environment_comes_before_the_embedded_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = {f"AIRFLOW_CONN_{name}": "http://embedded" for name in ("CRM_TD", "CRM_TD__A1")}
    embedded_file(tmp_path).write_text(json.dumps(embedded))
    monkeypatch.setenv("AIRFLOW_CONN_CRM_TD__A1", "http://own")
    lookup = lookup_environment(tmp_path)
    assert [found.host for name in ("crm_td__A1", "crm_td") if (found := lookup(name))] == ["own", "embedded"]
    assert lookup("crm_uc") is None


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({}, ApiFeed),
        ({"conn_type": "https"}, ApiFeed),
        ({"conn_type": "fs", "extra": {"path": "/exports"}}, FilesFeed),
        ({"conn_type": "file", "extra": {"path": "s3://exports/td"}}, FilesFeed),
        ({"conn_type": "generic", "extra": {"feed": "files", "path": "exports"}}, FilesFeed),
        ({"conn_type": "generic", "extra": {"feed": "api"}}, ApiFeed),
    ],
)
def test_type_or_extra_choose_the_feed(parts: dict[str, Any], kind: type) -> None:
    feed = feed_of(crm(**parts), ZONE)
    feed.close()
    assert isinstance(feed, kind)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"conn_type": "ftp"}, "type 'ftp' is no feed"),
        ({"extra": {"feed": "mail"}}, "is no feed"),
        ({"conn_type": "fs"}, "extra `path`"),
        ({"extra": {"attempts": "many"}}, "attempts"),
        ({"extra": {"paths": "everywhere"}}, "paths"),
    ],
)
def test_what_is_no_feed_is_refused(parts: dict[str, Any], told: str) -> None:
    with pytest.raises(NotConfigured, match=told):
        feed_of(crm(**parts), ZONE)


@pytest.mark.parametrize(
    ("host", "warned"), [("http://crm.example", 1), ("https://crm.example", 0), ("127.0.0.1", 0), ("localhost", 0)]
)
def test_a_password_for_all_to_read_is_warned_of(host: str, warned: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        feed_of(crm(host=host, password="hidden"), ZONE).close()
    assert caplog.text.count("plain http") == warned
    assert "hidden" not in caplog.text
