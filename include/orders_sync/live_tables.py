"""The tables of the orders sync as a database has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from include.orders_sync.tables import SCHEMA, metadata

_TRIGGERS = sa.text("""
    SELECT DISTINCT relname FROM pg_catalog.pg_trigger JOIN pg_catalog.pg_class c ON c.oid = tgrelid
    WHERE relnamespace = 'public'::regnamespace AND tgname = 'retail_sync_updated_at' AND tgenabled <> 'D'
""")


@dataclass(frozen=True)
class LiveTable:
    """
    A table of a database.

    :param columns: as SQLAlchemy's inspector describes them, by name.
    :param keys: columns that are unique together, whatever the name and kind of what says so.
    :param checks: conditions as the server writes them, by name.
    :param references: column, and table that it refers to.
    :param indexes: columns, without those that are only included, by name.
    :param has_trigger: whether our trigger keeps its ``updated_at``.
    """

    columns: dict[str, Any]
    keys: set[frozenset[str]]
    checks: dict[str, str]
    references: set[tuple[str, str]]
    indexes: dict[str, list[str | None]]
    has_trigger: bool


def read(session: sa.Connection) -> dict[str, LiveTable]:
    """Return those of the tables that are there, by name."""
    inspector = sa.inspect(session)
    ours: Any = {"schema": SCHEMA, "filter_names": [table.name for table in metadata.sorted_tables]}
    primary, unique = inspector.get_multi_pk_constraint(**ours), inspector.get_multi_unique_constraints(**ours)
    checks, indexes = inspector.get_multi_check_constraints(**ours), inspector.get_multi_indexes(**ours)
    references = inspector.get_multi_foreign_keys(**ours)
    triggers = set(session.scalars(_TRIGGERS))
    return {
        key[1]: LiveTable(
            columns={column["name"]: column for column in columns},
            keys={
                frozenset(primary[key]["constrained_columns"]),
                *(frozenset(constraint["column_names"]) for constraint in unique[key]),
                *(frozenset(filter(None, index["column_names"])) for index in indexes[key] if _is_key(index)),
            }
            - {frozenset()},
            checks={check["name"] or "": check["sqltext"] for check in checks[key]},
            references={
                (column, reference["referred_table"])
                for reference in references[key]
                for column in reference["constrained_columns"]
            },
            indexes={index["name"] or "": index["column_names"] for index in indexes[key]},
            has_trigger=key[1] in triggers,
        )
        for key, columns in inspector.get_multi_columns(**ours).items()
    }


def _is_key(index: Any) -> bool:
    is_partial = "postgresql_where" in index.get("dialect_options", {})
    return bool(index["unique"]) and None not in index["column_names"] and not is_partial
