"""Copies in a SQL Server warehouse: how they begin, are filled and end, and how they come to where readers see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from include.cdc.changes import TargetTable
from include.cdc.names import DELETED_AT
from include.cdc.targets import mssql_columns
from include.cdc.targets.base import STAGING, Alteration, Columns, Texts
from include.cdc.targets.mssql_texts import Types, refusal, values
from include.cdc.targets.mssql_types import ColumnType, column_type
from include.engines.mssql.sql import names, quoted, relation
from include.errors import SchemaMismatch, TransientError, ValueDoesNotFit

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

#: A batch is full by either.
_BATCH_ROWS, _BATCH_CHARACTERS = 20_000, 8 * 1024**2

COLUMNS = "SELECT name FROM sys.columns WHERE object_id = OBJECT_ID(?) ORDER BY column_id"
#: What keeps a table from being dropped: foreign keys, views or functions that are bound to it.
REFERENCED = "SELECT name FROM sys.foreign_keys WHERE referenced_object_id = OBJECT_ID(?) ORDER BY name"
BOUND = """
SELECT COUNT(*) FROM sys.sql_expression_dependencies
WHERE referenced_id = OBJECT_ID(?) AND is_schema_bound_reference = 1 AND referencing_id <> referenced_id
"""
#: Rights on the table, or on columns of it: what is granted, to whom, and the column.
GRANTS = """
SELECT CASE p.state WHEN 'D' THEN N'DENY ' WHEN 'R' THEN N'REVOKE ' ELSE N'GRANT ' END
        + p.permission_name COLLATE DATABASE_DEFAULT
        + COALESCE(N' (' + QUOTENAME(c.name) + N')', N''),
    QUOTENAME(USER_NAME(p.grantee_principal_id)) + CASE p.state WHEN 'W' THEN N' WITH GRANT OPTION' ELSE N'' END,
    c.name
FROM sys.database_permissions AS p
LEFT JOIN sys.columns AS c ON c.object_id = p.major_id AND c.column_id = p.minor_id AND p.minor_id > 0
WHERE p.class = 1 AND p.major_id = OBJECT_ID(?) AND p.grantee_principal_id <> DATABASE_PRINCIPAL_ID()
ORDER BY p.minor_id
"""
RENAME = "EXEC sp_rename @objname = ?, @newname = ?, @objtype = 'OBJECT'"


def types_of(columns: Columns, key: Sequence[str]) -> dict[str, ColumnType]:
    """Return what SQL Server has for the columns of a table."""
    return {name: column_type(type_, is_key=name in key) for name, type_ in columns.items()}


def begin(session: sa.Connection, staging: str, columns: Columns, key: Sequence[str], *, soft: bool) -> None:
    """Make the table of a copy, in the place of an older one."""
    types = types_of(columns, key)
    defined = [f"{quoted(name)} {type_.declared} {_null(name in key)}" for name, type_ in types.items()]
    if soft:
        defined.append(f"{quoted(DELETED_AT)} datetimeoffset(3) NULL")
    staged = relation(STAGING, staging)
    session.exec_driver_sql(f"DROP TABLE IF EXISTS {staged}")
    session.exec_driver_sql(f"CREATE TABLE {staged} ({', '.join(defined)})")
    mssql_columns.note(session, STAGING, staging, columns)


def _null(is_key: bool) -> str:
    return "NOT NULL" if is_key else "NULL"


def heap(staging: str) -> str:
    """Return the table that a bulk copy fills with texts; its session is not that of the transaction."""
    return relation(STAGING, f"{staging}__texts")


def create_heap(staging: str, columns: Sequence[str]) -> list[str]:
    """Return the statements that make the table of texts, in the place of an older one."""
    defined = ", ".join(f"{quoted(name)} nvarchar(max) NULL" for name in columns)
    return [f"DROP TABLE IF EXISTS {heap(staging)}", f"CREATE TABLE {heap(staging)} ({defined})"]


def batches(rows: Iterable[Sequence[str | None]], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Return rows of texts as batches."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in columns])
    piece: list[Texts] = []
    size = 0

    def batch() -> pa.RecordBatch:
        arrays = [pa.array(values, pa.string()) for values in zip(*piece, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    for row in rows:
        piece.append(tuple(row))
        size += sum(len(text) for text in row if text is not None)
        if len(piece) == _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch()
            piece, size = [], 0
    if piece:
        yield batch()


def convert(session: sa.Connection, staging: str, types: Types, sent: int, *, strict: bool = True) -> int:
    """
    Put the texts of a bulk copy into the copy as values; returns how many rows were sent.

    :param strict: else a row that cannot be held is left out.
    :raises ValueDoesNotFit: naming a column that cannot hold a value.
    :raises TransientError: if the server has not as many rows as were sent.
    """
    texts = [f"h.{quoted(name)}" for name in types]
    refuses, source = refusal(types, texts), f"FROM {heap(staging)} AS h"
    there, number = session.exec_driver_sql(f"SELECT COUNT_BIG(*), MIN({refuses}) {source}").one()
    if there != sent:
        raise TransientError(f"{sent:,} rows were sent, the server has {there:,}")
    if strict and number is not None:
        name, type_ = list(types.items())[number]
        raise ValueDoesNotFit(f"column {name}: {type_.declared} cannot hold a value; leave the column out by `without`")
    fitting = "" if number is None else f" WHERE ({refuses}) IS NULL"
    into = f"INSERT INTO {relation(STAGING, staging)} ({names(types)})"
    session.exec_driver_sql(f"{into} SELECT {values(types, texts)} {source}{fitting}")
    return sent


def drop(session: sa.Connection, staging: str) -> None:
    """Remove the table of a copy, and that of its texts."""
    session.exec_driver_sql(f"DROP TABLE IF EXISTS {heap(staging)}")
    session.exec_driver_sql(f"DROP TABLE IF EXISTS {relation(STAGING, staging)}")


def place(session: sa.Connection, staging: str, schema: str, name: str, *, soft: bool) -> None:
    """
    Put a copy in the place of what readers see.

    :raises SchemaMismatch: if foreign keys hang on it.
    """
    staged, target = relation(STAGING, staging), relation(schema, name)
    there, rights = _columns(session, target), session.exec_driver_sql(GRANTS, (target,)).all()
    session.exec_driver_sql(f"DROP TABLE IF EXISTS {heap(staging)}")
    if there:
        if soft and DELETED_AT in there:
            _keep_deleted(session, staging, schema, name)
        if keys := list(session.exec_driver_sql(REFERENCED, (target,)).scalars()):
            raise SchemaMismatch(f"{schema}.{name}: foreign keys hang on it, drop {', '.join(keys)} and copy it again")
        if session.exec_driver_sql(BOUND, (target,)).scalar():
            _refill(session, staging, schema, name)
            return
        session.exec_driver_sql(f"DROP TABLE {target}")
    session.exec_driver_sql(f"ALTER SCHEMA {quoted(schema)} TRANSFER {staged}")
    session.exec_driver_sql(RENAME, (relation(schema, staging), name))
    # a table loses its rights on its way into another schema
    fresh = set(_columns(session, target))
    for right, grantee, column in rights:
        if column is None or column in fresh:
            session.exec_driver_sql(f"{right} ON {target} TO {grantee}")


def _columns(session: sa.Connection, table: str) -> list[str]:
    return list(session.exec_driver_sql(COLUMNS, (table,)).scalars())


def _refill(session: sa.Connection, staging: str, schema: str, name: str) -> None:
    """Fill a table that something is bound to; columns it lacks are added, others take the types of the copy."""
    staged, target = relation(STAGING, staging), relation(schema, name)
    fresh, there = mssql_columns.shape(session, STAGING, staging), mssql_columns.shape(session, schema, name)
    table = TargetTable(name, schema, name, there.key, there.columns)
    session.exec_driver_sql(f"DELETE FROM {target}")
    for column, type_ in fresh.columns.items():
        if column == DELETED_AT and column not in there.columns:
            session.exec_driver_sql(f"ALTER TABLE {target} ADD {quoted(column)} datetimeoffset(3) NULL")
        elif column not in there.columns:
            mssql_columns.alter(session, table, Alteration({column: type_}))
        elif there.columns[column] != type_:
            mssql_columns.change_type(session, table, column, type_)
    listed = names(fresh.columns)
    session.exec_driver_sql(f"INSERT INTO {target} ({listed}) SELECT {listed} FROM {staged}")
    session.exec_driver_sql(f"DROP TABLE {staged}")


def _keep_deleted(session: sa.Connection, staging: str, schema: str, name: str) -> None:
    """Take over the rows that the new copy lacks: those that were deleted, before or meanwhile."""
    fresh = mssql_columns.shape(session, STAGING, staging)
    there = set(_columns(session, relation(schema, name)))
    listed = names(column for column in fresh.columns if column in there and column != DELETED_AT)
    same = " AND ".join(
        column_type(fresh.columns[column], is_key=True).same(f"s.{quoted(column)}", f"t.{quoted(column)}")
        for column in fresh.key
    )
    # a value of a type that the column had before may be none of the present one
    read = ", ".join(
        f"TRY_CONVERT({column_type(type_, is_key=column in fresh.key).plain}, t.{quoted(column)})"
        for column, type_ in fresh.columns.items()
        if column in there and column != DELETED_AT
    )
    session.exec_driver_sql(
        f"INSERT INTO {relation(STAGING, staging)} ({listed}, {quoted(DELETED_AT)})"
        f" SELECT {read}, COALESCE(t.{quoted(DELETED_AT)}, SYSDATETIMEOFFSET()) FROM {relation(schema, name)} AS t"
        f" WHERE NOT EXISTS (SELECT 1 FROM {relation(STAGING, staging)} AS s WHERE {same})"
    )
