"""Copies in a SQL Server warehouse: how they begin, are filled and end, and how they come to where readers see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from include.cdc.names import DELETED_AT
from include.cdc.targets import mssql_columns
from include.cdc.targets.base import STAGING, Columns, Texts
from include.cdc.targets.mssql_columns import relation
from include.cdc.targets.mssql_texts import Types, refusal, values
from include.cdc.targets.mssql_types import ColumnType, column_type
from include.engines.mssql.sql import names, quoted
from include.errors import TransientError, ValueDoesNotFit

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

_BATCH_ROWS = 20_000

COLUMNS = "SELECT name FROM sys.columns WHERE object_id = OBJECT_ID(?) ORDER BY column_id"
#: What keeps a table from being dropped: a foreign key, a view or function that is bound to its schema.
HELD = """
SELECT (SELECT COUNT(*) FROM sys.foreign_keys WHERE referenced_object_id = OBJECT_ID(?))
    + (SELECT COUNT(*) FROM sys.sql_expression_dependencies
       WHERE referenced_id = OBJECT_ID(?) AND is_schema_bound_reference = 1 AND referencing_id <> referenced_id)
"""
#: Rights on the table, or on columns of it: what is granted, to whom, and the column.
GRANTS = """
SELECT CASE p.state WHEN 'D' THEN N'DENY ' WHEN 'R' THEN N'REVOKE ' ELSE N'GRANT ' END + p.permission_name
        + COALESCE(N' (' + QUOTENAME(c.name) + N')', N''),
    QUOTENAME(USER_NAME(p.grantee_principal_id)) + CASE p.state WHEN 'W' THEN N' WITH GRANT OPTION' ELSE N'' END,
    c.name
FROM sys.database_permissions AS p
LEFT JOIN sys.columns AS c ON c.object_id = p.major_id AND c.column_id = p.minor_id AND p.minor_id > 0
WHERE p.class = 1 AND p.major_id = OBJECT_ID(?) ORDER BY p.minor_id
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

    def batch() -> pa.RecordBatch:
        arrays = [pa.array(values, pa.string()) for values in zip(*piece, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    for row in rows:
        piece.append(tuple(row))
        if len(piece) == _BATCH_ROWS:
            yield batch()
            piece = []
    if piece:
        yield batch()


def convert(session: sa.Connection, staging: str, types: Types, sent: int) -> int:
    """
    Put the texts of a bulk copy into the copy as values; returns how many rows.

    :raises ValueDoesNotFit: naming a column that cannot hold a value.
    :raises TransientError: if the server has not as many rows as were sent.
    """
    texts = [f"h.{quoted(name)}" for name in types]
    number = session.exec_driver_sql(f"SELECT MIN({refusal(types, texts)}) FROM {heap(staging)} AS h").scalar()
    if number is not None:
        name, type_ = list(types.items())[number]
        raise ValueDoesNotFit(f"column {name}: {type_.declared} cannot hold a value; leave the column out by `without`")
    into = f"INSERT INTO {relation(STAGING, staging)} ({names(types)})"
    copied = session.exec_driver_sql(f"{into} SELECT {values(types, texts)} FROM {heap(staging)} AS h").rowcount
    if copied != sent:
        raise TransientError(f"{sent:,} rows were sent, the server has {copied:,}")
    return copied


def drop(session: sa.Connection, staging: str) -> None:
    """Remove the table of a copy, and that of its texts."""
    session.exec_driver_sql(f"DROP TABLE IF EXISTS {heap(staging)}")
    session.exec_driver_sql(f"DROP TABLE IF EXISTS {relation(STAGING, staging)}")


def place(session: sa.Connection, staging: str, schema: str, name: str, *, soft: bool) -> None:
    """Put a copy in the place of what readers see."""
    staged, target = relation(STAGING, staging), relation(schema, name)
    there, rights = _columns(session, target), session.exec_driver_sql(GRANTS, (target,)).all()
    session.exec_driver_sql(f"DROP TABLE IF EXISTS {heap(staging)}")
    if there:
        if soft and DELETED_AT in there:
            _keep_deleted(session, staging, schema, name)
        if session.exec_driver_sql(HELD, (target, target)).scalar():
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
    """Fill a table that others hang on; columns it lacks are added."""
    staged, target = relation(STAGING, staging), relation(schema, name)
    fresh = mssql_columns.shape(session, STAGING, staging)
    for column in set(fresh.columns) - set(_columns(session, target)):
        is_ours = column != DELETED_AT
        declared = column_type(fresh.columns[column]).declared if is_ours else "datetimeoffset(3)"
        session.exec_driver_sql(f"ALTER TABLE {target} ADD {quoted(column)} {declared} NULL")
        if is_ours:
            mssql_columns.note(session, schema, name, {column: fresh.columns[column]})
    listed = names(fresh.columns)
    session.exec_driver_sql(f"DELETE FROM {target}")
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
    session.exec_driver_sql(
        f"INSERT INTO {relation(STAGING, staging)} ({listed}, {quoted(DELETED_AT)})"
        f" SELECT {listed}, COALESCE(t.{quoted(DELETED_AT)}, SYSDATETIMEOFFSET()) FROM {relation(schema, name)} AS t"
        f" WHERE NOT EXISTS (SELECT 1 FROM {relation(STAGING, staging)} AS s WHERE {same})"
    )
