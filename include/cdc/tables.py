"""
What the warehouse records of replications; a test holds it equal to the migrations.

Times are UTC. The position of a stream is written in the transaction of the rows that it brought.
"""

from __future__ import annotations

import sqlalchemy as sa

from include.metadata import long_text, metadata, moment

cdc_replications = sa.Table(
    "cdc_replications",
    metadata,
    sa.Column("name", sa.Unicode(64), primary_key=True),
    sa.Column("state", sa.Unicode(16), nullable=False),
    sa.Column("epoch", sa.Unicode(32)),
    sa.Column("next_epoch", sa.Unicode(32)),
    sa.Column("position", long_text()),
    sa.Column("next_position", long_text()),
    sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("applied_at", moment()),
    sa.Column("source_at", moment()),
    sa.Column("events", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("run_id", sa.Unicode(250)),
    sa.Column("reason", long_text()),
    sa.Column("updated_at", moment(), nullable=False),
    sa.Column("lag_bytes", sa.BigInteger),
    sa.Column("looked_at", moment()),
)
"""
A row a replication. ``epoch`` is the copy that readers see, ``next_epoch`` one that is being made;
``source_at`` is when the source committed what was applied last; each writer raises ``revision``.
``lag_bytes`` is what the last look at its health found, at ``looked_at``.
"""

cdc_tables = sa.Table(
    "cdc_tables",
    metadata,
    sa.Column("replication", sa.Unicode(64), primary_key=True),
    sa.Column("epoch", sa.Unicode(32), primary_key=True),
    sa.Column("source_table", sa.Unicode(260), primary_key=True),
    sa.Column("target_table", sa.Unicode(128), nullable=False),
    sa.Column("status", sa.Unicode(16), nullable=False),
    sa.Column("snapshot", long_text()),
    sa.Column("chunk_key", long_text()),
    sa.Column("rows_expected", sa.BigInteger),
    sa.Column("rows_copied", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("seconds", sa.Double, nullable=False, server_default="0"),
    sa.Column("run_id", sa.Unicode(250)),
    sa.Column("copied_at", moment()),
    sa.Column("updated_at", moment(), nullable=False),
)
"""
A table of an epoch: pending, copying, copied (in staging), live.

``snapshot`` is what its copy saw: of PostgreSQL transactions, of SQL Server capture instances, renewed by each stream.
"""

cdc_incidents = sa.Table(
    "cdc_incidents",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("replication", sa.Unicode(64), nullable=False),
    sa.Column("kind", sa.Unicode(32), nullable=False),
    sa.Column("subject", sa.Unicode(260), nullable=False, server_default=""),
    sa.Column("severity", sa.Unicode(16), nullable=False),
    sa.Column("detail", long_text(), nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("opened_at", moment(), nullable=False),
    sa.Column("seen_at", moment(), nullable=False),
    sa.Column("closed_at", moment()),
    sa.Index("ix_cdc_incidents_open", "replication", "closed_at"),
)
"""What is wrong with a replication: one open row a kind and subject (a table, or nothing)."""

cdc_dead_letters = sa.Table(
    "cdc_dead_letters",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("replication", sa.Unicode(64), nullable=False),
    sa.Column("epoch", sa.Unicode(32), nullable=False),
    sa.Column("source_table", sa.Unicode(260), nullable=False),
    sa.Column("row_key", long_text(), nullable=False),
    sa.Column("content", long_text(), nullable=False),
    sa.Column("reason", long_text(), nullable=False),
    sa.Column("created_at", moment(), nullable=False),
    sa.Column("resolved_at", moment()),
    sa.Index("ix_cdc_dead_letters_open", "replication", "resolved_at"),
)
"""A change that the target refused; resolved when a later change or copy of its row went in."""

cdc_applies = sa.Table(
    "cdc_applies",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.Unicode(250), nullable=False),
    sa.Column("replication", sa.Unicode(64), nullable=False),
    sa.Column("epoch", sa.Unicode(32), nullable=False),
    sa.Column("consumer", sa.Integer, nullable=False, server_default="0"),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("upserted", sa.BigInteger, nullable=False),
    sa.Column("deleted", sa.BigInteger, nullable=False),
    sa.Column("dead", sa.BigInteger, nullable=False),
    sa.Column("batches", sa.BigInteger, nullable=False),
    sa.Column("lag_seconds", sa.Double),
    sa.Column("memory_mb", sa.Double),
    sa.Column("started_at", moment(), nullable=False),
    sa.Column("finished_at", moment()),
    sa.Column("caught_up", sa.Boolean, nullable=False),
    sa.Column("error", long_text()),
    sa.Index("ix_cdc_applies_replication", "replication", "started_at"),
)
"""A row a run of a stream."""

cdc_offsets = sa.Table(
    "cdc_offsets",
    metadata,
    sa.Column("replication", sa.Unicode(64), primary_key=True),
    sa.Column("epoch", sa.Unicode(32), primary_key=True),
    sa.Column("topic", sa.Unicode(250), primary_key=True),
    sa.Column("partition_no", sa.Integer, primary_key=True),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("updated_at", moment(), nullable=False),
)
"""Kafka Connect mode: the offset that is read next of each partition."""

cdc_definitions = sa.Table(
    "cdc_definitions",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("replication", sa.Unicode(64), nullable=False),
    sa.Column("epoch", sa.Unicode(32), nullable=False),
    sa.Column("definition", long_text(), nullable=False),
    sa.Column("created_at", moment(), nullable=False),
    sa.Index("ix_cdc_definitions_epoch", "replication", "epoch", "id"),
)
"""Debezium's schema history of a source whose log does not say how its tables are defined: a line a row."""
