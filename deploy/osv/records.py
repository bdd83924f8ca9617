"""Finds the records of an OSV snapshot: in a zip as OSV exports them, in a folder, in a file.

One after the other, so that memory does not grow with the snapshot; everything that is read is bounded. Nothing is
unpacked to disk.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import UsageError
from shared.formats.python.osv import MAX_RECORD
from shared.formats.zip_directory import TAIL_BYTES, DirectoryLimits, UnreadableZip, find_directory

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
_LINES = (".jsonl", ".ndjson")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a snapshot is read.

    Attributes:
        records: of a zip, a folder or a file, those included that are passed over.
        total_bytes: of all of them, unpacked.
        record_bytes: of one; a larger one is a fault of that record.
        directory_bytes: of a zip's central directory.
    """

    records: int = 200_000
    total_bytes: int = 8 << 30
    record_bytes: int = MAX_RECORD
    directory_bytes: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it lies there: `document`, or in `fault` why it could not be read."""

    where: str
    document: bytes
    fault: str = ""


def records(source: Path, bounds: Bounds) -> Iterator[Found]:
    """Yield the records of a snapshot. Blocking.

    Raises:
        UsageError: it is no snapshot, cannot be read, or is larger than is taken.
    """
    total = 0
    try:
        for count, found in enumerate(_found_in(source, bounds), start=1):
            total += len(found.document)
            if total > bounds.total_bytes or count > bounds.records:
                what = f"{bounds.records} records" if count > bounds.records else f"{bounds.total_bytes} bytes"
                raise UsageError(f"{source} has more than {what}: import less")
            yield found
    except OSError as error:
        raise UsageError(f"{error.filename or source} cannot be read: {error.strerror or error}") from error


def _found_in(source: Path, bounds: Bounds) -> Iterator[Found]:
    if source.is_dir():
        return _in_folder(source, bounds)
    with source.open("rb") as file:
        begins = file.read(4)
    if begins in _ZIPS:
        return _in_zip(source, bounds)
    if source.suffix in _LINES:
        return _in_lines(source, bounds)
    if source.suffix == ".json":
        return _in_file(source, source.name, bounds)
    raise UsageError(f"{source} is no zip, no folder, and ends neither with .json (one record) nor with .jsonl")


def _in_folder(folder: Path, bounds: Bounds) -> Iterator[Found]:
    for where, folders, names in os.walk(folder, onerror=_unreadable):
        folders.sort()
        for name in sorted(names):
            path = Path(where) / name
            # A link may lead anywhere, and what is no plain file may never end.
            if path.suffix == ".json" and path.is_file() and not path.is_symlink():
                yield from _in_file(path, str(path.relative_to(folder)), bounds)


def _in_file(path: Path, where: str, bounds: Bounds) -> Iterator[Found]:
    with path.open("rb") as file:
        yield _bounded(where, file.read(bounds.record_bytes + 1), bounds)


def _in_lines(path: Path, bounds: Bounds) -> Iterator[Found]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(bounds.record_bytes + 1):
            number += 1
            if line.strip():
                yield _bounded(f"line {number}", line, bounds)
            while len(line) > bounds.record_bytes and not line.endswith(b"\n"):
                line = file.readline(bounds.record_bytes + 1)


def _in_zip(path: Path, bounds: Bounds) -> Iterator[Found]:
    _look_at_directory(path, bounds)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UsageError(f"{path} is no zip that can be read: {error}") from error
    with archive:
        for member in archive.infolist():
            if member.filename.endswith(".json"):
                yield _member(archive, member, bounds)


def _look_at_directory(path: Path, bounds: Bounds) -> None:
    """Refuse a zip whose directory alone would fill the memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read(TAIL_BYTES)
    try:
        limits = DirectoryLimits(members=bounds.records, directory_bytes=bounds.directory_bytes)
        find_directory(tail, size, limits)
    except UnreadableZip as error:
        raise UsageError(f"{path} is no zip that can be read: {error}") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, bounds: Bounds) -> Found:
    where = member.filename[:200]
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        return Found(where, b"", "it is encrypted, or compressed in a way that OSV does not use")
    try:
        with archive.open(member) as file:
            return _bounded(where, file.read(bounds.record_bytes + 1), bounds)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        return Found(where, b"", f"it is damaged: {error}")


def _bounded(where: str, document: bytes, bounds: Bounds) -> Found:
    if len(document) > bounds.record_bytes:
        return Found(where, b"", f"it is larger than {bounds.record_bytes} bytes")
    return Found(where, document.strip())


def _unreadable(error: OSError) -> None:
    raise error
