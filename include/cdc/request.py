"""What a run of the DAG, or of the command line, is asked to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from include.cdc.loader import Replications, pick
from include.errors import BadRequest
from include.parameters import read_choice, read_names, refuse_unknown

ALL = "ALL"
_LONGEST_MINUTES = 24 * 60


class Action(StrEnum):
    """What to do with replications."""

    APPLY = "apply"
    """Apply what their sources have committed."""
    START = "start"
    """Validate, copy what has no finished copy, and follow."""
    RESYNC = "resync"
    """Copy anew: everything, beside the copy that readers see, or some tables."""
    STOP = "stop"
    RESUME = "resume"
    STATUS = "status"
    COMPARE = "compare"
    """Apply, and compare source and target at the moment where the stream ends."""
    DROP = "drop"
    """Follow the source no more; the tables in the warehouse stay."""


#: Of what cannot be taken back, or costs a source hours, one replication has to be named.
_NAMED = {Action.RESYNC, Action.DROP}
DEFAULTS: Mapping[str, Any] = {"action": Action.APPLY.value, "replication": ALL, "tables": [], "minutes": 0}


@dataclass(frozen=True)
class ActionRequest:
    """
    What to do.

    :param tables: of a resync, the tables at the source; none for all of them.
    :param minutes: follow for so long; 0 ends as soon as all is applied.
    """

    action: Action
    replications: tuple[str, ...]
    tables: tuple[str, ...] = ()
    minutes: float = 0.0

    @property
    def copies(self) -> bool:
        """Whether tables may have to be copied."""
        return self.action in {Action.START, Action.RESYNC}

    @property
    def follows(self) -> bool:
        """Whether changes are applied in the end."""
        return self.copies or self.action in {Action.APPLY, Action.RESUME, Action.COMPARE}


def read_action(values: Mapping[str, Any], known: Replications) -> ActionRequest:
    """
    Make sense of the parameters.

    :raises BadRequest: naming the one that makes no sense.
    """
    refuse_unknown(values, DEFAULTS)
    values = {**DEFAULTS, **values}
    action = read_choice("action", values["action"], Action)
    name = str(values["replication"] or ALL)
    if name == ALL and action in _NAMED:
        raise BadRequest(f"replication: name the one to {action}; there are: {', '.join(known) or 'none'}")
    chosen = tuple(known) if name == ALL else (pick(known, name).name,)
    tables = tuple(read_names("tables", values["tables"]))
    if tables and action is not Action.RESYNC:
        raise BadRequest(f"tables: only a resync takes tables, not {action}")
    return ActionRequest(action, chosen, tables, _minutes(values["minutes"]))


def _minutes(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST_MINUTES:
        raise BadRequest(f"minutes: expected a number from 0 to {_LONGEST_MINUTES}, found {value!r}")
    return float(value)
