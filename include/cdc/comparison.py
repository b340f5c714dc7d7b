"""How a table of the source and its copy compare."""

from __future__ import annotations

from dataclasses import dataclass

#: Keys that are named, at most.
SAMPLE = 20


@dataclass(frozen=True)
class TableComparison:
    """
    A table of the source and its copy.

    :param table: ``schema.table`` at the source.
    :param equal: false also where one of the tables is not there.
    :param rows_target: without those that were deleted at the source.
    :param missing: rows at the source only; ``extra``: at the target only; ``different``: on both sides.
    :param sample_keys: some of their keys, the columns of a key as texts.
    """

    table: str
    rows_source: int
    rows_target: int
    equal: bool
    missing: int = 0
    extra: int = 0
    different: int = 0
    sample_keys: tuple[tuple[str, ...], ...] = ()
