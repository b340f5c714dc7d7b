"""What a run of CDC is asked to do makes sense, or is refused by the parameter's name."""

from __future__ import annotations

from typing import Any

import pytest

from include.cdc.models import Replication
from include.cdc.request import Action, ActionRequest, read_action
from include.errors import BadRequest

KNOWN = {
    name: Replication(name=name, source=name, kind="postgres", tables=("public.*",), target_schema=f"{name}_live")
    for name in ("shop", "depot")
}


def read(**values: Any) -> ActionRequest:
    return read_action(values, KNOWN)


def test_changes_of_all_replications_are_applied_up_to_now_by_default() -> None:
    assert read() == ActionRequest(Action.APPLY, ("shop", "depot"))
    assert read_action({}, {}) == ActionRequest(Action.APPLY, ())


def test_what_is_given_is_taken() -> None:
    found = read(action="resync", replication="shop", tables=["public.orders"], minutes=0.5)
    assert found == ActionRequest(Action.RESYNC, ("shop",), ("public.orders",), 0.5)
    assert read(replication="", tables=None, minutes=5) == ActionRequest(Action.APPLY, ("shop", "depot"), (), 5.0)


def test_each_action_copies_follows_or_neither() -> None:
    requests = [read(action=action, replication="shop") for action in Action]
    assert {request.action for request in requests if request.copies} == {Action.START, Action.RESYNC}
    idle = {Action.STOP, Action.STATUS, Action.DROP}
    assert {request.action for request in requests if not request.follows} == idle


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"action": "begin"}, "action: 'begin', expected one of apply, start, resync"),
        ({"replication": "shpo"}, "replication 'shpo' is not in replications.yaml; there are: shop, depot"),
        ({"action": "resync"}, "replication: name the one to resync; there are: shop, depot"),
        ({"action": "drop", "replication": "ALL"}, "replication: name the one to drop"),
        ({"tables": ["public.orders"]}, "tables: only a resync takes tables, not apply"),
        ({"action": "resync", "replication": "shop", "tables": "public.orders"}, "tables: expected a list of names"),
        ({"minutes": -1}, "minutes: expected a number from 0 to 1440, found -1"),
        ({"minutes": 1441}, "minutes: expected a number from 0 to 1440, found 1441"),
        ({"minutes": True}, "minutes: expected a number"),
        ({"minutes": "5"}, "minutes: expected a number"),
        ({"force_resync": True}, "unknown parameters: force_resync"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        read(**values)
