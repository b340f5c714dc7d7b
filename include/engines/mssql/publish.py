"""
The one transaction in which a span becomes visible in a SQL Server warehouse.

Delete and insert, never MERGE, under an application lock of the table. Rows whose date moved,
so that their key is still elsewhere, go in the same transaction; where both sides have a
rowversion the newer row wins, since two windows may have been read at different moments.
A whole month of a table that is partitioned by month is switched in instead.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.catalog import Table
from include.engines.base import Changed, Published
from include.engines.mssql import ddl, partitions, sql
from include.engines.mssql.sql import Statement, quoted
from include.engines.mssql.types import declared
from include.engines.staging import staging_name
from include.errors import LockTimeout, TransientError, ValueDoesNotFit
from include.windows import Span, Whole, Window

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Negative results: timeout, cancelled, deadlock victim, bad call.
TAKE_LOCK = """
    SET NOCOUNT ON;
    DECLARE @result int;
    EXEC @result = sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = ?;
    SELECT @result;
"""


@dataclass(frozen=True)
class Publication:
    """A span that is about to be published on ``session``, inside its transaction."""

    session: sa.Connection
    table: Table
    span: Span
    staged: int
    """How many rows the staging table holds."""
    partitions: bool = False
    """Whether the server can truncate and switch single partitions."""
    not_ascii: Collection[str] = ()
    """Columns whose staged text has other characters than ASCII."""

    def run(self, publish_lock_wait: float) -> Published:
        """
        Replace the span; the caller commits.

        :param publish_lock_wait: seconds to queue behind others before giving up.
        :raises ValueDoesNotFit: if the code page of a column lacks a character of a value.
        """
        self._take_turn(publish_lock_wait)
        self._refuse_lost_characters()
        kept = self._kept()
        moved, stale = self._settle_moved_rows()
        rows, replaced = self._switch() or self._replace()
        self._finish(rows, self.staged - stale)
        changed = None
        if kept is not None:
            same_key, updated = kept
            changed = Changed(rows - same_key, updated, replaced - same_key)
        return Published(rows, replaced, moved, changed)

    def _take_turn(self, publish_lock_wait: float) -> None:
        """Wait for other publishes of the table, and for nobody longer than ``publish_lock_wait``."""
        wait = int(publish_lock_wait * 1000)
        self._execute((f"SET LOCK_TIMEOUT {wait}", ()))
        self._take_lock(wait)

    def _finish(self, inserted: int, expected: int) -> None:
        """Drop the staging table, if all of its rows were inserted."""
        if inserted != expected:
            raise TransientError(f"{expected:,} rows are staged, {inserted:,} were inserted")
        self._execute((ddl.drop_staging(self.table, self.span), ()))

    def _kept(self) -> tuple[int, int] | None:
        """Return how many rows of a whole table keep their key, and how many of these are of another version."""
        if not isinstance(self.span, Whole) or not self.table.key or not self.table.rowversion:
            return None
        same_key, updated = self._fetch(count_kept(self.table, self.span))[0]
        return int(same_key), int(updated)

    def _replace(self) -> tuple[int, int]:
        replaced = self._execute(delete_span(self.table, self.span))
        return self._execute(insert_staged(self.table, self.span, sql.target_name(self.table))), replaced

    def _switch(self) -> tuple[int, int] | None:
        """Switch a whole month in, where the replica has a partition of just that month."""
        month = self.span
        if not self.partitions or not isinstance(month, Window) or not month.is_month or self.table.date_is_text:
            return None
        number = partitions.number_of(month, dict(self._fetch(partitions.boundaries(self.table, month))))
        if number is None or not self._has_all_columns():
            return None
        for statement in partitions.create_incoming(self.table, month):
            self._execute((statement, ()))
        rows = self._execute(insert_staged(self.table, month, partitions.incoming_table(self.table, month)))
        replaced = int(self._fetch(count_span(self.table, month))[0][0])
        for statement in partitions.swap(self.table, month, number):
            self._execute((statement, ()))
        return rows, replaced

    def _has_all_columns(self) -> bool:
        """A table that is switched in has the replica's columns in their order; a column may be gone at the source."""
        there = self._fetch(sql.columns_of(self.table.target_schema, self.table.target_table))
        return [row[0] for row in there] == list(self.table.columns)

    def _take_lock(self, wait: int) -> None:
        name = f"retail-sync publish {self.table.target_schema}.{self.table.target_table}"
        result = self._fetch((TAKE_LOCK, (name, wait)))[0][0]
        # not every engine takes the setting back at the end of the batch, and rows are counted below
        self._execute(("SET NOCOUNT OFF", ()))
        if result < 0:
            raise LockTimeout(f"the publish lock of {self.table.target_table} was not to be had ({result})")

    def _refuse_lost_characters(self) -> None:
        for column in self.table.columns:
            if column not in self.not_ascii or self.table.columns[column].base not in ("char", "varchar", "text"):
                continue
            if rows := self._fetch(lost_characters(self.table, self.span, column)):
                key = ", ".join(f"{name} {value}" for name, value in zip(self.table.key, rows[0], strict=False))
                raise ValueDoesNotFit(
                    f"column {column} of the row with {key or 'no key'}: the warehouse's collation lacks a"
                    " character of the value (give the warehouse the source's collation, or the column a _UTF8 one)"
                )

    def _settle_moved_rows(self) -> tuple[int, int]:
        """
        Delete keys of the span that are still elsewhere, drop staged rows that are newer there.

        Returns how many of each.
        """
        if not self.table.key or isinstance(self.span, Whole):
            return 0, 0
        low, high = self._fetch(key_bounds(self.table, self.span))[0]
        if low is None:
            return 0, 0
        stale = 0
        if self.table.rowversion:
            stale = self._execute(delete_stale(self.table, self.span, low, high))
        return self._execute(delete_moved(self.table, self.span, low, high)), stale

    def _execute(self, statement: Statement) -> int:
        text, values = statement
        return self.session.exec_driver_sql(text, values).rowcount

    def _fetch(self, statement: Statement) -> list[tuple[Any, ...]]:
        text, values = statement
        return [tuple(row) for row in self.session.exec_driver_sql(text, values)]


def count_span(table: Table, span: Span) -> Statement:
    """Return the query for the number of rows in a span of the replica."""
    condition, values = sql.in_span(table, span)
    return f"SELECT COUNT_BIG(*) FROM {sql.target_name(table)} WHERE {condition}", values


def count_kept(table: Table, span: Span) -> Statement:
    """Return the query for how many staged keys the replica has, and how many of them in another version."""
    assert table.rowversion is not None
    version = quoted(table.rowversion)
    same = " AND ".join(f"t.{quoted(column)} = {_converted(table, column, 's.')}" for column in table.key)
    return (
        f"SELECT COUNT_BIG(*), COALESCE(SUM(CASE WHEN s.{version} <> t.{version} THEN 1 ELSE 0 END), 0)"
        f" FROM {ddl.staging_table(table, span)} AS s JOIN {sql.target_name(table)} AS t ON {same}"
    ), ()


def delete_span(table: Table, span: Span) -> Statement:
    """Return the statement that deletes a span of the replica."""
    condition, values = sql.in_span(table, span)
    return f"DELETE FROM {sql.target_name(table)} WHERE {condition}", values


def insert_staged(table: Table, span: Span, into: str) -> Statement:
    """Return the statement that copies the staging table into another; the server converts the types."""
    columns = sql.names(table.columns)
    return f"INSERT INTO {into} ({columns}) SELECT {columns} FROM {ddl.staging_table(table, span)}", ()


def key_bounds(table: Table, span: Span) -> Statement:
    """
    Return the query for the lowest and the highest value of the key's first column in staging.

    Keys grow with time, so a month shares few of its keys' range with another: what lies
    outside of it is never read.
    """
    first = _converted(table, table.key[0], "")
    return f"SELECT MIN({first}), MAX({first}) FROM {ddl.staging_table(table, span)}", ()


def delete_staged_keys(table: Table, span: Span) -> Statement:
    """Return the statement that deletes the rows of the replica whose key is staged, whatever their date."""
    staged = f"SELECT 1 FROM {ddl.staging_table(table, span)} AS s WHERE {_same_key(table)}"
    return f"DELETE FROM {sql.target_name(table)} WHERE EXISTS ({staged})", ()


def delete_keys(table: Table, keys: Sequence[tuple[Any, ...]]) -> Statement:
    """Return the statement that deletes the rows of the replica that have these keys."""
    condition, values = sql.among(table, keys)
    return f"DELETE FROM {sql.target_name(table)} WHERE {condition}", values


def delete_moved(table: Table, span: Span, low: Any, high: Any) -> Statement:
    """Return the statement that deletes rows outside the span whose key is staged."""
    outside, values = sql.outside_span(table, span)
    staged = f"SELECT 1 FROM {ddl.staging_table(table, span)} AS s WHERE {_same_key(table)}"
    statement = f"DELETE FROM {sql.target_name(table)} WHERE {_range(table)} AND {outside} AND EXISTS ({staged})"
    return statement, (low, high, *values)


def delete_stale(table: Table, span: Span, low: Any, high: Any) -> Statement:
    """Return the statement that deletes staged rows of which a newer version lies outside the span."""
    assert table.rowversion is not None
    version = quoted(table.rowversion)
    outside, values = sql.outside_span(table, span)
    staging = quoted(staging_name(table, span))
    same = " AND ".join(f"t.{quoted(column)} = {_converted(table, column, staging + '.')}" for column in table.key)
    newer = (
        f"SELECT 1 FROM {sql.target_name(table)} AS t WHERE {_range(table, 't.')}"
        f" AND {outside} AND {same} AND t.{version} > {staging}.{version}"
    )
    return f"DELETE FROM {ddl.staging_table(table, span)} WHERE EXISTS ({newer})", (low, high, *values)


def lost_characters(table: Table, span: Span, column: str) -> Statement:
    """Return the query for the key of a staged row whose text the replica's code page does not hold."""
    type_ = "varchar(max)" if table.columns[column].base == "text" else declared(table.columns[column])
    value = quoted(column)
    key = sql.names(table.key) if table.key else "1"
    back = f"CONVERT(nvarchar(max), CONVERT({type_}, {value}))"
    differs = f"CONVERT(varbinary(max), CONVERT(nvarchar(max), {value})) <> CONVERT(varbinary(max), {back})"
    return f"SELECT TOP (1) {key} FROM {ddl.staging_table(table, span)} WHERE {differs}", ()


def _range(table: Table, prefix: str = "") -> str:
    """The bounds are compared in the key's own type: as Unicode, text may sort otherwise."""
    type_ = declared(table.columns[table.key[0]])
    return f"{prefix}{quoted(table.key[0])} BETWEEN CONVERT({type_}, ?) AND CONVERT({type_}, ?)"


def _same_key(table: Table) -> str:
    """A row of the replica, by the table's plain name, and one of staging, by ``s``."""
    target = quoted(table.target_table)
    return " AND ".join(f"{target}.{quoted(column)} = {_converted(table, column, 's.')}" for column in table.key)


def _converted(table: Table, column: str, prefix: str) -> str:
    """Return a staged key column in the replica's type, so that the index of the key is of use."""
    return f"CONVERT({declared(table.columns[column])}, {prefix}{quoted(column)})"
