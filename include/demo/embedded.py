"""The embedded default as a whole: where it lives, how it starts and stops."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from include import migrations
from include.connections import parse
from include.demo.airflow import LocalAirflow
from include.demo.local_crm import PORT_VARIABLE, LocalCrm
from include.demo.postgres import CONTROL, WAREHOUSE, EmbeddedPostgres


@dataclass(frozen=True)
class Embedded:
    """Servers and Airflow with everything they write below ``local_dir``."""

    local_dir: Path

    @property
    def postgres(self) -> EmbeddedPostgres:
        """The database server."""
        return EmbeddedPostgres(self.local_dir / "postgres")

    @property
    def airflow(self) -> LocalAirflow:
        """Airflow on it."""
        return LocalAirflow(self.local_dir / "airflow", self.postgres, self.local_dir)

    @property
    def crm(self) -> LocalCrm:
        """The CRM of the demo of orders; only that starts it."""
        return LocalCrm(self.local_dir / "crm", int(self.airflow.environment()[PORT_VARIABLE]))

    def start_databases(self) -> None:
        """Start the server, with warehouse and control database migrated."""
        self.postgres.start()
        self.airflow.write_environment()
        migrations.migrate("control", parse(CONTROL, self.postgres.uri(CONTROL)))
        migrations.migrate("warehouse", parse(WAREHOUSE, self.postgres.uri(WAREHOUSE)))

    def start(self) -> None:
        """Start everything."""
        self.start_databases()
        self.airflow.start()

    def stop(self) -> None:
        """Stop everything; what was written stays."""
        self.airflow.stop()
        if PORT_VARIABLE in self.airflow.environment():
            self.crm.stop()
        self.postgres.stop()

    def remove(self) -> None:
        """Stop everything and delete what it wrote."""
        self.stop()
        shutil.rmtree(self.local_dir, ignore_errors=True)
