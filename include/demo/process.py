"""Processes of the embedded default that outlive the command that started them, each with a file of its number."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STOP_TIMEOUT = 30


@dataclass(frozen=True)
class Process:
    """
    A process with its log.

    :param name: of its files ``<name>.pid`` and ``<name>.log`` in ``home``.
    :param marker: what its command line holds; a process without it is another's by now.
    """

    home: Path
    name: str
    marker: str

    @property
    def log(self) -> Path:
        """What it writes to both of its streams."""
        return self.home / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Its number, None if it is gone."""
        try:
            pid = int(self._file.read_text())
            os.kill(pid, 0)
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and self.marker.encode() not in command.read_bytes():
                return None
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        return pid

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it in a session of its own."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as stream:
            process = subprocess.Popen(  # noqa: S603
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self._file.write_text(str(process.pid))

    def stop(self) -> None:
        """End it and what it started; one that is gone stays gone."""
        if pid := self.pid:
            _end(pid)
        self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self.home / f"{self.name}.pid"


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        deadline = time.monotonic() + _STOP_TIMEOUT
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
