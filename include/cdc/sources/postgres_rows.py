"""The rows and columns of a PostgreSQL source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from include.cdc.changes import TargetTable
from include.cdc.sources.base import Column, SourceTable
from include.engines.postgres.errors import translated
from include.errors import SourceChanged

if TYPE_CHECKING:
    import psycopg

Key = Sequence[str] | None

_PIECE_BYTES = 128 * 1024
#: The files that the snapshot knows, beside those that the table has now.
_SEEN = """
    SELECT coalesce(bool_and(c.relfilenode = pg_relation_filenode(c.oid)), false), pg_current_snapshot()::text
    FROM pg_class c WHERE c.oid IN (
        SELECT relid FROM pg_partition_tree(%(table)s) WHERE isleaf UNION ALL SELECT %(table)s::regclass
    ) AND c.relkind = 'r'
"""
#: Of an enum come its words, of a domain the values of its base; a domain of arrays is no array to Debezium.
_COLUMNS = """
    SELECT a.attname::text,
        CASE WHEN b.typtype = 'e' THEN 'text'
             WHEN b.oid = a.atttypid OR b.typcategory = 'A' THEN format_type(a.atttypid, a.atttypmod)
             ELSE format_type(b.oid, b.mod) END,
        CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END,
        NOT a.atthasmissing AND (a.atthasdef OR a.attidentity <> '')
    FROM pg_attribute a
    CROSS JOIN LATERAL (
        WITH RECURSIVE base AS (
            SELECT t.oid, t.typtype, t.typcategory, t.typbasetype, t.typtypmod, a.atttypmod AS mod
            FROM pg_type t WHERE t.oid = a.atttypid
            UNION ALL
            SELECT t.oid, t.typtype, t.typcategory, t.typbasetype, t.typtypmod,
                CASE WHEN base.mod < 0 THEN base.typtypmod ELSE base.mod END
            FROM base JOIN pg_type t ON t.oid = base.typbasetype WHERE base.typtype = 'd'
        )
        SELECT * FROM base WHERE typtype <> 'd'
    ) b
    WHERE a.attrelid = (
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s
    )
    AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ORDER BY a.attnum
"""


@dataclass(frozen=True)
class PostgresRows:
    """What a session sees: one moment inside a transaction of repeatable reads, else what is there now."""

    session: psycopg.Connection[Any]

    def hold(self, table: str) -> str | None:
        """
        Keep a table from being rewritten, and return what the snapshot has seen.

        In a snapshot that is older than a rewrite the table is empty.
        """
        self.session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(_relation(table)))
        row = self.session.execute(_SEEN, {"table": _relation(table).as_string(self.session)}).fetchone()
        assert row is not None
        if not row[0]:
            raise SourceChanged(f"{table} was rewritten meanwhile, by ALTER TABLE or the like; read it again")
        return str(row[1])

    def columns(self, table: str) -> dict[str, Column]:
        """
        Return the columns of a table in their order, generated ones left out.

        The type of an enum is ``text``, that of a domain its base type. Rows from before a column was
        added have its constant default as long as the table was not rewritten since. They may have
        got values of which the stream tells nothing where a column has a default that the server did
        not keep as one value: volatile defaults, serial and identity columns, and rewritten tables,
        but also a default that was set after the column was added: the two cannot be told apart.
        """
        with translated(f"reading the columns of {table}"):
            rows = self.session.execute(_COLUMNS, table.split(".", 1)).fetchall()
        return {name: Column(*row) for name, *row in rows}

    def last_key(self, table: SourceTable, after: Key, rows: int) -> list[str] | None:
        """Return the key of the row that is so many rows after a key; None if there are fewer."""
        # by its bare name a column would be the text that is selected, which no index has in its order
        query = sql.SQL("SELECT {texts} FROM {relation} t WHERE {after} ORDER BY {key} OFFSET {skip} LIMIT 1").format(
            texts=_listed(sql.SQL("{}::text").format(sql.Identifier(column)) for column in table.key),
            relation=_relation(table.name),
            after=_compared(table, ">", after),
            key=_listed(sql.Identifier("t", column) for column in table.key),
            skip=sql.Literal(rows - 1),
        )
        found = self.session.execute(query).fetchone()
        return list(found) if found else None

    def pipe(
        self,
        table: SourceTable,
        columns: Mapping[str, str],
        between: tuple[Key, Key],
        target: psycopg.Connection[Any],
        staging: sql.Identifier,
    ) -> int:
        """Hand rows from one server to the other, unread; the source casts, a binary COPY converts nothing."""
        copy_out = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(_selected(table, columns, between))
        copied = _listed(map(sql.Identifier, columns))
        copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(staging, copied)
        with self.session.cursor() as reader, target.cursor() as writer:
            with reader.copy(copy_out) as rows, writer.copy(copy_in) as sink:
                piece = bytearray()
                for data in rows:
                    piece += data
                    if len(piece) >= _PIECE_BYTES:
                        sink.write(bytes(piece))
                        piece.clear()
                sink.write(bytes(piece))
            return writer.rowcount

    def texts(
        self, table: SourceTable, columns: Mapping[str, str], between: tuple[Key, Key]
    ) -> Iterator[Sequence[str | None]]:
        """Return rows as the server writes them as texts."""
        copy_out = sql.SQL("COPY ({}) TO STDOUT").format(_selected(table, columns, between))
        with self.session.cursor() as reader, reader.copy(copy_out) as rows:
            yield from rows.rows()

    def fetch(
        self, table: TargetTable, columns: Sequence[str], keys: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, str | None]]:
        """Return rows by their keys, as texts."""
        found = self.columns(table.source)
        present = [column for column in columns if column in found]
        chosen = _listed(
            sql.SQL("{}::{}").format(sql.Identifier(column), sql.SQL(found[column].type)) for column in present
        )
        wanted = sql.SQL(" OR ").join(
            sql.SQL("({})").format(
                sql.SQL(" AND ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(str(key[column])))
                    for column in table.key
                )
            )
            for key in keys
        )
        # as a copy writes them: a cast to text writes some types otherwise
        query = sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT")
        copy_out = query.format(chosen, _relation(table.source), wanted)
        with self.session.cursor() as reader, reader.copy(copy_out) as rows:
            return [dict(zip(present, row, strict=True)) for row in rows.rows()]


def _selected(table: SourceTable, columns: Mapping[str, str], between: tuple[Key, Key]) -> sql.Composed:
    chosen = _listed(sql.SQL("{}::{}").format(sql.Identifier(name), sql.SQL(text)) for name, text in columns.items())
    condition = sql.SQL(" AND ").join([_compared(table, ">", between[0]), _compared(table, "<=", between[1])])
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(chosen, _relation(table.name), condition)


def _compared(table: SourceTable, operator: str, key: Key) -> sql.Composable:
    if key is None:
        return sql.SQL("true")
    columns, values = _listed(map(sql.Identifier, table.key)), [sql.Literal(value) for value in key]
    if len(values) == 1:
        return sql.SQL("{} {} {}").format(columns, sql.SQL(operator), values[0])
    return sql.SQL("({}) {} ({})").format(columns, sql.SQL(operator), _listed(values))


def _relation(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split(".", 1))


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
