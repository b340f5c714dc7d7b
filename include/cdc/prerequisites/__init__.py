"""What databases, Java and Kafka have to be like before a replication begins; what cannot be checked is a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from include.engines.postgres.errors import translated
from include.errors import RetailSyncError


@dataclass(frozen=True)
class Problem:
    """What is in the way, and what to do about it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


def looked(what: str, look: Callable[[], list[Problem]]) -> list[Problem]:
    """Return what a look finds; one that fails is itself a problem."""
    try:
        with translated("asking"):
            return look()
    except RetailSyncError as error:
        return [Problem(f"{what} cannot be checked: {error}", "mend that, then validate again")]
