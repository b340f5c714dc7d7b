"""Java, in which Debezium runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from include.cdc.prerequisites import Problem

OLDEST = 17
_REMEDY = f"install a runtime of {OLDEST} or later, or set JAVA_HOME to one"
_RELEASE = re.compile(r'^JAVA_VERSION="([^"]+)"', re.MULTILINE)
_ANSWER = re.compile(r'version "([^"]+)"')
_ANSWER_SECONDS = 30


def problems() -> list[Problem]:
    """Look at the Java that would be used."""
    import jpype

    try:
        library = Path(jpype.getDefaultJVMPath())
    except jpype.JVMNotFoundException:
        return [Problem("Java is not there", _REMEDY)]
    return judged(library, version_of(library))


def judged(library: Path, version: str | None) -> list[Problem]:
    """Return what is wrong with a version of Java, as Java writes it."""
    if version is None:
        return [Problem(f"the version of Java in {library} cannot be told", _REMEDY)]
    if int(version.split(".")[0]) < OLDEST:
        return [Problem(f"Java in {library} is {version}", _REMEDY)]
    return []


def version_of(library: Path) -> str | None:
    """Return the version of the Java that a JVM's library belongs to, None where nothing tells it."""
    for home in library.resolve().parents[:4]:
        release, program = home / "release", home / "bin" / "java"
        if release.is_file() and (found := _RELEASE.search(release.read_text(encoding="utf-8", errors="replace"))):
            return found[1]
        if program.is_file():
            return _told_by(program)
    return None


def _told_by(program: Path) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603
            [program, "-version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _ANSWER.search(done.stderr)
    return found[1] if found else None
