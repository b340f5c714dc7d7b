"""What a table of the catalog is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from include.catalog.types import SqlType

Group = Literal["sales", "reference", "nightly"]
DateFormat = Literal["dd/mm/yyyy"]
TextForm = Literal["dd/mm/yyyy", "hh:mm:ss", "dd/mm/yyyy hh:mm:ss"]
Policy = Literal["copy", "null", "hash"]
Metric = Literal["null_keys", "duplicate_keys", "unreadable_dates", "orphans", "volume"]

#: PostgreSQL cuts names after 63 bytes; partitions and staging tables append up to 20.
_LONGEST_TARGET_NAME_BYTES = 43


#: Hex digits of the hash that takes the place of a value.
HASH_LENGTH = 64


class Parent(BaseModel):
    """The table of which each row needs a row: a column here that names a column there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    column: str
    parent_column: str


class Threshold(BaseModel):
    """The most that a quality metric may be, and what becomes of a breach."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    most: Annotated[float, Field(ge=0)]
    breach: Literal["warn", "fail"] = "warn"


class Table(BaseModel):
    """
    A table that is replicated: one entry of ``tables.yaml`` with its columns.

    ``columns`` keep the order of the source. It is empty only for an optional
    table that the source did not have when its columns were fetched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    strategy: Literal["window", "refresh"]
    source_schema: str
    target_schema: str
    target_table: str
    date: str | None = None
    date_format: DateFormat | None = None
    key: tuple[str, ...] = ()
    rowversion: str | None = None
    soft_delete: str | None = None
    groups: tuple[Group, ...] = ()
    optional: bool = False
    rows: Annotated[int, Field(ge=0)] = 0
    policies: dict[str, Policy] = {}
    """What leaves the source of a column that is not copied as it is."""
    indexes: tuple[tuple[str, ...], ...] = ()
    """Columns of each index that reports want on the replica, beside the key's."""
    typed: dict[str, TextForm] = {}
    """Columns of text that hold dates or times, as the view of the table shows them typed."""
    parent: Parent | None = None
    quality: dict[Metric, Threshold] = {}
    columns: dict[str, SqlType] = {}

    @field_validator("columns", mode="before")
    @classmethod
    def _parse_types(cls, columns: dict[str, str | SqlType]) -> dict[str, SqlType]:
        return {name: SqlType.parse(type_) if isinstance(type_, str) else type_ for name, type_ in columns.items()}

    @field_validator("target_table")
    @classmethod
    def _leave_room(cls, name: str) -> str:
        if len(name.encode()) > _LONGEST_TARGET_NAME_BYTES:
            raise ValueError(f"{name!r} is longer than {_LONGEST_TARGET_NAME_BYTES} bytes")
        return name

    @model_validator(mode="after")
    def _hold_together(self) -> Table:
        if self.strategy == "window" and not self.date:
            raise ValueError("date: strategy window needs a date column")
        if self.strategy == "refresh" and "sales" in self.groups:
            raise ValueError("groups: a table of group sales has strategy window")
        if not self.columns:
            if not self.optional:
                raise ValueError("columns: unknown; fetch them with `python -m include add-table`")
            return self
        named = {"date": self.date, "rowversion": self.rowversion, "soft_delete": self.soft_delete}
        named |= {f"key[{place}]": column for place, column in enumerate(self.key)}
        named |= {"parent.column": self.parent.column if self.parent else None}
        for field, columns in (("policies", self.policies), ("typed", self.typed), ("indexes", sum(self.indexes, ()))):
            named |= {f"{field}: {column}": column for column in columns}
        for field, column in named.items():
            if column is not None and column not in self.columns:
                raise ValueError(f"{field}: the table has no column {column!r}")
        self._check_date()
        self._check_policies()
        if wrong := [name for name in self.typed if not self.columns[name].is_text]:
            raise ValueError(f"typed: {wrong[0]} is {self.columns[wrong[0]]}, not text")
        return self

    def _check_policies(self) -> None:
        for name, policy in self.policies.items():
            if policy != "copy" and name in (*self.key, self.date, self.rowversion):
                raise ValueError(f"policies: {name}: date, key and rowversion are copied as they are")
            type_ = self.columns[name]
            if policy == "hash" and not (type_.is_text and (type_.length or HASH_LENGTH) >= HASH_LENGTH):
                raise ValueError(f"policies: {name}: a hash is text of {HASH_LENGTH} characters, {type_} is not")

    def _check_date(self) -> None:
        if not self.date:
            return
        type_ = self.columns[self.date]
        if type_.is_text and not self.date_format:
            raise ValueError(f"date_format: {self.date} is {type_}, say how dates are written in it")
        if not type_.is_text and self.date_format:
            raise ValueError(f"date_format: {self.date} is {type_}, not text")
        if not type_.is_text and not type_.is_temporal:
            raise ValueError(f"date: {self.date} is {type_}, not a date")

    @property
    def view(self) -> str:
        """The unqualified name of the view with typed dates and times."""
        return f"vw_{self.name}"

    @property
    def changed(self) -> dict[str, Policy]:
        """The columns whose values do not leave the source as they are."""
        return {name: policy for name, policy in self.policies.items() if policy != "copy"}

    @property
    def date_is_text(self) -> bool:
        """Whether the date column holds text that has to be converted."""
        return self.date_format is not None
