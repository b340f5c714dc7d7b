"""
What happens at a source after it was read: late fixes, voids, deletions, moved dates, late arrivals.

Every function changes up to ``rows`` rows of one table in a transaction of its
own, chosen by ``seed`` and nothing else, and returns their keys in order. A
window of None means the whole table; rows without a readable date are in no
window. All goes through SQL, so that rowversions rise as at the source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from random import Random
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Composable, Composed, Identifier

from include.catalog import Table
from include.demo.source_schema import source_name
from include.engines.postgres.types import postgres_type
from include.errors import BadRequest
from include.windows import Window

Key = tuple[Any, ...]

_STATUS_COLUMNS = ("SALES_STATUS", "ORDER_STATUS", "STATUS")
_VOID = "VOID"


def late_fix(connection: Connection[Any], table: Table, window: Window | None, rows: int, seed: int) -> list[Key]:
    """Correct an amount and a remark of some rows."""
    random = Random(seed)
    columns = [column for column in (_amount_column(table), _remark_column(table)) if column]
    if not columns:
        raise BadRequest(f"{table.name} has neither an amount nor a remark to correct")
    with connection.transaction(), connection.cursor() as cursor:
        keys = _pick(connection, table, window, rows, seed)
        values = [_corrections(table, columns, random) for _ in keys]
        cursor.executemany(
            SQL("UPDATE {} SET {} WHERE {}").format(source_name(table), _assign(columns), _key_is(table)),
            [[*new, *key] for new, key in zip(values, keys, strict=True)],
        )
    return keys


def void(connection: Connection[Any], table: Table, window: Window | None, rows: int, seed: int) -> list[Key]:
    """Delete some rows the way the source does: marked as deleted, with a status that says so."""
    changes: dict[str, Any] = {column: _VOID for column in _STATUS_COLUMNS if column in table.columns}
    changes |= {column: 1 for column in (table.soft_delete, "BOOL_ISVOID") if column in table.columns}
    if not changes:
        raise BadRequest(f"{table.name} has no column that marks a row as deleted")
    alive: Composable = SQL("true")
    if table.soft_delete:
        alive = SQL("{} IS DISTINCT FROM 1").format(Identifier(table.soft_delete))
    with connection.transaction():
        keys = _pick(connection, table, window, rows, seed, alive)
        _update(connection, table, changes, keys)
    return keys


def hard_delete(connection: Connection[Any], table: Table, window: Window | None, rows: int, seed: int) -> list[Key]:
    """Remove some rows without a trace."""
    with connection.transaction():
        keys = _pick(connection, table, window, rows, seed)
        connection.execute(
            SQL("DELETE FROM {} WHERE {}").format(source_name(table), _key_among(table)), _by_column(table, keys)
        )
    return keys


def move_date(
    connection: Connection[Any], table: Table, window: Window | None, rows: int, seed: int, *, to: date
) -> list[Key]:
    """Move some rows to another day, in the date column and in its twin of text; the time of day stays."""
    if not table.date:
        raise BadRequest(f"{table.name} has no date column")
    text = to.strftime("%d/%m/%Y")
    changes: dict[str, Any] = {table.date: text if table.date_is_text else to}
    twin = table.date.removeprefix("DATETIME__")
    if twin != table.date and twin in table.columns:
        changes[twin] = text
    with connection.transaction():
        keys = _pick(connection, table, window, rows, seed)
        if table.columns[table.date].base == "date" or table.date_is_text:
            _update(connection, table, changes, keys)
        else:
            column = Identifier(table.date)
            connection.execute(
                SQL("UPDATE {} SET {} = %s::date + {}::time WHERE {}").format(
                    source_name(table), column, column, _key_among(table)
                ),
                [to, *_by_column(table, keys)],
            )
    return keys


def late_arrival(connection: Connection[Any], table: Table, window: Window | None, rows: int, seed: int) -> list[Key]:
    """
    Add ``rows`` rows dated inside the window, as copies of some of its rows under new keys.

    :raises BadRequest: if there is no row to copy, or the key is not one number.
    """
    if len(table.key) != 1 or table.columns[table.key[0]].base not in ("int", "bigint"):
        raise BadRequest(f"{table.name}: new keys can be given only where the key is one number")
    key, name = table.key[0], source_name(table)
    with connection.transaction():
        models = [old for (old,) in _pick(connection, table, window, rows, seed)]
        if not models:
            raise BadRequest(f"{table.name} has no row in {window or 'the table'} to copy")
        highest = _one(connection, SQL("SELECT max({}) FROM {}").format(Identifier(key), name))
        new = [highest + 1 + n for n in range(rows)]
        copied = [column for column in table.columns if column not in (key, table.rowversion)]
        connection.execute(
            SQL(
                "INSERT INTO {table} ({columns}) SELECT made.new, {values} "
                "FROM unnest(%s::bigint[], %s::bigint[]) AS made (old, new) JOIN {table} t ON t.{key} = made.old"
            ).format(
                table=name,
                key=Identifier(key),
                columns=_list([key, *copied]),
                values=SQL(", ").join(_copied(table, key, column) for column in copied),
            ),
            [[models[n % len(models)] for n in range(rows)], new],
        )
    return [(number,) for number in new]


def _copied(table: Table, key: str, column: str) -> Composed:
    """A number that repeats the key as text (SALES_NO of a sale) goes with the new key."""
    value = SQL("t.{}").format(Identifier(column))
    if not table.columns[column].is_text or not column.endswith("_NO"):
        return value
    return SQL("CASE WHEN {0} = t.{1}::text THEN made.new::text ELSE {0} END").format(value, Identifier(key))


def _pick(
    connection: Connection[Any],
    table: Table,
    window: Window | None,
    rows: int,
    seed: int,
    condition: Composable = SQL("true"),  # noqa: B008 (immutable)
) -> list[Key]:
    """Return the keys of up to ``rows`` rows of the window, in order; which ones follows from the seed."""
    inside, values = _in_window(table, window)
    query = SQL(
        "SELECT {keys} FROM (SELECT {keys} FROM {table} WHERE {inside} AND {condition} "
        "ORDER BY hashtextextended(concat_ws('/', {keys}), %s), {keys} LIMIT %s) picked ORDER BY {keys}"
    ).format(keys=_list(table.key), table=source_name(table), inside=inside, condition=condition)
    return connection.execute(query, [*values, seed, rows]).fetchall()


def _in_window(table: Table, window: Window | None) -> tuple[Composable, list[Any]]:
    if window is None:
        return SQL("true"), []
    if not table.date:
        raise BadRequest(f"{table.name} has no date column, so it has no windows")
    column = Identifier(table.date)
    if not table.date_is_text:
        return SQL("{0} >= %s AND {0} < %s").format(column), [window.start, window.end]
    days = [(window.start + timedelta(days=n)).strftime("%d/%m/%Y") for n in range(window.days)]
    return SQL("{} = ANY(%s)").format(column), [days]


def _amount_column(table: Table) -> str | None:
    decimals = [name for name, type_ in table.columns.items() if type_.base == "decimal" and name not in table.key]
    return next((name for name in decimals if re.search("AMOUNT|QUANT|QTY|PRICE|VALUE", name)), None) or next(
        iter(decimals), None
    )


def _remark_column(table: Table) -> str | None:
    texts = [name for name, type_ in table.columns.items() if type_.is_text and name not in (*table.key, table.date)]
    return next((name for word in ("REMARK", "EXTEND", "NAME") for name in texts if word in name), None)


def _corrections(table: Table, columns: Sequence[str], random: Random) -> list[Any]:
    cents = random.randrange(1, 10**6)
    length = {column: table.columns[column].length for column in columns}
    return [
        f"late fix {cents}"[: length[column]] if table.columns[column].is_text else f"{cents / 100:.2f}"
        for column in columns
    ]


def _update(connection: Connection[Any], table: Table, changes: dict[str, Any], keys: list[Key]) -> None:
    connection.execute(
        SQL("UPDATE {} SET {} WHERE {}").format(source_name(table), _assign(list(changes)), _key_among(table)),
        [*changes.values(), *_by_column(table, keys)],
    )


def _assign(columns: Sequence[str]) -> Composed:
    return SQL(", ").join(SQL("{} = %s").format(Identifier(column)) for column in columns)


def _key_is(table: Table) -> Composed:
    return SQL(" AND ").join(SQL("{} = %s").format(Identifier(column)) for column in table.key)


def _key_among(table: Table) -> Composed:
    arrays = SQL(", ").join(SQL(f"%s::{postgres_type(table.columns[name])}[]") for name in table.key)
    return SQL("({}) IN (SELECT * FROM unnest({}))").format(_list(table.key), arrays)


def _by_column(table: Table, keys: list[Key]) -> list[list[Any]]:
    return [[key[place] for key in keys] for place in range(len(table.key))]


def _list(columns: Sequence[str]) -> Composed:
    return SQL(", ").join(map(Identifier, columns))


def _one(connection: Connection[Any], query: Composed) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
