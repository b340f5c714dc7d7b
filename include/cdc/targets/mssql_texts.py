"""Rows as texts on their way into SQL Server, which makes them values of the target's types."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.cdc.targets.base import Refused, Texts
from include.cdc.targets.mssql_types import ColumnType
from include.engines.mssql.sql import names, quoted

if TYPE_CHECKING:
    import sqlalchemy as sa

Types = Mapping[str, ColumnType]

#: The number of the first column that refuses a text, NULL where none does.
REFUSES = "_retail_sync_refuses"


def refusal(types: Types, texts: Sequence[str]) -> str:
    """Return the expression of the number of the first column that refuses a row's text, NULL if none does."""
    tests = " ".join(
        f"WHEN {type_.refuses(text)} THEN {number}"
        for number, (type_, text) in enumerate(zip(types.values(), texts, strict=True))
    )
    return f"CASE {tests} END"


def values(types: Types, texts: Sequence[str]) -> str:
    """Return the expressions of a row's values."""
    return ", ".join(type_.converted.format(text) for type_, text in zip(types.values(), texts, strict=True))


def create(name: str, types: Types) -> str:
    """Return the statement that makes the session's temporary table for rows, where it is missing."""
    columns = ", ".join(f"{quoted(column)} {type_.declared} NULL" for column, type_ in types.items())
    return f"IF OBJECT_ID(N'tempdb..{name}') IS NULL CREATE TABLE {name} ({columns}, {quoted(REFUSES)} int NULL)"


def insert(name: str, types: Types) -> str:
    """Return the statement that puts rows into a temporary table; ``?`` is a JSON array of arrays of texts."""
    places = [f"j.{quoted(f'c{number}')}" for number in range(len(types))]
    read = ", ".join(f"{quoted(f'c{number}')} nvarchar(max) '$[{number}]'" for number in range(len(types)))
    return (
        f"INSERT INTO {name} ({names(types)}, {quoted(REFUSES)}) SELECT {values(types, places)}, "
        f"{refusal(types, places)} FROM OPENJSON(CONVERT(nvarchar(max), ?)) WITH ({read}) AS j"
    )


def refused(name: str) -> str:
    """Return the query for the number of a column that refuses a text."""
    return f"SELECT MIN({quoted(REFUSES)}) FROM {name}"


@dataclass(frozen=True)
class TextTable:
    """A temporary table of a session, for rows of these columns."""

    session: sa.Connection
    types: Types

    @property
    def name(self) -> str:
        """Its name, of one shape."""
        shape = repr([(column, type_.declared) for column, type_ in self.types.items()]).encode()
        return f"#cdc_{hashlib.blake2b(shape, digest_size=8).hexdigest()}"

    def put(self, rows: Sequence[Texts], *, strict: bool = True) -> None:
        """
        Let it hold these rows and no others.

        :param strict: else a row may be there that is refused, NULL where it is.
        :raises Refused: naming a column that cannot hold the text of a row.
        """
        name = self.name
        self.session.exec_driver_sql(create(name, self.types))
        self.session.exec_driver_sql(f"DELETE FROM {name}")
        self.session.exec_driver_sql(insert(name, self.types), (_json(rows),))
        number = self.session.exec_driver_sql(refused(name)).scalar() if strict else None
        if number is not None:
            raise Refused(list(self.types)[number])


def _json(rows: Sequence[Sequence[Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
