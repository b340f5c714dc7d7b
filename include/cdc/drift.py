"""What became of a table's columns at the source, and the target following it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from include.cdc.changes import TargetTable
from include.cdc.targets.base import Alteration, Target
from include.cdc.values import has_digits_of, is_supported, split
from include.errors import SchemaMismatch

log = logging.getLogger(__name__)

_INTEGERS = ("smallint", "integer", "bigint")
_FLOATS = ("real", "double precision")
#: Fractions of a second have six digits where a type does not say how many.
_PRECISE = ("timestamp without time zone", "timestamp with time zone", "time without time zone")
_DIGITS = 6


@dataclass(frozen=True)
class Drift:
    """
    How the columns of the source differ from those of the target.

    :param added: new columns with their types.
    :param dropped: columns that the source does not have, also those that followed long ago.
    :param widened: columns with the types that they have at the source now.
    :param refused: columns that cannot follow, with the reason.
    """

    added: dict[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    widened: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def compare(source_columns: Mapping[str, str], target: TargetTable) -> Drift:
    """Compare the columns that the source has now, with their types, with those of the target."""
    drift = Drift(dropped=tuple(name for name in target.columns if name not in source_columns))
    for name, type_ in source_columns.items():
        present = target.columns.get(name)
        if present is None:
            if is_supported(type_):
                drift.added[name] = type_
            else:
                drift.refused[name] = f"is new, and {type_} cannot be replicated"
        elif present != type_:
            if _is_wider(type_, present):
                drift.widened[name] = type_
            else:
                drift.refused[name] = f"is {type_} at the source, {present} at the target"
    for name in target.key:
        if name in drift.dropped:
            drift.refused[name] = "is part of the key, and gone at the source"
    return replace(drift, dropped=tuple(name for name in drift.dropped if name not in drift.refused))


def follow(session: Target, target: TargetTable, drift: Drift, missing_values: Mapping[str, str | None]) -> TargetTable:
    """
    Let the target follow, within the caller's transaction; return it as it is then.

    A new column has its constant default here too: rows that are there, and changes that are older
    than the column, get what they have at the source. A dropped one stays, and may be NULL from now.

    :param missing_values: the constant defaults of new columns, as texts.
    :raises SchemaMismatch: if a column may have been renamed: its values came without changes.
    """
    with session.doing(f"following the columns of {target.source} in {target.schema}.{target.name}"):
        dropped = session.unmarked(target, drift.dropped) if drift.dropped else {}
        _refuse_renamed(target, drift, dropped)
        defaults = {name: value for name in drift.added if (value := missing_values.get(name)) is not None}
        if drift.added or drift.widened or dropped:
            session.alter(target, Alteration(drift.added, defaults, drift.widened, dropped))
    for what, names in (("added", drift.added), ("dropped", dropped), ("widened", drift.widened)):
        if names:
            log.info("%s: columns %s at the source: %s", target.source, what, ", ".join(names))
    return replace(target, columns={**target.columns, **drift.widened, **drift.added})


def _refuse_renamed(target: TargetTable, drift: Drift, dropped: Mapping[str, bool]) -> None:
    for name in dropped:
        if same := [new for new, type_ in drift.added.items() if type_ == target.columns[name]]:
            raise SchemaMismatch(
                f"{target.source}: column {same[0]} may be {name} under a new name, and what it holds"
                " came without a change; copy the table again"
            )


def _is_wider(type_: str, other: str) -> bool:
    """Whether a type holds all of another one, written as there."""
    base, lengths = split(type_)
    other_base, other_lengths = split(other)
    if base == "numeric" and other_base == "numeric" and lengths and other_lengths:
        return has_digits_of(lengths, other_lengths)
    if base == other_base and base in (*_PRECISE, "numeric", "character varying"):
        longest = _DIGITS if base in _PRECISE else None
        return _length(lengths, longest) >= _length(other_lengths, longest)
    if base == "text":
        return other_base == "character varying"
    for family in (_INTEGERS, _FLOATS):
        if base in family and other_base in family:
            return family.index(base) > family.index(other_base)
    return False


def _length(lengths: tuple[int, ...], unlimited: int | None) -> float:
    if lengths:
        return lengths[0]
    return float("inf") if unlimited is None else unlimited
