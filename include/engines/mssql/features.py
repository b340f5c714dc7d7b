"""
What a T-SQL engine is and can do, asked once a connection; no statement is tried to see it fail.

SQL Server, Azure SQL and Babelfish for PostgreSQL speak the common core that the engine uses.
What only some have is used where the answer here says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: An unknown property is NULL, on every engine.
QUESTION = """
    SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)),
           CAST(SERVERPROPERTY('EngineEdition') AS nvarchar(128)),
           CAST(SERVERPROPERTY('Babelfish') AS nvarchar(128)),
           CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(128)),
           CAST(DATABASEPROPERTYEX(DB_NAME(), 'Collation') AS nvarchar(128)),
           (SELECT MAX(CAST(snapshot_isolation_state AS int)) FROM sys.databases WHERE name = DB_NAME()),
           SUSER_SNAME(), DB_NAME()
"""

_AZURE_EDITIONS = {"5": "Azure SQL Database", "8": "Azure SQL Managed Instance", "6": "Azure Synapse"}
_PARTITIONS_FOR_ALL_EDITIONS = (13, 0, 4001)  # SQL Server 2016 SP1


@dataclass(frozen=True)
class Features:
    """The answer, as the server gave it."""

    version: str
    edition: str
    babelfish: bool
    read_only: bool
    """Whether the database cannot be written, as on a readable secondary."""
    collation: str
    snapshots: bool
    """Whether a transaction can read everything as of one moment (SNAPSHOT isolation)."""
    user: str
    database: str

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Features:
        """Make sense of the answer to ``QUESTION``."""
        version, edition, babelfish, updateability, collation, snapshot_state, user, database = row
        is_babelfish = babelfish not in (None, "", "0")
        return cls(
            version=str(version or ""),
            edition=str(edition or ""),
            babelfish=is_babelfish,
            read_only=str(updateability or "").upper() == "READ_ONLY",
            collation=str(collation or ""),
            snapshots=is_babelfish or snapshot_state == 1,
            user=str(user or ""),
            database=str(database or ""),
        )

    @property
    def name(self) -> str:
        """The engine and its version, for people."""
        if self.babelfish:
            return f"Babelfish for PostgreSQL (as SQL Server {self.version})"
        return f"{_AZURE_EDITIONS.get(self.edition, 'SQL Server')} {self.version}"

    @property
    def partitions(self) -> bool:
        """Whether single partitions can be truncated and switched in every edition."""
        numbers = tuple(int(part) for part in self.version.split(".")[:3] if part.isdigit())
        azure = self.edition in ("5", "8")
        return not self.babelfish and (azure or numbers >= _PARTITIONS_FOR_ALL_EDITIONS)
