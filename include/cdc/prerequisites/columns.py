"""The columns of a source's tables: whether the target can hold them, and the key is among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from include.cdc.models import Replication
from include.cdc.names import DELETED_AT
from include.cdc.prerequisites import Problem
from include.cdc.sources.base import Column, SourceTable
from include.cdc.values import is_supported


def column_problems(
    replication: Replication, table: SourceTable, columns: Mapping[str, Column], generated: Collection[str] = ()
) -> list[Problem]:
    """
    Look at the columns of a table that is followed.

    :param generated: those that the source computes, which are never copied.
    """
    without = replication.without.get(table.name, ())
    problems = [
        Problem(f"without: {table.name} has no column {column}", "correct the name, or take it off")
        for column in without
        if column not in columns and column not in generated
    ]
    if left := [column for column in table.key if column in without or column not in columns]:
        text = f"{table.name}: {', '.join(left)} is part of its key and is not copied"
        problems.append(Problem(text, "take it off `without`; columns that the source computes are never copied"))
    for column, found in columns.items():
        if column in without:
            continue
        remedy = f"name it under `without`, or cast it to another type in {table.name}"
        if not is_supported(found.type):
            text = f"{table.name}: column {column} is {found.type}, which the target cannot hold"
            problems.append(Problem(text, remedy))
        elif column == DELETED_AT:
            text = f"{table.name}: column {column} has the name of the column of soft deletes"
            problems.append(Problem(text, "rename it, or name it under `without`"))
    return problems
