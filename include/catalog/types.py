"""SQL Server's column types as the catalog writes them: ``decimal(16,4)``, ``varchar(max)``, ``rowversion``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TYPE = re.compile(r"(?P<base>[a-z][a-z0-9_]*)(?:\((?P<first>\d+|max)(?:,(?P<second>\d+))?\))?", re.ASCII)

_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_SIZED = ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary")
_SCALED = ("decimal", "numeric")
_FRACTIONAL = ("time", "datetime2", "datetimeoffset")
_PLAIN = (
    *_INTEGERS,
    *("bit", "real", "float", "money", "smallmoney", "date", "datetime", "smalldatetime"),
    *("text", "ntext", "image", "uniqueidentifier", "xml", "rowversion"),
)

#: Of a decimal, at SQL Server and in Arrow's 128 bits; PostgreSQL allows more.
_MOST_DIGITS = 38

#: Names that the source's information schema uses for a type of another name here.
_SYNONYMS = {"timestamp": "rowversion", "numeric": "decimal"}


@dataclass(frozen=True, slots=True)
class SqlType:
    """
    A column type of SQL Server.

    ``length`` counts characters or bytes, None means ``max``; ``precision`` and
    ``scale`` are those of a decimal; ``fraction`` is the number of digits of a second.
    """

    base: str
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    fraction: int | None = None

    @classmethod
    def parse(cls, text: str) -> SqlType:
        """
        Read a type as ``str(type)`` writes it.

        :raises ValueError: for a type that cannot be replicated, or a wrong form.
        """
        found = _TYPE.fullmatch(text)
        if not found:
            raise ValueError(f"not a column type: {text!r}")
        base = _SYNONYMS.get(found["base"], found["base"])
        first, second = found["first"], found["second"]
        if base in _SIZED and first and not second:
            return cls(base, length=None if first == "max" else int(first))
        if base in _SCALED and first and first != "max" and int(second or 0) <= int(first) <= _MOST_DIGITS:
            return cls(base, precision=int(first), scale=int(second or 0))
        if base in _FRACTIONAL and not second and first in (None, *"01234567"):
            return cls(base, fraction=int(first) if first else 7)
        if base in _PLAIN and not first:
            return cls(base)
        raise ValueError(f"not a column type: {text!r}")

    def __str__(self) -> str:
        if self.base in _SIZED:
            return f"{self.base}({'max' if self.length is None else self.length})"
        if self.base in _SCALED:
            return f"{self.base}({self.precision},{self.scale})"
        if self.base in _FRACTIONAL:
            return f"{self.base}({self.fraction})"
        return self.base

    @property
    def is_text(self) -> bool:
        """Whether values are character strings."""
        return self.base in ("char", "varchar", "nchar", "nvarchar", "text", "ntext", "xml")

    @property
    def is_exact_only_as_text(self) -> bool:
        """Whether Arrow has no type for it: a second's 7th digit, or an offset from UTC, is kept by text alone."""
        return self.base == "datetimeoffset" or (self.base in ("time", "datetime2") and self.fraction == 7)

    @property
    def is_temporal(self) -> bool:
        """Whether a value has a calendar date in it."""
        return self.base in ("date", "datetime", "smalldatetime", "datetime2", "datetimeoffset")
