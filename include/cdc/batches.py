"""Apply batches of changes to the warehouse, each in one transaction with the position after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from include.cdc import drift, incidents, letters, state
from include.cdc.apply import Applied, OnDead, apply
from include.cdc.changes import Change, TargetTable
from include.cdc.collapse import Delta, collapse
from include.cdc.figures import Figures
from include.cdc.live import targets
from include.cdc.run import CdcRun
from include.cdc.sources.base import Column, Rows
from include.cdc.state import ReplicationRow
from include.cdc.targets.base import Target
from include.cdc.values import doubt, doubt_all, is_rewritten
from include.errors import SchemaMismatch, UnknownColumns

log = logging.getLogger(__name__)

SCHEMA_CHANGE = "schema_change"
#: Saves the position of a batch, in its transaction.
Save = Callable[[Target], None]


class _Refused(Exception):
    """The target refused a value; its table may have to follow the source first."""


@dataclass
class Batches:
    """Applies batches to the tables of an epoch, which follow the source's as these change."""

    run: CdcRun
    target: Target
    row: ReplicationRow
    tables: dict[str, TargetTable]
    figures: Figures = field(default_factory=Figures)
    left_out: dict[str, Collection[str]] = field(default_factory=dict)
    """Columns of the source that the target cannot have, by table."""
    moment: Rows | None = None
    """The source as it is where the stream ends; None where it ends is open."""

    @classmethod
    def of(cls, run: CdcRun, target: Target, row: ReplicationRow) -> Batches:
        """
        Begin with the tables as they are, after they have followed what changed meanwhile.

        What is not followed any more is forgotten: it misses changes from now, and has to be copied
        again if it is ever declared again.
        """
        assert row.epoch is not None
        left = [name for name in state.tables(target.records, run.name, row.epoch) if not run.replication.holds(name)]
        state.forget_tables(target.records, run.name, row.epoch, left)
        batches = cls(run, target, row, targets(target, run.replication, row.epoch))
        batches.follow(batches.tables)
        return batches

    def apply(self, changes: Sequence[Change], save: Save) -> None:
        """
        Apply changes in their order, and save the position after them.

        Where the target does not know a column, or refuses a value, the tables follow the source
        first; what is refused then is a dead letter.
        """
        try:
            applied = self._apply(changes, save, self._refuse)
        except (UnknownColumns, _Refused):
            self.follow({change.table for change in changes} & self.tables.keys())
            applied = self._apply(changes, save, self._bury)
        self.figures.add(len(changes), applied)

    def _apply(self, changes: Sequence[Change], save: Save, on_dead: OnDead) -> Applied:
        with self.target.transaction():
            deltas = collapse(changes, self.tables, self.left_out)
            doubted = letters.open_keys(self.target.records, self.run.name)
            for name in deltas.keys() & doubted.keys():
                self._resolve(name, deltas[name])
            applied = apply(self.target, deltas, self.tables, fetch=self._fetch, on_dead=on_dead, doubted=doubted)
            save(self.target)
        return applied

    def _resolve(self, name: str, delta: Delta) -> None:
        """Close the letters of rows that the batch writes anew; what is refused again becomes another one."""
        key = self.tables[name].key
        keys = [dict(zip(key, values, strict=True)) for values in (*delta.deleted, *delta.rows)]
        letters.resolve(self.target.records, self.run.name, [name], None if delta.truncated else keys)

    def follow(self, names: Iterable[str]) -> None:
        """
        Let tables follow what changed in their columns at the source.

        What cannot follow is an incident, and its column is left out.

        :raises SchemaMismatch: if a column may have been renamed: only a new copy has its values.
        """
        with self.run.at_source.reading() as rows:
            found_of = {name: rows.columns(name) for name in names}
        for name, found in found_of.items():
            chosen = {column: is_.type for column, is_ in found.items() if column not in self._without(name)}
            missing = {column: is_.missing for column, is_ in found.items()}
            doubts = self._doubts(found)
            self.tables[name] = replace(self.tables[name], doubts=doubts)
            changed = drift.compare(chosen, self.tables[name])
            try:
                with self.target.transaction():
                    self.tables[name] = drift.follow(self.target, self.tables[name], changed, missing)
            except SchemaMismatch as error:
                self._report(name, [str(error)], incidents.Severity.UNHEALTHY)
                raise
            self.left_out[name] = {column for column in chosen if column not in self.tables[name].columns}
            self._tell(name, changed.refused, [column for column in changed.added if found[column].rewritten])

    def _doubts(self, found: Mapping[str, Column]) -> dict[str, Callable[[Any], bool]]:
        """Return what tells values that are read at the source, as they may not arrive as its own texts of them."""
        doubts = {name: is_.doubt for name, is_ in found.items() if is_.doubt}
        for name, is_ in found.items():
            if self.target.keeps_texts and is_rewritten(self.run.replication.kind, is_.type):
                doubts[name] = doubt_all(is_.doubt or doubt(is_.type))
        return doubts

    def _without(self, name: str) -> Collection[str]:
        return self.run.replication.without.get(name, ())

    def _tell(self, name: str, refused: Mapping[str, str], rewritten: Sequence[str]) -> None:
        texts = [f"column {column} {reason}; resync the table" for column, reason in refused.items()]
        if rewritten:
            columns = ", ".join(rewritten)
            texts.append(f"{columns}: rows that were there may have got values without a change; resync the table")
        if texts:
            self._report(name, texts, incidents.Severity.DEGRADED)

    def _report(self, name: str, texts: Sequence[str], severity: incidents.Severity) -> None:
        incidents.report(self.target, self.run.name, SCHEMA_CHANGE, name, severity, "; ".join(texts))
        log.warning("replication %s: %s: %s", self.run.name, name, "; ".join(texts))

    def _fetch(self, name: str, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, str | None]]:
        """Read rows at the source as they are now, or at the end; later changes of them follow in the stream."""
        table = self.tables[name]
        with nullcontext(self.moment) if self.moment else self.run.at_source.reading() as rows:
            return rows.fetch(table, list(table.columns), keys)

    def compared(self) -> list[dict[str, Any]] | None:
        """Compare source and target where the stream has ended; None where its end was open."""
        if self.moment is None:
            return None
        found = self.target.compare(self.moment, list(self.tables.values()))
        return [asdict(table) for table in found]

    @staticmethod
    def _refuse(name: str, *_: object) -> None:
        raise _Refused(name)

    def _bury(self, name: str, key: Mapping[str, Any], content: Mapping[str, Any], reason: str) -> None:
        assert self.row.epoch is not None
        letters.record(self.target.records, self.run.name, self.row.epoch, name, key, content, reason)
