"""What a table of the catalog is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from include.catalog.types import SqlType

Group = Literal["sales", "reference", "nightly"]
DateFormat = Literal["dd/mm/yyyy"]

#: PostgreSQL cuts names after 63 bytes; partitions and staging tables append up to 20.
_LONGEST_TARGET_NAME_BYTES = 43


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
        for field, column in named.items():
            if column is not None and column not in self.columns:
                raise ValueError(f"{field}: the table has no column {column!r}")
        self._check_date()
        return self

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
    def date_is_text(self) -> bool:
        """Whether the date column holds text that has to be converted."""
        return self.date_format is not None
