"""
Parquet files of the windows, with a manifest beside each, in a folder or an object store.

``<url>/<table>/<table>_<window>.parquet`` and ``….manifest.json``. A file is written under
a temporary name and takes its own when it is whole; the manifest is written last, so a file
with a manifest that names its checksum can be trusted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from include.catalog import Table
from include.engines.arrow import arrow_schema
from include.engines.base import Digest
from include.windows import UNDATED, Span, Window

_TEMPORARY = ".tmp-"
_ROW_GROUP_ROWS = 64 * 1024


@dataclass(frozen=True)
class ExportTarget:
    """Where exports go: a folder or the URL of an object store."""

    url: str

    def file(self, table: Table, span: Span, run_id: str) -> ExportFile:
        """Return the file of a window, not yet written."""
        filesystem, root = _filesystem(self.url)
        return ExportFile(table, span, run_id, filesystem, f"{root}/{table.name}")


@dataclass
class ExportFile:
    """The Parquet file of one window, and its manifest."""

    table: Table
    span: Span
    run_id: str
    filesystem: pafs.FileSystem
    folder: str
    _rows: int = field(default=0, init=False)
    _hash: Any = field(default_factory=hashlib.sha256, init=False)
    _size: int = field(default=0, init=False)

    @property
    def path(self) -> str:
        """The path of the file inside its file system."""
        return f"{self.folder}/{self._name}.parquet"

    @property
    def manifest_path(self) -> str:
        """The path of the manifest inside its file system."""
        return f"{self.folder}/{self._name}.manifest.json"

    def tee(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write each batch and hand it on."""
        self.discard()
        self.filesystem.create_dir(self.folder, recursive=True)
        self._rows, self._size, self._hash = 0, 0, hashlib.sha256()
        with self.filesystem.open_output_stream(self._temporary) as stream:
            sink = pa.PythonFile(_HashingStream(stream, self), mode="w")
            schema = arrow_schema(self.table)
            # dictionaries cost more than they save on columns that hardly repeat; measured in docs
            with pq.ParquetWriter(sink, schema, compression="snappy", use_dictionary=False) as writer:
                for batch in batches:
                    writer.write_batch(batch, row_group_size=_ROW_GROUP_ROWS)
                    self._rows += batch.num_rows
                    yield batch

    def finish(self, digest: Digest, rows: int) -> str:
        """
        Give the file its name and write the manifest; returns the file's path.

        :param digest: the digest of the rows at the source and in the warehouse.
        """
        manifest = {
            "table": self.table.name,
            "window": self.span.name,
            "from_date": self.span.start.isoformat() if isinstance(self.span, Window) else None,
            "to_date": self.span.last_day.isoformat() if isinstance(self.span, Window) else None,
            "path": self.path,
            "rows": rows,
            "bytes": self._size,
            "sha256": self._hash.hexdigest(),
            "checksum": {"method": digest.method, "value": digest.total},
            "rows_per_day": {str(day or UNDATED): total.rows for day, total in digest.days.items()},
            "schema": {field.name: str(field.type) for field in arrow_schema(self.table)},
            "source_types": {name: str(type_) for name, type_ in self.table.columns.items()},
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "run_id": self.run_id,
        }
        self._remove(self.manifest_path)
        self.filesystem.move(self._temporary, self.path)
        draft = f"{self.folder}/{_TEMPORARY}{self._name}.manifest.json"
        with self.filesystem.open_output_stream(draft) as stream:
            stream.write(json.dumps(manifest, indent=2).encode() + b"\n")
        self.filesystem.move(draft, self.manifest_path)
        return self.path

    def holds(self, digest: Digest) -> bool:
        """Whether a finished file of exactly these rows is there."""
        manifest = self.manifest()
        found = self.filesystem.get_file_info(self.path)
        if manifest is None or found.type is not pafs.FileType.File or found.size != manifest["bytes"]:
            return False
        same: bool = manifest["checksum"] == {"method": digest.method, "value": digest.total}
        return same and manifest["rows"] == digest.rows

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest, None without one."""
        if self.filesystem.get_file_info(self.manifest_path).type is not pafs.FileType.File:
            return None
        with self.filesystem.open_input_stream(self.manifest_path) as stream:
            found: dict[str, Any] = json.loads(stream.read())
        return found

    def discard(self) -> None:
        """Remove what was written and not finished, by this run or by a dead one."""
        self._remove(self._temporary)

    @property
    def _name(self) -> str:
        return f"{self.table.name}_{self.span.name}"

    @property
    def _temporary(self) -> str:
        return f"{self.folder}/{_TEMPORARY}{self._name}.parquet"

    def _remove(self, path: str) -> None:
        if self.filesystem.get_file_info(path).type is pafs.FileType.File:
            self.filesystem.delete_file(path)


class _HashingStream:
    """Passes writes on and hashes them on the way."""

    def __init__(self, stream: Any, file: ExportFile) -> None:
        self._stream, self._file, self.closed = stream, file, False

    def write(self, data: bytes) -> int:
        self._file._hash.update(data)
        self._file._size += len(data)
        self._stream.write(data)
        return len(data)

    def tell(self) -> int:
        return self._file._size

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def _filesystem(url: str) -> tuple[pafs.FileSystem, str]:
    if "://" in url:
        filesystem, root = pafs.FileSystem.from_uri(url)
        return filesystem, root.rstrip("/")
    return pafs.LocalFileSystem(), str(Path(url).absolute())
