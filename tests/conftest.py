"""What every test may rely on: an Airflow home of its own, and no setting of the outside."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_HOME = tempfile.mkdtemp(prefix="retail-sync-airflow-")

for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "RETAIL_SYNC_"))]:
    if not _name.startswith("RETAIL_SYNC_TEST_"):
        del os.environ[_name]

# before anything imports airflow: it reads these once
os.environ.update(
    {
        "AIRFLOW_HOME": _HOME,
        "AIRFLOW__CORE__DAGS_FOLDER": str(_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(_ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
)


_SERVERS = {"MSSQL": "SQL Server", "MYSQL": "MySQL"}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say it loudly when the suite did not run against a server that it knows."""
    skipped = terminalreporter.stats.get("skipped", [])
    for name, server in _SERVERS.items():
        variable, profile = f"RETAIL_SYNC_TEST_{name}", name.lower()
        if count := sum(variable in str(report.longrepr) for report in skipped):
            terminalreporter.section(f"NOT TESTED AGAINST {server.upper()}", yellow=True, bold=True)
            terminalreporter.line(f"{count} tests were skipped: {variable} names no server.")
            start = f"docker compose --profile {profile} up -d {profile}"
            terminalreporter.line(f"`{start}` starts one, `make test-{profile}` runs them.")
