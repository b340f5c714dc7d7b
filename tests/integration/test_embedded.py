"""The embedded server keeps its data and its port, and never mistakes another server for itself."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.demo.postgres import DATABASES, EmbeddedPostgres
from include.errors import NotConfigured
from tests.integration.helpers import one
from tests.integration.servers import server_folder


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedPostgres]:
    with server_folder() as folder:
        server = EmbeddedPostgres(folder)
        server.start()
        yield server
        server.stop()


def test_it_makes_the_databases_of_the_project(embedded: EmbeddedPostgres) -> None:
    for database in DATABASES:
        with psycopg.connect(embedded.dsn(database)) as connection:
            assert one(connection, "SELECT current_database()") == database
            assert one(connection, "SHOW server_encoding") == "UTF8"


def test_it_is_the_server_of_its_folder(embedded: EmbeddedPostgres) -> None:
    with psycopg.connect(embedded.dsn("postgres")) as connection:
        assert Path(one(connection, "SHOW data_directory")).resolve() == embedded.data_dir.resolve()
        assert one(connection, "SHOW listen_addresses") == "127.0.0.1"


def test_starting_a_running_server_leaves_it_alone(embedded: EmbeddedPostgres) -> None:
    with psycopg.connect(embedded.dsn("postgres")) as connection:
        began = one(connection, "SELECT pg_postmaster_start_time()")
        embedded.start()
        assert one(connection, "SELECT pg_postmaster_start_time()") == began


def test_data_and_port_survive_a_restart(embedded: EmbeddedPostgres) -> None:
    port = embedded.port
    with psycopg.connect(embedded.dsn("warehouse"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    embedded.stop()
    assert not embedded.running
    assert embedded.port == port
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(embedded.dsn("warehouse"))
    embedded.stop()
    embedded.start()
    assert embedded.running
    assert embedded.port == port
    with psycopg.connect(embedded.dsn("warehouse")) as connection:
        assert one(connection, "SELECT answer FROM kept") == 42


def test_a_port_that_was_taken_meanwhile_is_replaced(embedded: EmbeddedPostgres) -> None:
    embedded.stop()
    port = embedded.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        embedded.start()
        assert embedded.port != port
        with psycopg.connect(embedded.dsn("postgres")) as connection:
            assert Path(one(connection, "SHOW data_directory")).resolve() == embedded.data_dir.resolve()


def test_it_comes_up_after_it_was_killed(embedded: EmbeddedPostgres) -> None:
    pid = int((embedded.data_dir / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    deadline = time.monotonic() + 30
    while embedded.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not embedded.running
    embedded.start()
    with psycopg.connect(embedded.dsn("postgres")) as connection:
        assert one(connection, "SELECT 1") == 1


def test_a_folder_without_a_server_says_how_to_make_one(tmp_path: Path) -> None:
    nothing = EmbeddedPostgres(tmp_path / "data")
    assert not nothing.running
    with pytest.raises(NotConfigured, match="make demo"):
        nothing.dsn("postgres")
    nothing.stop()
