"""PostgreSQL servers for the tests: each with a folder of its own, in memory where there is room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from include.demo.postgres import EmbeddedPostgres

#: Every test makes and drops databases of hundreds of files, at which a disk's file system is four times as slow.
MEMORY, ROOM = Path("/dev/shm"), 4 * 1024**3
#: Less log is kept than a server with more to do would keep.
SETTINGS = {"max_wal_size": "256MB"}


@contextmanager
def server_folder() -> Iterator[Path]:
    """Give a folder for the data of a server; as root the server is another user, who must be let in."""
    # not below pytest's folder: each start of pytest closes that to other users
    with TemporaryDirectory(prefix="retail-sync-test-", dir=_memory(), ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "data"


@contextmanager
def started(settings: Mapping[str, str] | None = None) -> Iterator[EmbeddedPostgres]:
    """Start a server of one's own, with settings of its own."""
    with server_folder() as folder:
        server = EmbeddedPostgres(folder, {**SETTINGS, **(settings or {})})
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _memory() -> Path | None:
    """Return the file system in memory; none where there is none, or too small a one, as in a container."""
    has_room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY if has_room else None
