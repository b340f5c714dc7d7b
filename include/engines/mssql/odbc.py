"""Find Microsoft's ODBC driver: the one of the wheel, or an installed one; say what the system lacks."""

from __future__ import annotations

import ctypes
import platform
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from include.connections import Connection
from include.errors import NotConfigured

_INSTALLED = ("ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server")

#: Library of the loader's message: the Debian package that has it.
_PACKAGES = {
    "libodbc": "unixodbc",
    "libodbcinst": "unixodbc",
    "libltdl": "libltdl7",
    "libkrb5": "libkrb5-3",
    "libgssapi_krb5": "libgssapi-krb5-2",
}
_FAMILIES = {"alpine": "alpine", "rhel": "rhel", "fedora": "rhel", "suse": "suse", "sles": "suse"}


def find_driver(connection: Connection) -> str:
    """
    Return name or path of the ODBC driver: the extra ``driver``, that of the wheel, or an installed one.

    :raises NotConfigured: naming the package that is missing.
    """
    return str(connection.extra.get("driver") or _found_driver())


def load_pyodbc() -> ModuleType:
    """
    Return pyodbc.

    :raises NotConfigured: naming the package that is missing.
    """
    try:
        import pyodbc
    except ImportError as error:
        raise lacking(str(error)) from None
    # a session that is handed out again would keep isolation level and settings
    pyodbc.pooling = False
    module: ModuleType = pyodbc
    return module


def lacking(message: str) -> NotConfigured:
    """Return the error for a loader's message, such as ``libodbc.so.2: cannot open shared object file``."""
    library = re.search(r"(lib\w+)\.(?:so|dylib)|(lib\w+)\.[\d.]+\.dylib", message)
    name = (library[1] or library[2]) if library else ""
    package = _PACKAGES.get(name)
    if package is None:
        return NotConfigured(f"the ODBC driver for SQL Server cannot be loaded: {message}")
    every = " ".join(sorted(set(_PACKAGES.values())))
    return NotConfigured(
        f"the ODBC driver for SQL Server needs {name}, of the package {package}: apt-get install {every}"
    )


@cache
def _found_driver() -> str:
    if library := load_wheel():
        return str(library)
    there = load_pyodbc().drivers()
    for name in _INSTALLED:
        if name in there:
            return name
    raise NotConfigured(
        "no ODBC driver for SQL Server: pip install mssql-python-odbc, or Microsoft's package msodbcsql18"
    )


def load_wheel() -> Path | None:
    """
    Return the driver's library of the wheel, loaded once to see that it can be; None without one.

    :raises NotConfigured: naming the package that is missing.
    """
    library = wheel_library()
    if library:
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            raise lacking(str(error)) from None
    return library


def wheel_library() -> Path | None:
    """Return the driver's library of the wheel ``mssql-python-odbc``, None without one for this machine."""
    spec = find_spec("mssql_python_odbc")
    if spec is None or spec.origin is None:
        return None
    libraries = Path(spec.origin).parent / "libs"
    machine = platform.machine().lower()
    machines = {machine, {"amd64": "x86_64", "aarch64": "arm64", "arm64": "aarch64"}.get(machine, machine)}
    found = [
        path
        for pattern in ("libmsodbcsql*.so*", "libmsodbcsql*.dylib")
        for path in sorted(libraries.rglob(pattern))
        if machines & set(path.relative_to(libraries).parts)
    ]
    system = "macos" if platform.system() == "Darwin" else _linux_family()
    return next((path for path in found if system in path.parts), None)


def _linux_family() -> str:
    release = Path("/etc/os-release")
    text = release.read_text(encoding="utf-8") if release.exists() else ""
    names = re.findall(r"^(?:ID|ID_LIKE)=(.*)$", text, re.MULTILINE)
    words = " ".join(names).replace('"', "").split()
    return next((_FAMILIES[word] for word in words if word in _FAMILIES), "debian_ubuntu")
