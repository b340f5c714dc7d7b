"""Reports as frames of text: columns found by their names, totals and footers left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

import polars as pl

from include.errors import ReportUnusable
from include.orders_sync.dates import moment
from include.orders_sync.reports import Field, Kind, Report

Record = Mapping[str, Any]

_NUMBER = r"^[-+(]*(?:₹|Rs\.?|INR)?\s*-?[0-9][0-9,]*(?:\.[0-9]*)?\s*%?\)?$|^-+$"
_LABEL = (
    r"(?i)^(?:\w+[ -]){0,3}(?:sub-?|grand)?totals?\b|^(?:\w+ )?summary\b|^(?:\w+ ){0,3}count\b"
    r"|^(?:no|number)\.? of \w+|^[0-9,]+ (?:orders|rows|records|bookings|invoices|payments|entries)$"
)

#: Columns while rows are looked at.
_ROW, _LABELLED = "row", "labelled"


def text_frame(report: Report, rows: pl.DataFrame | Sequence[Record]) -> pl.DataFrame:
    """
    Return the report's columns as text, named by their headers and in their order; blanks are NULL.

    Names are compared by their letters and digits, so that the API's ``online_transaction_id`` is the export's
    ``Online TransactionID``. A field that only some records have is NULL in the others.

    :raises ReportUnusable: naming the columns that are missing; no records at all miss none.
    """
    names = rows.columns if isinstance(rows, pl.DataFrame) else _names(rows)
    found = _matched(report, names)
    missing = [header for header in report.headers if header not in found]
    if missing and (isinstance(rows, pl.DataFrame) or rows):
        raise ReportUnusable(f"no column {', '.join(repr(header) for header in missing)}")
    return _frame(report, rows)


def rows_of(report: Report, records: Sequence[Record]) -> pl.DataFrame:
    """Return which of some records are rows of data, as text, whichever fields they lack."""
    return without_summaries(report, _frame(report, records))


def without_summaries(report: Report, frame: pl.DataFrame) -> pl.DataFrame:
    """
    Leave out what is no row of data: totals, footers, blank rows and repeated headers.

    A total has no order's number, and nothing but amounts and labels, or the day that it is of; a footer is a
    single text. A row that lacks its number or its date and tells anything else is one of data, and a bad one.
    """
    number, date = header_of(report, report.number), header_of(report, report.date)
    numbered = frame.with_row_index(_ROW)
    suspects = numbered.filter(pl.col(number).is_null() | _is_label(number) | moment(date).is_null())
    labelled = suspects.with_columns(_any(_is_label(header) for header in report.headers).alias(_LABELLED))
    return numbered.join(labelled.filter(_is_summary(report)), on=_ROW, how="anti", maintain_order="left").drop(_ROW)


def header_of(report: Report, name: str) -> str:
    """Return the header of the column with a name of our tables."""
    return next(field.header for field in report.fields if field.name == name)


def _is_summary(report: Report) -> pl.Expr:
    is_total = _all(_may_be_of_total(report, field) for field in report.fields)
    cells = pl.sum_horizontal(pl.col(header).is_not_null() for header in report.headers)
    is_header = (cells > 1) & _all(
        pl.col(header).is_null() | (_letters(pl.col(header)) == _normal(header)) for header in report.headers
    )
    is_footer = (cells == 1) & ~_stands_alone(report)
    return is_total | is_header | is_footer


def _may_be_of_total(report: Report, field: Field) -> pl.Expr:
    """
    Return whether a cell can be one of a row of totals.

    A number can, among the amounts; elsewhere it is a count if the row has a label, and a code if not. A date
    can where the label stands in place of the order's number.
    """
    blank, number = pl.col(field.header).is_null(), pl.col(field.header).str.contains(_NUMBER)
    if field.kind is Kind.PHONE:
        return blank
    if field.kind is not Kind.NUMBER:
        number = number & pl.col(_LABELLED)
    if field.name == report.date:
        number = number | _is_label(header_of(report, report.number))
    return (blank | number | _is_label(field.header)).fill_null(value=False)


def _stands_alone(report: Report) -> pl.Expr:
    """Return whether the only cell of a row is a number or a date of an order, which a footer is not."""
    number, date = header_of(report, report.number), header_of(report, report.date)
    return pl.col(number).str.contains(r"^\S+$").fill_null(value=False) | moment(date).is_not_null()


def _is_label(header: str) -> pl.Expr:
    return pl.col(header).str.contains(_LABEL).fill_null(value=False)


def _letters(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase().str.replace_all("[^a-z0-9]", "")


def _normal(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _all(conditions: Iterable[pl.Expr]) -> pl.Expr:
    return reduce(and_, conditions)


def _any(conditions: Iterable[pl.Expr]) -> pl.Expr:
    return reduce(or_, conditions)


def _names(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def _matched(report: Report, names: Iterable[str]) -> dict[str, str]:
    """Return which of some names each header has; of two that fit, the first."""
    by_normal: dict[str, str] = {}
    for name in names:
        by_normal.setdefault(_normal(name), name)
    return {header: by_normal[_normal(header)] for header in report.headers if _normal(header) in by_normal}


def _frame(report: Report, rows: pl.DataFrame | Sequence[Record]) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        found = _matched(report, rows.columns)
        texts = rows.select(pl.col(found[header]).cast(pl.String).alias(header) for header in report.headers)
    else:
        found = _matched(report, _names(rows))
        columns = {header: [_text(record.get(found.get(header, ""))) for record in rows] for header in report.headers}
        texts = pl.DataFrame(columns, schema=dict.fromkeys(report.headers, pl.String))
    stripped = pl.all().str.strip_chars()
    return texts.select(pl.when(stripped != "").then(stripped))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
