"""PostgreSQL to PostgreSQL: the binary COPY stream of one server is fed to the other, unread."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql as pgsql
from psycopg.abc import Buffer

from include.engines.base import Loaded, OnRows
from include.engines.postgres.source import PostgresSnapshot
from include.engines.postgres.types import is_as_made
from include.engines.postgres.warehouse import PostgresStaging
from include.engines.prefetch import prefetch

#: The server sends a message a row; rows are passed on in pieces of this size.
_PIECE_BYTES = 128 * 1024


def pipe(snapshot: PostgresSnapshot, staging: PostgresStaging, on_rows: OnRows) -> Loaded:
    """
    Fill a staging table with the rows of a snapshot, holding about 128 KiB of them at once.

    Where an end has a wider type than the catalog the rows go as Arrow, which converts: another
    integer has another form on the wire, and a server rounds digits that do not fit without a word.
    """
    columns, at_source, in_copy = snapshot.table.columns, snapshot.shape(), staging.shape()
    if not (is_as_made(columns, at_source) and is_as_made(columns, in_copy)):
        batches = prefetch(snapshot.batches(snapshot.source.batch_bytes))
        return staging.load(staging.as_kept(batches), on_rows)

    def write(session: psycopg.Connection[Any], copy_in: pgsql.Composed) -> Loaded:
        copy_out = pgsql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(snapshot.query)
        rows = total = 0
        with session.cursor() as target, snapshot.session.cursor() as source:
            with source.copy(copy_out) as reader, target.copy(copy_in) as writer:
                piece: list[Buffer] = []
                size = 0
                for data in reader:
                    piece.append(data)
                    size += len(data)
                    if size >= _PIECE_BYTES:
                        writer.write(b"".join(piece))
                        rows, total = rows + len(piece), total + size
                        on_rows(rows, total)
                        piece, size = [], 0
                writer.write(b"".join(piece))
            return Loaded(target.rowcount, total + size)

    return staging.fill(write)
