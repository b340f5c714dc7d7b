"""The one transaction in which rows that changed, of whatever date, are put in place in a SQL Server warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from include.engines.base import Changed
from include.engines.mssql import sql
from include.engines.mssql.publish import Publication, delete_keys, delete_staged_keys, insert_staged


class Patch(Publication):
    """Rows of the staging table ``changes`` that are about to take the place of those with their keys."""

    def apply(self, gone: Sequence[Sequence[tuple[Any, ...]]], publish_lock_wait: float) -> Changed:
        """
        Replace and delete rows; the caller commits.

        :param gone: keys of rows to delete, in pieces that a statement can bind.
        :param publish_lock_wait: seconds to queue behind others before giving up.
        :raises ValueDoesNotFit: if the code page of a column lacks a character of a value.
        """
        self._take_turn(publish_lock_wait)
        self._refuse_lost_characters()
        updated = self._execute(delete_staged_keys(self.table, self.span))
        deleted = sum(self._execute(delete_keys(self.table, keys)) for keys in gone)
        rows = self._execute(insert_staged(self.table, self.span, sql.target_name(self.table)))
        self._finish(rows, self.staged)
        return Changed(max(rows - updated, 0), updated, deleted)
