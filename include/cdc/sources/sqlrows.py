"""The rows of a source that gives no binary COPY: it writes its values as texts that the target reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.cdc.changes import TargetTable
from include.cdc.sources.base import Column, SourceTable

if TYPE_CHECKING:
    import psycopg

Key = Sequence[str] | None
#: Part of a statement, with the values that it binds.
Statement = tuple[str, list[str]]

EVERY: Statement = ("1 = 1", [])


@dataclass(frozen=True)
class SqlColumn:
    """
    A column of a source.

    :param text: the expression by which the server writes a value as a text that the target reads.
    :param compared: what is compared with such a text, ``bound`` with ``{}`` for it.
    :param is_ordered: whether comparing like that agrees with the order in which the server sorts the column.
    :param fits_key: whether Debezium sends every value as it is: a row is found by its key.
    """

    column: Column
    text: str
    compared: str
    bound: str = "{}"
    is_ordered: bool = True
    fits_key: bool = True

    def is_(self, operator: str, number: int) -> str:
        """Return the comparison with the value that is bound as the n-th."""
        return f"{self.compared} {operator} {self.bound.format(f'{{{number}}}')}"


@dataclass(frozen=True)
class SqlRows(ABC):
    """What a session of the Python DB-API sees."""

    session: Any
    _described: dict[str, dict[str, SqlColumn]] = field(default_factory=dict, init=False, repr=False)

    @abstractmethod
    def describe(self, table: str) -> dict[str, SqlColumn]:
        """Ask for the columns of a table in their order, those apart that the source computes."""

    @abstractmethod
    def quoted(self, name: str) -> str:
        """Return a name as the server reads it in any case."""

    @abstractmethod
    def nth(self, query: str, number: int) -> str:
        """Return the query of the row that is so many rows after the first of an ordered query."""

    def place(self, number: int) -> str:  # noqa: ARG002 (some servers count)
        """Return what stands for a bound value."""
        return "%s"

    def cursor(self) -> Any:
        """Open a cursor that does not keep all rows in memory."""
        return self.session.cursor()

    def relation(self, table: str) -> str:
        """Return what a table is read from."""
        return ".".join(self.quoted(part) for part in table.split(".", 1))

    def described(self, table: str) -> dict[str, SqlColumn]:
        """Return the columns of a table, asked for once."""
        if table not in self._described:
            self._described[table] = self.describe(table)
        return self._described[table]

    def hold(self, table: str) -> str | None:  # noqa: ARG002 (nothing has to be held)
        """Return nothing: changes of before the copy come again, and leave what they left before."""
        return None

    def columns(self, table: str) -> dict[str, Column]:
        """Return the columns of a table in their order."""
        return {name: found.column for name, found in self.described(table).items()}

    def last_key(self, table: SourceTable, after: Key, rows: int) -> list[str] | None:
        """Return the key of the row that is so many rows after a key; None where no order can be relied on."""
        found = [self.described(table.name)[column] for column in table.key]
        if not all(column.is_ordered for column in found):
            return None
        condition, values = self._beyond(table, after, ">")
        texts, order = ", ".join(column.text for column in found), ", ".join(map(self.quoted, table.key))
        query = f"SELECT {texts} FROM {self.relation(table.name)} WHERE {_shifted(self, condition, 0)} ORDER BY {order}"  # noqa: S608 (names are quoted, values bound)
        last = list(self.query((self.nth(query, rows - 1), values)))
        return [str(value) for value in last[0]] if last else None

    def pipe(
        self,
        table: SourceTable,
        columns: Mapping[str, str],
        between: tuple[Key, Key],
        target: psycopg.Connection[Any],
        staging: sql.Identifier,
    ) -> int:
        """Put rows into a table of the target as texts."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        copy_in = sql.SQL("COPY {} ({}) FROM STDIN").format(staging, names)
        with target.cursor() as writer:
            with writer.copy(copy_in) as sink:
                for row in self.texts(table, columns, between):
                    sink.write_row(row)
            return writer.rowcount

    def texts(
        self, table: SourceTable, columns: Mapping[str, str], between: tuple[Key, Key]
    ) -> Iterator[Sequence[str | None]]:
        """Return rows as texts."""
        (after, above), (until, below) = self._beyond(table, between[0], ">"), self._beyond(table, between[1], "<=")
        condition = (f"({_shifted(self, after, 0)}) AND ({_shifted(self, until, len(above))})", [*above, *below])
        return self.select(table.name, list(columns), condition)

    def fetch(
        self, table: TargetTable, columns: Sequence[str], keys: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, str | None]]:
        """Return rows by their keys, as texts."""
        found = self.described(table.source)
        present = [column for column in columns if column in found]
        wanted: list[str] = []
        values: list[str] = []
        for key in keys:
            same = []
            for column in table.key:
                same.append(found[column].is_("=", len(values)))
                values.append(str(key[column]))
            wanted.append(f"({' AND '.join(same)})")
        rows = self.select(table.source, present, (_shifted(self, " OR ".join(wanted), 0), values))
        return [dict(zip(present, row, strict=True)) for row in rows]

    def select(self, table: str, columns: Sequence[str], condition: Statement = EVERY) -> Iterator[Sequence[Any]]:
        """Return columns of rows as texts that the target reads."""
        found = self.described(table)
        texts = ", ".join(found[column].text for column in columns)
        return self.query((f"SELECT {texts} FROM {self.relation(table)} WHERE {condition[0]}", condition[1]))  # noqa: S608

    def query(self, statement: Statement) -> Iterator[Sequence[Any]]:
        """Return the rows of a query, a few of them in memory."""
        with closing(self.cursor()) as cursor:
            cursor.execute(statement[0], tuple(statement[1]))
            while rows := cursor.fetchmany(1000):
                yield from rows

    def _beyond(self, table: SourceTable, key: Key, operator: str) -> Statement:
        """
        Return what tells the rows on one side of a key, ``{n}`` for its n-th value.

        Written out, as not every server compares rows, or finds the index for it.
        """
        if key is None:
            return EVERY
        found, strict = self.described(table.name), operator[0]
        parts: list[str] = []
        values: list[str] = []
        for last in range(len(key)):
            sides = []
            for number in range(last + 1):
                is_last = number == last
                sign = (operator if last == len(key) - 1 else strict) if is_last else "="
                sides.append(found[table.key[number]].is_(sign, len(values)))
                values.append(key[number])
            parts.append(f"({' AND '.join(sides)})")
        return " OR ".join(parts), values


def _shifted(rows: SqlRows, condition: str, before: int) -> str:
    """Write what stands for the values of a condition, ``{n}``, where so many are bound before them."""
    count = condition.count("{")
    return condition.format(*(rows.place(before + number) for number in range(count)))
