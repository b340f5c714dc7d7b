"""Dates of the reports: day first, always, and nothing is guessed."""

from __future__ import annotations

import polars as pl

_CLOCK = r"(?: [0-9]{1,2}:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?(?: [AP]M)?)?"
#: Numbers have all their digits: where they do not, a spreadsheet has written the date in its own way.
_SHAPE = rf"^[0-9]{{4}}-(?:[0-9]{{2}}-[0-9]{{2}}|[A-Z]{{3}}-[0-9]{{1,2}}){_CLOCK}$"
_CLOCKS = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S%.f %p")


def moment(column: str) -> pl.Expr:
    """
    Return the dates of a text column as ``Datetime("us")`` without a zone, NULL for any other text.

    Read are ``DD MMM YYYY``, ``DD/MM/YYYY``, ``DD-MM-YYYY`` and ISO, each alone or with ``HH:MM``,
    ``HH:MM:SS`` and fractions, by 24 hours or with AM or PM behind. A date that was not
    (30 February), a month name that is none, and a year of two digits are NULL.
    """
    return pl.col(column).map_batches(_read, return_dtype=pl.Datetime("us"), is_elementwise=True)


def _read(texts: pl.Series) -> pl.Series:
    """Read texts, each put into one form first: as a single expression that would be done anew for each format."""
    frame = texts.alias("text").to_frame().select(_NORMAL)
    return frame.select(pl.when(pl.col("text").str.contains(_SHAPE)).then(pl.coalesce(_FORMATS))).to_series()


_NORMAL = (
    pl.col("text")
    .str.strip_chars()
    .str.to_uppercase()
    .str.replace_all(r"\s+", " ")
    .str.replace(r"^([0-9]{2})/([0-9]{2})/([0-9]{4})", "$3-$2-$1")
    .str.replace(r"^([0-9]{2})-([0-9]{2})-([0-9]{4})", "$3-$2-$1")
    .str.replace(r"^([0-9]{1,2}) ([A-Z]{3}) ([0-9]{4})", "$3-$2-$1")
    .str.replace(r"^([0-9]{4}-[0-9]{2}-[0-9]{2})T", "$1 ")
    .str.replace(r" ?([AP]M)$", " $1")
)
_FORMATS = [
    pl.col("text").str.to_datetime(f"%Y-{month}-%d{clock}", time_unit="us", strict=False)
    for month in ("%m", "%b")
    for clock in _CLOCKS
]
