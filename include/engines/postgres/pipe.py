"""PostgreSQL to PostgreSQL: the binary COPY stream of one server is fed to the other, unread."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql as pgsql
from psycopg.abc import Buffer

from include.engines.base import Loaded, OnRows
from include.engines.postgres.source import PostgresSnapshot
from include.engines.postgres.warehouse import PostgresStaging

#: The server sends a message a row; rows are passed on in pieces of this size.
_PIECE_BYTES = 128 * 1024


def pipe(snapshot: PostgresSnapshot, staging: PostgresStaging, on_rows: OnRows) -> Loaded:
    """Fill a staging table with the rows of a snapshot, holding about 128 KiB of them at once."""

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
