"""Rules of servers: a statement, which answer is right, and what to do about another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from include.cdc.prerequisites import Problem
from include.errors import RetailSyncError

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Rule:
    """
    What has to hold at a server.

    :param holds: whether the rows that the query gives are right.
    :param what: what is wrong where they are not.
    """

    query: str
    holds: Callable[[Rows], bool]
    what: str
    remedy: str


def broken(rules: Sequence[Rule], ask: Callable[[str], Rows]) -> list[Problem]:
    """Return what does not hold, or cannot be asked."""
    problems = []
    for rule in rules:
        try:
            if not rule.holds(ask(rule.query)):
                problems.append(Problem(rule.what, rule.remedy))
        except RetailSyncError as error:
            problems.append(Problem(f"whether {rule.what} cannot be checked: {error}", f"run it: {rule.query}"))
    return problems


def says(*values: Any) -> Callable[[Rows], bool]:
    """Return whether the first column of the only row is one of these; texts in any case."""
    wanted = {str(value).upper() for value in values}
    return lambda rows: len(rows) == 1 and str(rows[0][0]).upper() in wanted


def at_least(least: int, *others: int) -> Callable[[Rows], bool]:
    """Return whether the only number is so high, or one of the others."""
    return lambda rows: len(rows) == 1 and (int(rows[0][0]) >= least or int(rows[0][0]) in others)


def no_rows(rows: Rows) -> bool:
    """Whether nothing was found."""
    return not rows


def lists(*values: str) -> Callable[[Rows], bool]:
    """Return whether the first columns, taken together, name all of these."""

    def holds(rows: Rows) -> bool:
        text = "\n".join(str(row[0]).upper() for row in rows)
        return all(value in text for value in values)

    return holds
