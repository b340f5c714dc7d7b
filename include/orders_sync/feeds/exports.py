"""Spreadsheets and CSV as text, nothing guessed."""

from __future__ import annotations

import fastexcel
import polars as pl

from include.errors import ReportUnusable


def read_export(content: bytes, name: str) -> pl.DataFrame:
    """
    Return the cells of a report file as text, its first row as the names of the columns.

    Dates of a spreadsheet come as ISO, its numbers without decimals that they do not have.

    :raises ReportUnusable: if the file is empty, half written, or no such file.
    """
    frame = _read_csv(content) if name.lower().endswith(".csv") else _read_spreadsheet(content)
    if not frame.width:
        raise ReportUnusable("the file is empty, not even the names of its columns are there")
    return frame


def _read_spreadsheet(content: bytes) -> pl.DataFrame:
    try:
        return fastexcel.read_excel(content).load_sheet(0, header_row=0, dtypes="string").to_polars()
    except fastexcel.FastExcelError:
        raise ReportUnusable("the file cannot be read; is it a whole .xlsx?") from None


def _read_csv(content: bytes) -> pl.DataFrame:
    try:
        return pl.read_csv(content, infer_schema=False, raise_if_empty=False)
    except pl.exceptions.PolarsError:
        raise ReportUnusable(
            "the file cannot be read; is it CSV in UTF-8, its rows no longer than the first?"
        ) from None
