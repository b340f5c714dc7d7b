"""The file in which Debezium keeps how the tables of a source are defined, where the log does not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Definitions:
    """The file; what is in it grows while a stream goes on."""

    file: Path
    _known: int = 0

    def write(self, lines: Sequence[str]) -> None:
        """Begin with what is known."""
        self.file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._known = self.file.stat().st_size

    def more(self) -> list[str]:
        """Return the lines that came since this was asked last."""
        if not self.file.exists() or self.file.stat().st_size == self._known:
            return []
        with self.file.open("rb") as file:
            file.seek(self._known)
            # the last line may be half written
            whole = file.read().rpartition(b"\n")[0]
        self._known += len(whole) + bool(whole)
        return whole.decode().splitlines()
