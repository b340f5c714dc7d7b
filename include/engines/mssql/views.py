"""
The statements of the views that show dates and times of text as what they are, in T-SQL.

The forms are those of the other engines: a mark is put behind the text, since ``LIKE``
overlooks blanks at the end of a ``varchar``, and a date and time is written the ISO way
before it is converted, which every engine reads alike.
"""

from __future__ import annotations

from include.catalog import Table
from include.catalog.models import TextForm
from include.engines.mssql.sql import quoted, target_name
from include.maintenance.upkeep import IS_DELETED, marks_deleted, typed_columns, typed_name

_DATE = "[0-9][0-9]/[0-9][0-9]/[0-9][0-9][0-9][0-9]"
_TIMES = ("[01][0-9]:[0-5][0-9]:[0-5][0-9]", "2[0-3]:[0-5][0-9]:[0-5][0-9]")


def create_view(table: Table, raw: list[str]) -> str:
    """
    Return the statement that makes the view of a table or changes it; it must be alone in its batch.

    :param raw: the columns of the replica.
    """
    columns = [quoted(name) for name in raw]
    for name, form in typed_columns(table, raw).items():
        columns.append(f"{typed(_text(table, name), form)} AS {quoted(typed_name(name))}")
    if marks_deleted(table, raw):
        columns.append(f"{_is_deleted(table)} AS {quoted(IS_DELETED)}")
    view = f"{quoted(table.target_schema)}.{quoted(table.view)}"
    return f"CREATE OR ALTER VIEW {view} AS SELECT {', '.join(columns)} FROM {target_name(table)}"


def typed(text: str, form: TextForm) -> str:
    """Return the expression of a text as date, time(0) or datetime2(0), NULL where it is not of the form."""
    if form == "dd/mm/yyyy":
        return (
            f"CASE WHEN {text} LIKE '{_DATE}%' AND {text} NOT LIKE '{_DATE}[0-9]%'"
            f" THEN TRY_CONVERT(date, LEFT({text}, 10), 103) END"
        )
    before = f"{_DATE} " if form == "dd/mm/yyyy hh:mm:ss" else ""
    likes = " OR ".join(f"{text} + '|' LIKE '{before}{time}|'" for time in _TIMES)
    if form == "hh:mm:ss":
        return f"CASE WHEN {likes} THEN TRY_CONVERT(time(0), LEFT({text}, 8), 108) END"
    day = f"SUBSTRING({text}, 7, 4) + '-' + SUBSTRING({text}, 4, 2) + '-' + LEFT({text}, 2)"
    return f"CASE WHEN {likes} THEN TRY_CONVERT(datetime2(0), {day} + 'T' + SUBSTRING({text}, 12, 8), 126) END"


def _text(table: Table, column: str) -> str:
    """Return a column as text that can be taken apart."""
    if table.columns[column].base in ("text", "ntext", "xml"):
        return f"CAST({quoted(column)} AS nvarchar(max))"
    return quoted(column)


def _is_deleted(table: Table) -> str:
    assert table.soft_delete is not None
    yes = "'1'" if table.columns[table.soft_delete].is_text else "1"
    return f"CAST(CASE WHEN {quoted(table.soft_delete)} = {yes} THEN 1 ELSE 0 END AS bit)"
