"""The command line as a cron job sees it: exit codes, and what it prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from include.cli import common, main
from include.settings import PROJECT_ROOT

#: No line is broken, and none has colours.
_PLAIN = {"COLUMNS": "250", "NO_COLOR": "1"}
_TIMEOUT = 120

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Cli:
    """The command line in this process, which spares each call the seconds that its imports take."""

    environment: dict[str, str]

    def __call__(self, *arguments: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in {**_PLAIN, **self.environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["retail-sync", *arguments])
            # it takes its width when it is made
            patch.setattr(common, "console", Console())
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(arguments, code, out.getvalue(), err.getvalue())

    def ok(self, *arguments: str) -> str:
        """Run a command that does all it was asked for; returns what it printed."""
        done = self(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass(frozen=True)
class Process(Cli):
    """The command line as a process with an environment of its own."""

    folder: Path = PROJECT_ROOT
    python: str = sys.executable

    def __call__(self, *arguments: str) -> Done:
        inherited = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        return subprocess.run(
            [self.python, "-m", "include", *arguments],
            cwd=self.folder,
            env={**inherited, **_PLAIN, **self.environment},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )


def invoked(command: Callable[..., None], environment: Mapping[str, str], *arguments: str) -> Result:
    """Run a command by itself in this process."""
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={**environment, "COLUMNS": _PLAIN["COLUMNS"]}).invoke(app, list(arguments))


def line_of(output: str, *words: str) -> str:
    """Return the one line that has all the words."""
    (line,) = [line for line in output.splitlines() if all(word in line for word in words)]
    return line
