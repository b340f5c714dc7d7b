"""The parameters of a run one by one: each is what it should be, or refused by its name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from typing import Any, TypeVar

from include.errors import BadRequest
from include.windows import Window, parse_date

T = TypeVar("T", bound=StrEnum)


def refuse_unknown(values: Mapping[str, Any], known: Iterable[str]) -> None:
    """
    Refuse parameters that nobody reads: a misspelt date must not become a run of other dates.

    :raises BadRequest: naming them.
    """
    if unknown := sorted(set(values) - set(known)):
        raise BadRequest(f"unknown parameters: {', '.join(unknown)}; known are {', '.join(known)}")


def read_days(bounds: Mapping[str, Any], today: date) -> Window:
    """
    Return the days from the first of two named bounds to the second, both included.

    :raises BadRequest: if one is missing, they are in the wrong order, or in the future.
    """
    (first_name, start), (last_name, end) = bounds.items()
    if start is None or end is None:
        given, missing = (last_name, first_name) if start is None else (first_name, last_name)
        raise BadRequest(f"{given} without {missing}: give both, or neither")
    first, last = read_day(first_name, start), read_day(last_name, end)
    if first > last:
        raise BadRequest(f"{first_name} {first} is after {last_name} {last}")
    if last > today:
        raise BadRequest(f"{last_name} {last} is in the future, today is {today}")
    return Window.inclusive(first, last)


def read_day(name: str, value: Any) -> date:
    """
    Return the day of a parameter.

    :raises BadRequest: naming the parameter.
    """
    try:
        return parse_date(str(value))
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from error


def read_names(name: str, value: Any) -> list[str]:
    """
    Return the names that a parameter lists, none for NULL.

    :raises BadRequest: if it is no list of names.
    """
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise BadRequest(f"{name}: expected a list of names, found {value!r}")
    return list(value)


def read_flag(name: str, value: Any) -> bool:
    """
    Return a parameter that is true or false.

    :raises BadRequest: if it is neither.
    """
    if not isinstance(value, bool):
        raise BadRequest(f"{name}: expected true or false, found {value!r}")
    return value


def read_choice(name: str, value: Any, choices: type[T]) -> T:
    """
    Return the member of a choice.

    :raises BadRequest: naming all of them.
    """
    try:
        return choices(value)
    except ValueError:
        raise BadRequest(f"{name}: {value!r}, expected one of {', '.join(choices)}") from None
