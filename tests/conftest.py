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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say it loudly when the suite did not run against SQL Server."""
    skipped = terminalreporter.stats.get("skipped", [])
    if count := sum("RETAIL_SYNC_TEST_MSSQL" in str(report.longrepr) for report in skipped):
        terminalreporter.section("NOT TESTED AGAINST SQL SERVER", yellow=True, bold=True)
        terminalreporter.line(f"{count} tests were skipped: RETAIL_SYNC_TEST_MSSQL names no server.")
        terminalreporter.line("`docker compose --profile mssql up -d mssql` starts one, `make test-mssql` runs them.")
