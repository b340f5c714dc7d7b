"""Reports that were exported into a folder or an object store."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pyarrow.fs as pafs

from include.errors import FeedUnavailable, NotConfigured, ReportUnusable
from include.orders_sync.dates import moment
from include.orders_sync.feeds.base import Download
from include.orders_sync.feeds.exports import read_export
from include.orders_sync.feeds.frames import header_of, text_frame, without_summaries
from include.orders_sync.pipelines import Store
from include.orders_sync.reports import Report
from include.windows import Window, subtract

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportFile:
    """
    An exported report.

    :param named: the window that the name tells.
    :param written: when the file was written; it knows nothing of later days.
    """

    path: str
    named: Window
    written: datetime | None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.rpartition("/")[2]

    def covers(self, zone: ZoneInfo) -> Window | None:
        """Return the days that the file speaks for, None if it was written before the first of them."""
        if self.written is None:
            return self.named
        end = min(self.named.end, self.written.astimezone(zone).date() + timedelta(days=1))
        return Window(self.named.start, end) if self.named.start < end else None


class FilesFeed:
    """
    Exported reports, ``<store>_<report>_YYYYMMDD_YYYYMMDD.xlsx`` or ``.csv``.

    :param root: a folder, or the URL of an object store.
    :param zone: the pipeline's timezone: until which day a file speaks depends on when it was written.
    """

    def __init__(self, root: str, zone: ZoneInfo) -> None:
        self._root, self._zone = root, zone

    def fetch(self, report: Report, store: Store, window: Window) -> Download:
        """Return the rows of a window's days, each day from one file: its own if there is one, else the newest."""
        filesystem, folder = _filesystem(self._root)
        parts = self._parts(_files(filesystem, folder, report, store), report, store, window)
        frames: list[pl.DataFrame] = []
        dated: list[bool] = []
        for file, days in parts:
            where = f"store {store.code}: {report.code} of {window.name}: {file.name}"
            try:
                content = _content(filesystem, file.path)
                rows = without_summaries(report, text_frame(report, read_export(content, file.name)))
                frames.append(_rows_of(report, rows, file, days, frames))
                dated.append(_has_days(report, rows))
            except ReportUnusable as error:
                raise ReportUnusable(f"{where}: {error}") from None
            except OSError:
                raise FeedUnavailable(f"{where} could not be read to its end") from None
            log.info("%s: %d of %d rows", where, frames[-1].height, rows.height)
        found = pl.concat(frames)
        if not _has_days(report, found):
            found = pl.concat(map(partial(_without_strays, report), frames, dated))
        return Download(found, empty_confirmed=found[header_of(report, report.date)].is_null().all())

    def close(self) -> None:
        """Nothing is kept open."""

    def _parts(
        self, files: list[ReportFile], report: Report, store: Store, window: Window
    ) -> list[tuple[ReportFile, list[Window]]]:
        """Return which days are taken from which file."""
        oldest = datetime.min.replace(tzinfo=self._zone)
        files = sorted(files, key=lambda file: (file.named == window, file.written or oldest, file.name), reverse=True)
        left, parts = [window], []
        for file in files:
            covered = file.covers(self._zone)
            if covered is None or not any(covered.overlaps(days) for days in left):
                continue
            rest = [days for part in left for days in subtract(part, [covered])]
            parts.append((file, [days for part in left for days in subtract(part, rest)]))
            left = rest
        if left:
            raise ReportUnusable(
                f"store {store.code}: {report.code}: no file for {', '.join(days.name for days in left)}; "
                f"export it as {_name(report, store, left[0])}, after its last day has ended"
            )
        return parts


def _rows_of(
    report: Report, rows: pl.DataFrame, file: ReportFile, days: Sequence[Window], before: Sequence[pl.DataFrame]
) -> pl.DataFrame:
    """
    Return the rows of some days, and those without a date that no file before has.

    :raises ReportUnusable: if the file has dates, and none of them is in the window of its name.
    """
    day = _day(report)
    dated, undated = rows.filter(day.is_not_null()), rows.filter(day.is_null())
    if dated.height and dated.filter(_is_in(day, [file.named])).is_empty():
        raise ReportUnusable(f"not one row is of {file.named.name}; is it named rightly?")
    if before:
        undated = undated.join(pl.concat(before), on=report.headers, how="anti", nulls_equal=True)
    return pl.concat([dated.filter(_is_in(day, days)), undated])


def _without_strays(report: Report, rows: pl.DataFrame, is_dated: bool) -> pl.DataFrame:
    """
    Leave out rows whose date cannot be read if their file has dates: they come with the windows of those.

    Alone, in a window without rows, they would look like a report whose dates are all unreadable.
    """
    return rows.filter(pl.col(header_of(report, report.date)).is_null()) if is_dated else rows


def _has_days(report: Report, rows: pl.DataFrame) -> bool:
    return bool(rows.select(_day(report).is_not_null().any()).item())


def _day(report: Report) -> pl.Expr:
    return moment(header_of(report, report.date)).dt.date()


def _is_in(day: pl.Expr, windows: Sequence[Window]) -> pl.Expr:
    return pl.any_horizontal(day.is_between(window.start, window.last_day) for window in windows)


def _files(filesystem: pafs.FileSystem, folder: str, report: Report, store: Store) -> list[ReportFile]:
    pattern = re.compile(rf"{re.escape(store.code)}_{report.code}_(\d{{8}})_(\d{{8}})\.(?i:xlsx|csv)", re.ASCII)
    found = []
    for info in _listing(filesystem, folder):
        if info.type is pafs.FileType.File and (match := pattern.fullmatch(info.base_name)):
            window = _window(match[1], match[2])
            if window is None:
                log.warning("%s: the name tells no window", info.base_name)
            else:
                found.append(ReportFile(info.path, window, info.mtime))
    return found


def _listing(filesystem: pafs.FileSystem, folder: str) -> list[pafs.FileInfo]:
    try:
        found: list[pafs.FileInfo] = filesystem.get_file_info(pafs.FileSelector(folder))
    except (FileNotFoundError, NotADirectoryError):
        raise NotConfigured(f"no folder of reports at {folder}; check extra `path` of the connection") from None
    except OSError as error:
        raise FeedUnavailable(f"the reports at {folder} cannot be listed ({type(error).__name__})") from None
    return found


def _content(filesystem: pafs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path) as stream:
        content: bytes = stream.read()
    return content


def _filesystem(root: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in root:
        return pafs.LocalFileSystem(), str(Path(root).absolute())
    try:
        filesystem, folder = pafs.FileSystem.from_uri(root)
    except (pa.ArrowInvalid, OSError):
        raise NotConfigured("extra `path` of the connection is no folder and no object store's URL") from None
    return filesystem, folder.rstrip("/")


def _window(first: str, last: str) -> Window | None:
    try:
        return Window.inclusive(date.fromisoformat(first), date.fromisoformat(last))
    except ValueError:
        return None


def _name(report: Report, store: Store, window: Window) -> str:
    return f"{store.code}_{report.code}_{window.start:%Y%m%d}_{window.last_day:%Y%m%d}.xlsx"
