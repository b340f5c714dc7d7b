"""What importing the modules of a DAG file costs: no driver, and no Airflow below the operators."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from include.settings import PROJECT_ROOT

DRIVERS = [
    *("psycopg", "pyarrow", "pyodbc", "mssql_python", "adbc_driver_manager", "adbc_driver_postgresql"),
    *("pgpq", "polars", "duckdb", "numpy"),
]
PLANNING = ["include.catalog", "include.settings", "include.replication.request", "include.replication.verify"]
OPERATORS = [
    f"retail_sync.{folder}.{path.stem}"
    for folder in ("hooks", "operators")
    for path in sorted((PROJECT_ROOT / "plugins" / "retail_sync" / folder).glob("[!_]*.py"))
]
SCRIPT = """
import importlib, json, sys
known, modules, watched = json.load(sys.stdin)
for name in known:
    importlib.import_module(name)
before, brought = set(sys.modules), {}
for name in modules:
    importlib.import_module(name)
    brought[name] = sorted((set(sys.modules) - before) & set(watched))
print(json.dumps(brought))
"""


def brought_in(modules: list[str], watched: list[str], known: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Import the modules in a fresh process; return which of the watched came with each, after the known ones."""
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([known, modules, watched]),
        env={**os.environ, "PYTHONPATH": f"{PROJECT_ROOT}:{PROJECT_ROOT / 'plugins'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def test_planning_brings_in_no_driver_and_no_airflow() -> None:
    found = brought_in([*PLANNING, "include.engines.arrow"], [*DRIVERS, "sqlalchemy", "airflow"])
    assert "pyarrow" in found.pop("include.engines.arrow")
    assert found == {name: [] for name in PLANNING}


def test_operators_bring_in_no_driver_that_airflow_does_not() -> None:
    assert {"retail_sync.operators.replicate_window", "retail_sync.hooks.engine"} <= set(OPERATORS)
    found = brought_in(OPERATORS, DRIVERS, known=("airflow.sdk", "airflow.sdk.exceptions"))
    assert found == {name: [] for name in OPERATORS}
