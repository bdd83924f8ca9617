"""Reads a zip once from the first byte to the last, so that programs that stream it and programs that look into its
central
directory see the same members.

Layout taken: local header and data for each member, without gaps; central directory; ZIP64 end record and locator when
needed; end record; nothing else. Refused are data descriptors, comments, encryption, and all methods but stored and
deflate.

Source: python-index contract section 2.4; APPNOTE.TXT 6.3.10 sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from countermark.core.digest import Sha256
from shared.formats.archive import (
    DEFAULT_LIMITS,
    READ_BYTES,
    Budget,
    Contents,
    Issues,
    Limits,
    Member,
    Paths,
    StopReading,
    Wanted,
    quoted,
    shown,
)
from shared.formats.tar_archive import begins_as_tar

_LOCAL = b"PK\x03\x04"
_CENTRAL = b"PK\x01\x02"
_END64 = b"PK\x06\x06"
_END64_LOCATOR = b"PK\x06\x07"
_END = b"PK\x05\x06"

_LOCAL_FIELDS = struct.Struct("<HHHHHLLLHH")
_CENTRAL_FIELDS = struct.Struct("<HHHHHHLLLHHHHHLL")
_END64_FIELDS = struct.Struct("<QHHLLQQQQ")
_END64_LOCATOR_FIELDS = struct.Struct("<LQL")
_END_FIELDS = struct.Struct("<HHHHLLH")

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_ENCRYPTED, _DESCRIPTOR, _UTF8 = 0x0001, 0x0008, 0x0800
_ALLOWED_FLAGS = 0x0006 | _DESCRIPTOR | _UTF8  # Bits 1 and 2 tell how hard deflate tried; nothing depends on them.
_STORED, _DEFLATED = 0, 8
_MAX_VERSION = 63  # APPNOTE 6.3, the newest of the "version needed" that Python's library reads.


@dataclass(frozen=True, slots=True)
class _Header:
    """What a local and a central header both say of a member; they must be equal."""

    flags: int
    method: int
    crc: int
    packed: int
    length: int


@dataclass(slots=True)
class _Local:
    """A member as its local header tells, and where that header is."""

    header: _Header
    offset: int
    listed: bool = False


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    file: IO[bytes]
    size: int
    wanted: Wanted
    budget: Budget
    issues: Issues
    paths: Paths
    locals: dict[bytes, _Local] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    kept: dict[str, bytes] = field(default_factory=dict)

    def take(self, length: int) -> bytes:
        """Read exactly `length` bytes."""
        data = self.file.read(length)
        if len(data) != length:
            raise StopReading("The zip is cut short.")
        return data


def read_zip(path: Path, wanted: Wanted, limits: Limits = DEFAULT_LIMITS) -> Contents:
    """Read a zip, hashing every member.

    Args:
        path: the archive.
        wanted: which members' bytes to keep.
        limits: where to stop.

    Returns:
        What was found, with all faults; an unreadable file is a fault, not an exception.
    """
    issues = Issues()
    with path.open("rb") as file:
        size = path.stat().st_size
        walk = _Walk(file, size, wanted, Budget(limits, size), issues, Paths(issues))
        complete = True
        try:
            _not_a_tar(walk)
            _read_records(walk)
        except StopReading as stop:
            issues.add(str(stop))
            complete = False
    return Contents(walk.members, frozenset(walk.folders), walk.kept, issues.sentences(), complete)


def _not_a_tar(walk: _Walk) -> None:
    if begins_as_tar(walk.file.read(512)):
        walk.issues.add("The file is a zip and a tar at once.")
    walk.file.seek(0)


def _read_records(walk: _Walk) -> None:
    signature = walk.take(4)
    if signature not in {_LOCAL, _END}:
        raise StopReading("The file is not a zip archive.")
    while signature == _LOCAL:
        _read_local(walk)
        signature = walk.take(4)
    start = walk.file.tell() - 4
    records = 0
    while signature == _CENTRAL:
        _read_central(walk)
        records += 1
        signature = walk.take(4)
    for raw, local in walk.locals.items():
        if not local.listed:
            walk.issues.add(f"The member {shown(raw)} is not in the central directory.")
    _read_end(walk, signature, (records, walk.file.tell() - 4 - start, start))
    if walk.file.tell() != walk.size:
        walk.issues.add("There are bytes after the end of the zip.")


def _read_local(walk: _Walk) -> None:
    walk.budget.entry()
    offset = walk.file.tell() - 4
    needed, flags, method, _, _, crc, packed, length, name_length, extra_length = _LOCAL_FIELDS.unpack(walk.take(26))
    raw = walk.take(name_length)
    _check_version(walk, raw, needed)
    extra = _Extra(walk.take(extra_length), raw)
    if extra.zip64 is not None:
        length, packed = extra.local_sizes(length, packed)
    elif _FULL32 in {length, packed}:
        raise StopReading(f"The local header of {shown(raw)} has no ZIP64 sizes though it points to them.")
    header = _Header(flags & ~0x0006, method, crc, packed, length)
    _check_flags(walk, raw, header)
    if raw in walk.locals:
        walk.issues.add(f"The member {shown(raw)} is there twice.")
    walk.locals[raw] = _Local(header, offset)
    if walk.size - walk.file.tell() < packed:
        raise StopReading("The zip is cut short.")
    walk.budget.unpack(length)
    following = walk.file.tell() + packed
    _read_member(walk, raw, header)
    walk.file.seek(following)


def _check_version(walk: _Walk, raw: bytes, needed: int) -> None:
    if needed > _MAX_VERSION:
        walk.issues.add(f"The member {shown(raw)} needs a program for zip version {needed / 10}.")


def _check_flags(walk: _Walk, raw: bytes, header: _Header) -> None:
    name = shown(raw)
    if header.flags & _DESCRIPTOR:
        # Its sizes follow the data, so only the central directory tells where the next member begins.
        raise StopReading(f"The member {name} has a data descriptor: write the zip to a file instead of a pipe.")
    if header.flags & _ENCRYPTED:
        walk.issues.add(f"The member {name} is encrypted.")
    elif header.flags & ~_ALLOWED_FLAGS:
        walk.issues.add(f"The member {name} uses zip features that are not taken (flags {header.flags:#06x}).")
    if header.method not in {_STORED, _DEFLATED}:
        walk.issues.add(f"The member {name} is compressed by method {header.method}: use deflate or none.")
    if not header.flags & _UTF8 and not raw.isascii():
        walk.issues.add(f"The member name {name} is not marked as UTF-8.")


def _read_member(walk: _Walk, raw: bytes, header: _Header) -> None:
    text = walk.paths.decode(raw)
    if text is None:
        return
    folder = text.endswith("/")
    path = text[:-1] if folder else text
    if not walk.paths.safe(path) or not walk.paths.add(path, folder=folder):
        return
    if folder:
        # Some writers deflate nothing into two bytes.
        if header.length or any(_inflate(walk, header, path)):
            walk.issues.add(f"The folder {quoted(path)} has bytes of its own.")
        walk.folders.add(path)
        return
    keep = walk.wanted(path)
    if header.length > keep > 0:
        walk.issues.add(f"{quoted(path)} is longer than {keep} bytes.")
        keep = 0
    if keep:
        walk.budget.keep(header.length)
    digest = hashlib.sha256()
    crc = length = 0
    kept = bytearray()
    for chunk in _inflate(walk, header, path):
        digest.update(chunk)
        crc = zlib.crc32(chunk, crc)
        length += len(chunk)
        if keep:
            kept += chunk
    if length != header.length:
        walk.issues.add(f"The member {quoted(path)} has another length than its header says.")
    elif crc != header.crc:
        walk.issues.add(f"The member {quoted(path)} is damaged: its checksum does not match.")
    walk.members[path] = Member(path, length, Sha256(digest.hexdigest()))
    if keep:
        walk.kept[path] = bytes(kept)


def _inflate(walk: _Walk, header: _Header, path: str) -> Iterator[bytes]:
    """Yield a member's bytes, never more than its header announces."""
    if header.method == _STORED:
        yield from _packed_chunks(walk, header.packed)
        return
    if header.method != _DEFLATED:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left = header.length
    try:
        for packed in _packed_chunks(walk, header.packed):
            if inflater.eof:
                walk.issues.add(f"The member {quoted(path)} has bytes after the end of its data.")
                return
            rest = packed
            while rest and not inflater.eof:
                chunk = inflater.decompress(rest, min(READ_BYTES, left + 1))
                rest = inflater.unconsumed_tail
                left -= len(chunk)
                yield chunk
                if left < 0:
                    return
        while not inflater.eof and (chunk := inflater.decompress(b"", min(READ_BYTES, left + 1))):
            left -= len(chunk)
            yield chunk
            if left < 0:
                return
    except zlib.error:
        walk.issues.add(f"The member {quoted(path)} is damaged: its data cannot be inflated.")
        return
    if not inflater.eof:
        walk.issues.add(f"The member {quoted(path)} is damaged: its data ends too early.")
    elif inflater.unused_data:
        walk.issues.add(f"The member {quoted(path)} has bytes after the end of its data.")


def _packed_chunks(walk: _Walk, length: int) -> Iterator[bytes]:
    while length:
        chunk = walk.take(min(READ_BYTES, length))
        length -= len(chunk)
        yield chunk


def _read_central(walk: _Walk) -> None:
    fields = _CENTRAL_FIELDS.unpack(walk.take(42))
    _, needed, flags, method, _, _, crc, packed, length, name_length, extra_length = fields[:11]
    comment_length, disk, _, attributes, offset = fields[11:]
    raw = walk.take(name_length)
    _check_version(walk, raw, needed)
    extra = _Extra(walk.take(extra_length), raw)
    walk.take(comment_length)
    name = shown(raw)
    if comment_length:
        walk.issues.add(f"The central directory has a comment on {name}.")
    length, packed, offset = extra.central_sizes((length, packed, offset))
    if stat.S_IFMT(attributes >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        walk.issues.add(f"The member {name} is a link or a special file.")
    local = walk.locals.get(raw)
    if local is None:
        walk.issues.add(f"The central directory lists {name}, which has no local header.")
    elif local.listed:
        walk.issues.add(f"The central directory lists {name} twice.")
    elif (_Header(flags & ~0x0006, method, crc, packed, length), offset, disk) != (local.header, local.offset, 0):
        walk.issues.add(f"The central directory and the local header of {name} disagree.")
    if local is not None:
        local.listed = True


class _Extra:
    """The extra field of one header: checked for its form, and the ZIP64 sizes in it.

    Raises:
        StopReading: a block that is repeated, cut short or of a wrong length makes the record ambiguous.
    """

    def __init__(self, data: bytes, raw_name: bytes) -> None:
        self._name = shown(raw_name)
        self.zip64: bytes | None = None
        unicode_path: bytes | None = None
        at = 0
        while at < len(data):
            kind, length = struct.unpack_from("<HH", data, at) if at + 4 <= len(data) else (0, _FULL32)
            block = data[at + 4 : at + 4 + length]
            if len(block) != length:
                raise StopReading(f"The extra field of {self._name} is malformed.")
            if kind == _ZIP64 and self.zip64 is None:
                self.zip64 = block
            elif kind == _UNICODE_PATH and unicode_path is None:
                unicode_path = block
            elif kind in {_ZIP64, _UNICODE_PATH}:
                raise StopReading(f"The extra field of {self._name} says one thing twice.")
            at += 4 + length
        if unicode_path is not None and unicode_path[5:] != raw_name:
            raise StopReading(f"The extra field of {self._name} gives the member another name.")

    def local_sizes(self, length: int, packed: int) -> tuple[int, int]:
        """Return the sizes of a local header with a ZIP64 block: both are in it, or it is empty."""
        if not self.zip64 and _FULL32 not in {length, packed}:
            return length, packed
        if self.zip64 is None or len(self.zip64) != 16:
            raise self._wrong()
        long_length, long_packed = struct.unpack("<QQ", self.zip64)
        if length not in {_FULL32, long_length} or packed not in {_FULL32, long_packed}:
            raise self._wrong()
        return long_length, long_packed

    def central_sizes(self, short: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return length, packed length and offset of a central header: the block holds exactly those that overflow."""
        count = short.count(_FULL32)
        block = self.zip64 or b""
        if len(block) == 8 * count + 4 and not any(block[-4:]):
            block = block[:-4]  # The number of the disk, which is the first: some writers add it.
        if len(block) != 8 * count:
            raise self._wrong()
        long = iter(struct.unpack(f"<{count}Q", block))
        length, packed, offset = (next(long) if value == _FULL32 else value for value in short)
        return length, packed, offset

    def _wrong(self) -> StopReading:
        return StopReading(f"The ZIP64 record of {self._name} is inconsistent.")


def _read_end(walk: _Walk, signature: bytes, directory: tuple[int, int, int]) -> None:
    """Check the end records against (records, length, offset) of the central directory that was read."""
    walked_end = walk.file.tell() - 4
    zip64 = signature == _END64
    if zip64:
        _read_end64(walk, walked_end, directory)
        signature = walk.take(4)
    if signature != _END:
        raise StopReading("The zip has a record that is not taken, or its sizes are wrong.")
    if not zip64 and walked_end >= 20:
        _no_hidden_locator(walk, walked_end)
    disk, directory_disk, here, records, length, offset, comment_length = _END_FIELDS.unpack(walk.take(18))
    if comment_length:
        walk.issues.add("The zip has a comment.")
        walk.take(comment_length)
    told = (here, records, length, offset)
    true = (directory[0], *directory)
    full = (_FULL16, _FULL16, _FULL32, _FULL32)
    agrees = all(a == b or (zip64 and a == c) for a, b, c in zip(told, true, full, strict=True))
    if not agrees or disk or directory_disk:
        walk.issues.add("The end record of the zip does not describe its central directory.")


def _read_end64(walk: _Walk, start: int, directory: tuple[int, int, int]) -> None:
    size, _, _, disk, directory_disk, here, *told = _END64_FIELDS.unpack(walk.take(52))
    if size != 44 or disk or directory_disk or here != directory[0] or tuple(told) != directory:
        raise StopReading("The ZIP64 end record does not describe the central directory.")
    if walk.take(4) != _END64_LOCATOR:
        raise StopReading("The ZIP64 end record has no locator after it.")
    locator_disk, offset, disks = _END64_LOCATOR_FIELDS.unpack(walk.take(16))
    if locator_disk or offset != start or disks > 1:
        raise StopReading("The ZIP64 locator points elsewhere than to its record.")


def _no_hidden_locator(walk: _Walk, end: int) -> None:
    """Refuse bytes before the end record that other programs would take for a ZIP64 locator."""
    walk.file.seek(end - 20)
    if walk.take(4) == _END64_LOCATOR:
        walk.issues.add("The central directory hides a ZIP64 locator.")
    walk.file.seek(end + 4)
