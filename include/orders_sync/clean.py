"""Texts of the reports as values: exact, and NULL where a text is none. Nothing is guessed."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl

#: Thousands in groups of three, or above the first group of two: 1,234,567 and 12,34,567.
_NUMBER = r"^-?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3})?(?:\.[0-9]*)?$"
#: What a sum of floats leaves instead of zero: too small for any of our scales.
_RESIDUE = r"^-?[0-9](?:\.[0-9]+)?[Ee]-(?:0?[5-9]|[1-9][0-9])$"
_PRECISION = 14

#: Digits of one number, and what people write between them.
_DIALLED = r"^[^0-9+]*(\+?[\s()]*[0-9][0-9\s().\x{2010}-\x{2015}-]*)[^0-9]*$"
#: A number that a spreadsheet took for one: ``9.876543211E9``; with fewer digits it may have been rounded.
_FLOATS = {
    rf"^([1-9])\.([0-9]{{{exponent - zeros}}})[Ee]\+?0?{exponent}$": "${1}${2}" + "0" * zeros
    for exponent in (9, 11)
    for zeros in (0, 1)
}
_SAME_DIGITS = "^(?:" + "|".join(f"{digit}{{10}}" for digit in range(1, 10)) + ")$"

#: Other dates are no dates of a laundry: what a CRM writes for none, or a slip of the pen.
_FIRST, _LAST = datetime(1900, 1, 1), datetime(2999, 12, 31)  # noqa: DTZ001 - as written, the zone comes later


def text(column: str) -> pl.Expr:
    """Return a text without white space around it, and without NUL, which PostgreSQL refuses; NULL if it is blank."""
    stripped = pl.col(column).str.replace_all("\0", "", literal=True).str.strip_chars()
    return stripped.replace("", None)


def number(column: str, scale: int) -> pl.Expr:
    """
    Return a text as ``Decimal``, never by way of a float; further digits are rounded, half away from zero.

    Read are separators of thousands, also Indian ones, a leading ``₹`` or ``Rs.``, and as negative
    ``-12.50``, ``12.50-`` and ``(12.50)``.
    """
    plain = (
        pl.col(column)
        .str.replace_all("\N{MINUS SIGN}", "-", literal=True)
        .str.replace(r"^([-(]?)\s*(?:₹|[Rr][Ss]\.?)\s*", "$1")
        .str.replace(r"^\((.*)\)$", "-$1")
        .str.replace(r"^([^-].*?)\s*-$", "-$1")
        .str.replace(_RESIDUE, "0")
    )
    # one digit behind the scale says how to round, and all of them must not be rounded first
    digits = plain.str.replace_all(",", "", literal=True).str.extract(rf"^(-?[0-9]*\.?[0-9]{{0,{scale + 1}}})")
    exact = pl.when(plain.str.contains(_NUMBER)).then(digits).cast(pl.Decimal(38, scale + 1), strict=False)
    return exact.round(scale, mode="half_away_from_zero").cast(pl.Decimal(_PRECISION, scale), strict=False)


def phone(column: str) -> pl.Expr:
    """
    Return the ten digits of an Indian phone number.

    ``+91``, ``0091``, ``91`` or a 0 before them are left out. Of several numbers, with ``/`` or
    ``,`` between them, it is the first that can be one.
    """
    whole = pl.col(column).str.replace(r"^([0-9]+)\.0+$", "$1")
    for written, digits in _FLOATS.items():
        whole = whole.str.replace(written, digits)
    parts = whole.str.replace_all(",", "/", literal=True).str.split("/")
    return parts.list.eval(_ten_digits(pl.element())).list.drop_nulls().list.first()


def in_zone(moments: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """
    Return naive moments as those of a zone, NULL outside of the years 1900 to 2999.

    Of an hour that a clock shows twice it is the first; one that it skips is counted on from
    before, as ``datetime`` does.
    """
    naive = pl.when(moments.is_between(_FIRST, _LAST)).then(moments)
    day = pl.duration(days=1)
    return pl.coalesce(_localized(naive, zone), _localized(naive - day, zone) + day)


def _ten_digits(part: pl.Expr) -> pl.Expr:
    """A plus says that a country's code follows: without 91 behind it the rest is no number of ours."""
    dialled = part.str.extract(_DIALLED).str.replace_all(r"[^0-9+]", "")
    digits = dialled.str.extract(r"^(?:\+91|0091|91|0)?([1-9][0-9]{9})$")
    return pl.when(~digits.str.contains(_SAME_DIGITS)).then(digits)


def _localized(naive: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    return naive.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
