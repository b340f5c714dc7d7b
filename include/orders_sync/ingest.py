"""
A report's texts as rows of its staging table, and apart from them what cannot be kept.

A value that is none is NULL with a remark; a row without a key is dropped. Remarks name the
field, not the value.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from include.errors import ReportUnusable
from include.orders_sync import clean, tables
from include.orders_sync.dates import moment
from include.orders_sync.feeds.frames import header_of
from include.orders_sync.reports import Field, Kind, Report
from include.windows import Window

log = logging.getLogger(__name__)

#: What tells payments of one second apart; the other columns follow.
_PAYMENT = (
    "transaction_id",
    "payment_mode",
    "payment_received",
    "accepted_by",
    "payment_made_at",
    "payment_type",
)


@dataclass(frozen=True)
class Dropped:
    """
    A row that cannot be kept.

    :param row_number: its place in the report, from 1.
    :param content: its texts by header, without the fields that are never kept; personal data.
    """

    row_number: int
    reason: str
    content: dict[str, str | None]


@dataclass(frozen=True)
class Ingested:
    """
    What a report holds.

    :param rows: the columns of the staging table that the report fills, in its order; each key once.
    """

    rows: pl.DataFrame
    dropped: list[Dropped]


def ingest(report: Report, rows: pl.DataFrame, zone: ZoneInfo, window: Window) -> Ingested:
    """
    Read a report.

    :param rows: a text column for each header of the report; blank is NULL.
    :param zone: the timezone of its dates.
    :param window: what was asked for; rows of other days are kept, with a warning.
    :raises ReportUnusable: if it has dates, and none of them is a day of the window; rows without one tell nothing.
    """
    read = _read(report, rows, zone)
    _assert_asked_for(report, read, window)
    keyed = read.filter(pl.col("reason").is_null())
    lost = read.filter(pl.col("reason").is_not_null())
    if report.target == "sales":
        kept = _numbered(report, keyed)
    else:
        kept, doubled = _single(report, keyed)
        lost = pl.concat([lost, doubled]).sort("row_number")
    columns = [column.name for column in tables.staging[report.staging].columns if column.name in kept.columns]
    return Ingested(kept.select(columns).sort("row_number"), _dropped(report, lost))


def _read(report: Report, rows: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """Return the texts by their headers, the values by the names of their columns, remarks and reasons."""
    dates = [field for field in report.columns if field.kind in {Kind.MOMENT, Kind.DAY}]
    read = (
        rows.lazy()
        .select(clean.text(header) for header in report.headers)
        .with_row_index("row_number", offset=1)
        .with_columns(_value(report, field).alias(field.name or "") for field in report.columns)
        .with_columns(_dated(field, zone) for field in dates)
        .with_columns(_remarks(report).alias("remarks"), _reason(report).alias("reason"))
    )
    if report.code == "uc_gst":
        central, state = pl.col("cgst_amount"), pl.col("sgst_amount")
        tax = pl.coalesce(central + state, central, state)
        read = read.with_columns(tax.cast(pl.Decimal(14, 2)).alias("tax_amount"))
    return read.collect()


def _value(report: Report, field: Field) -> pl.Expr:
    match field.kind:
        case Kind.NUMBER:
            return clean.number(field.header, _type(report, field.name).scale)
        case Kind.PHONE:
            return clean.phone(field.header)
        case Kind.MOMENT | Kind.DAY:
            return moment(field.header)
        case Kind.TEXT:
            return pl.col(field.header)


def _dated(field: Field, zone: ZoneInfo) -> pl.Expr:
    """Return the moments of a field as those of the zone."""
    local = clean.in_zone(pl.col(field.name or ""), zone)
    return local.dt.date() if field.kind is Kind.DAY else local


def _remarks(report: Report) -> pl.Expr:
    """Return which fields have a text that is no value."""
    return _joined(
        _when(_is_lost(field), "phone unusable" if field.kind is Kind.PHONE else f"{field.header} unreadable")
        for field in report.columns
        if field.kind is not Kind.TEXT
    )


def _reason(report: Report) -> pl.Expr:
    """Return why a row has no key, NULL if it has one."""
    fields = {field.name: field for field in report.columns}
    number, date = fields[report.number], fields[report.date]
    longest = _type(report, report.number).length
    reasons = (
        (pl.col(number.header).is_null(), f"no {number.header}"),
        (pl.col(number.header).str.len_chars() > longest, f"{number.header} longer than {longest} characters"),
        (pl.col(date.header).is_null(), f"no {date.header}"),
        (_is_lost(date), f"{date.header} unreadable"),
    )
    return _joined(_when(*reason) for reason in reasons)


def _is_lost(field: Field) -> pl.Expr:
    return pl.col(field.header).is_not_null() & pl.col(field.name or "").is_null()


def _when(condition: pl.Expr, text: str) -> pl.Expr:
    return pl.when(condition).then(pl.lit(text))


def _joined(texts: Iterable[pl.Expr]) -> pl.Expr:
    return pl.concat_str(list(texts), separator="; ", ignore_nulls=True).replace("", None)


def _single(report: Report, keyed: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows with each key once, the one of the last activity, else the last; and the others."""
    newest_last = [name for name in ("last_activity", "row_number") if name in keyed.columns]
    chosen = pl.col("row_number").last().over(report.number, report.date)
    keyed = keyed.sort(newest_last).with_columns(
        pl.when(pl.col("row_number") != chosen).then(pl.format("duplicate of row {}", chosen)).alias("reason")
    )
    return keyed.filter(pl.col("reason").is_null()), keyed.filter(pl.col("reason").is_not_null())


def _numbered(report: Report, keyed: pl.DataFrame) -> pl.DataFrame:
    """Number the payments of one order in one second by what they are, whatever their place in the report."""
    key = [report.number, report.date]
    values = [field.name for field in report.columns if field.name]
    others = [name for name in values if name not in {*key, *_PAYMENT}]
    place = pl.int_range(1, pl.len() + 1, dtype=pl.Int16).over(key)
    return keyed.sort([*key, *_PAYMENT, *others, "remarks"]).with_columns(place.alias("payment_no"))


def _assert_asked_for(report: Report, read: pl.DataFrame, window: Window) -> None:
    inside = read[report.date].dt.date().is_between(window.start, window.end, closed="left")
    if read[header_of(report, report.date)].count() and not inside.any():
        raise ReportUnusable(f"the report {report.code} holds no day of {window.name}: it is not the one asked for")
    if outside := inside.len() - inside.null_count() - inside.sum():
        log.warning("%s of %s: %d rows are of other days", report.code, window.name, outside)


def _dropped(report: Report, lost: pl.DataFrame) -> list[Dropped]:
    contents = lost.select(field.header for field in report.columns).to_dicts()
    rows = lost.select("row_number", "reason").iter_rows()
    return [Dropped(number, reason, content) for (number, reason), content in zip(rows, contents, strict=True)]


def _type(report: Report, name: str | None) -> Any:
    """Return the type of a column of the tables."""
    return tables.staging[report.staging].columns[name or ""].type
