"""Airflow's real API server in process, on a real PostgreSQL, with users of each role."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from include import migrations
from include.connections import parse
from include.demo.postgres import EmbeddedPostgres
from tests.dags.conftest import DAGS
from tests.integration.conftest import fresh_database, server

__all__ = ["server"]

#: Roles by name; ``nightly``, ``sales`` and ``nobody`` may read a part of the DAGs only.
USERS = dict.fromkeys(("viewer", "nightly", "sales", "nobody"), "viewer") | {"user": "user", "admin": "admin"}
PASSWORD = "not-to-be-shown"
ADDRESS = "http://127.0.0.1"


@pytest.fixture(scope="session")
def databases(server: EmbeddedPostgres) -> dict[str, str]:
    """The names of a migrated warehouse and control database, and of an empty one for Airflow."""
    names = {name: fresh_database(server, f"page_{name}") for name in ("warehouse", "control", "airflow")}
    migrations.migrate("warehouse", parse("warehouse", server.uri(names["warehouse"])))
    migrations.migrate("control", parse("control", server.uri(names["control"])))
    return names


@pytest.fixture(scope="session")
def airflow_app(server: EmbeddedPostgres, databases: dict[str, str], tmp_path_factory: Any) -> Iterator[Any]:
    """The application as ``airflow api-server`` serves it."""
    passwords = tmp_path_factory.mktemp("passwords") / "passwords.json"
    passwords.write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.uri(databases["airflow"], "postgresql+psycopg"),
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.page.auth.PickyAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789abcdef" * 4,
            "AIRFLOW__API__SECRET_KEY": "0123456789abcdef" * 4,
            "_AIRFLOW_PROCESS_CONTEXT": "server",
            "AIRFLOW_CONN_CONTROL": server.uri(databases["control"]),
        }.items():
            patch.setenv(name, value)
        yield from _serve(server.uri(databases["warehouse"]))
    _configure()


def _serve(warehouse: str) -> Iterator[Any]:
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.models.connection import Connection
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    _configure()
    initdb()
    with create_session() as session:
        session.add(Connection(conn_id="warehouse", uri=warehouse))
    purge_cached_app()
    yield create_app()
    purge_cached_app()


def _configure() -> None:
    from airflow import settings

    settings.configure_vars()
    settings.configure_orm()


@pytest.fixture(scope="session")
def anonymous(airflow_app: Any) -> Iterator[Any]:
    """A browser that is not logged in."""
    from fastapi.testclient import TestClient

    with TestClient(airflow_app, base_url=ADDRESS) as client:
        yield client


@pytest.fixture
def browser(airflow_app: Any, anonymous: Any) -> Callable[[str], Any]:
    """Log a user in, and return a browser that has the cookie of Airflow's UI."""
    from fastapi.testclient import TestClient

    def log_in(name: str) -> Any:
        answer = anonymous.post("/auth/token", json={"username": name, "password": PASSWORD})
        client = TestClient(airflow_app, base_url=ADDRESS, cookies={"_token": answer.json()["access_token"]})
        client.portal = anonymous.portal  # all in one event loop, as in a server
        return client

    return log_in


@pytest.fixture(scope="session")
def dag_ids() -> set[str]:
    """The DAGs of the project: a file is named as its DAG."""
    return {file.stem for file in DAGS.glob("*.py")}
