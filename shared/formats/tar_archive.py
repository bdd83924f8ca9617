"""Reads a gzip-compressed tar once, in a stream, and refuses what tar programs read differently.

Taken are POSIX (ustar, pax) and GNU headers, regular files, folders, and links that stay inside the one top folder.
Refused are sparse members, devices, FIFOs, sizes that two headers state differently, and bytes after either end.

Source: python-index contract sections 2.4 and 2.5 (points 3 and 4); POSIX.1-2017 pax; RFC 1952.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

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

_BLOCK = 512
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*\Z|[ \0]*\Z")
_DECIMAL = re.compile(r"[0-9]{1,18}\Z")
_POSIX, _GNU = b"ustar\x0000", b"ustar  \x00"

# Mode, owner, group, time and device numbers. Python's reader takes a member with a bad one for the end of the tar.
_NUMBERS = (slice(100, 108), slice(108, 116), slice(116, 124), slice(136, 148), slice(329, 337), slice(337, 345))

_REGULAR = frozenset([0, ord("0"), ord("7")])
_HARD_LINK, _SYMBOLIC_LINK, _FOLDER = ord("1"), ord("2"), ord("5")
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK = ord("x"), ord("g"), ord("L"), ord("K")
_SPECIAL = {ord("3"): "a device", ord("4"): "a device", ord("6"): "a FIFO", ord("S"): "a sparse file"}
_NAMING_KEYS = frozenset(["path", "linkpath", "size", "hdrcharset"])


@dataclass(frozen=True, slots=True)
class _Header:
    """One header block, without the effects of extended headers."""

    name: bytes
    length: int
    kind: int
    link: bytes


@dataclass(slots=True)
class _Extended:
    """What extended headers say of the member that follows."""

    pax: dict[str, str] | None = None
    name: bytes | None = None
    link: bytes | None = None

    @property
    def pending(self) -> bool:
        """Whether a member must follow."""
        return self.pax is not None or self.name is not None or self.link is not None


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    stream: _Inflated
    wanted: Wanted
    budget: Budget
    issues: Issues
    paths: Paths
    members: dict[str, Member] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    kept: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


class _Inflated:
    """The bytes inside one gzip member, counted against the budget before anybody sees them."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file = file
        self._budget = budget
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._packed = b""
        self._ready = bytearray()

    def take(self, length: int) -> bytes:
        """Return up to `length` bytes; fewer only at the end."""
        while len(self._ready) < length and (chunk := self._inflate()):
            self._ready += chunk
        data = bytes(self._ready[:length])
        del self._ready[:length]
        return data

    def at_end(self) -> bool:
        """Tell whether the gzip member has ended and the file with it; call when `take` returned nothing."""
        return self._inflater.eof and not self._inflater.unused_data and not self._file.read(1)

    def _inflate(self) -> bytes:
        while not self._inflater.eof:
            packed = self._packed or self._file.read(READ_BYTES)
            try:
                chunk = self._inflater.decompress(packed, READ_BYTES)
            except zlib.error as error:
                raise StopReading("The gzip data is damaged.") from error
            self._packed = self._inflater.unconsumed_tail
            if chunk:
                self._budget.unpack(len(chunk))
                return chunk
            if not packed:
                raise StopReading("The gzip data is cut short.")
        return b""


def begins_as_tar(block: bytes) -> bool:
    """Tell whether a block of 512 bytes is a tar header: programs that guess would take the file for a tar."""
    return len(block) == _BLOCK and any(block) and _number(block[148:156]) == _checksum(block)


def read_tar_gz(path: Path, wanted: Wanted, limits: Limits = DEFAULT_LIMITS) -> Contents:
    """Read a gzip-compressed tar with one top folder.

    Args:
        path: the archive.
        wanted: which members' bytes to keep.
        limits: where to stop; extended headers and padding count as unpacked bytes.

    Returns:
        What was found, with all faults; an unreadable file is a fault, not an exception.
    """
    issues = Issues()
    with path.open("rb") as file:
        budget = Budget(limits, path.stat().st_size)
        walk = _Walk(_Inflated(file, budget), wanted, budget, issues, Paths(issues))
        complete = True
        try:
            if file.read(2) != b"\x1f\x8b":
                raise StopReading("The file is not compressed by gzip.")
            file.seek(0)
            _read_members(walk)
        except StopReading as stop:
            issues.add(str(stop))
            complete = False
        if complete and zipfile.is_zipfile(file):
            issues.add("The file is a tar and a zip at once.")
    if complete:
        _check_tree(walk)
    return Contents(walk.members, frozenset(walk.folders), walk.kept, issues.sentences(), complete)


def _read_members(walk: _Walk) -> None:
    extended = _Extended()
    while any(block := _take_block(walk)):
        header = _parse_header(walk, block)
        walk.budget.entry()
        if header.kind in {_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK}:
            _read_extended(walk, header, extended)
        else:
            _read_member(walk, header, extended)
            extended = _Extended()
    if extended.pending:
        raise StopReading("The tar ends after an extended header that belongs to no member.")
    while rest := walk.stream.take(READ_BYTES):
        if any(rest):
            raise StopReading("There are bytes after the end of the tar.")
    if not walk.stream.at_end():
        raise StopReading("There are bytes after the end of the gzip data.")


def _take_block(walk: _Walk) -> bytes:
    block = walk.stream.take(_BLOCK)
    if len(block) != _BLOCK:
        raise StopReading("The tar is cut short: it has no end mark.")
    return block


def _parse_header(walk: _Walk, block: bytes) -> _Header:
    if _number(block[148:156]) != _checksum(block):
        first = not walk.budget.entries
        raise StopReading("The file is not a tar archive." if first else "The tar is damaged: a header is not valid.")
    magic = block[257:265]
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].rstrip(b"\0")
    if magic == _POSIX:
        name = prefix + b"/" + name if prefix else name
    elif magic != _GNU or prefix:
        raise StopReading(f"The header of {shown(name)} is of a kind of tar that is not taken: use pax or ustar.")
    length = _number(block[124:136])
    if length is None or any(_number(block[numbers]) is None for numbers in _NUMBERS):
        raise StopReading(f"The header of {shown(name)} has a number that is not valid.")
    return _Header(name, length, block[156], block[157:257].partition(b"\0")[0])


def _number(field_bytes: bytes) -> int | None:
    """Return an octal field, or one of GNU's base-256 ones; None when it is neither, or negative."""
    if field_bytes[0] == 0x80:
        return int.from_bytes(field_bytes[1:])
    match = _OCTAL.match(field_bytes)
    return None if match is None else int(match[1] or b"0", 8)


def _checksum(block: bytes) -> int:
    return sum(block) - sum(block[148:156]) + 8 * ord(" ")


def _take_data(walk: _Walk, length: int) -> tuple[bytes, bytes]:
    """Return data, and what fills up their last block."""
    data = walk.stream.take(length)
    padding = walk.stream.take(-length % _BLOCK)
    if len(data) != length or len(padding) != -length % _BLOCK:
        raise StopReading("The tar is cut short inside a member.")
    return data, padding


def _read_extended(walk: _Walk, header: _Header, extended: _Extended) -> None:
    if header.length > walk.budget.limits.header_bytes:
        raise StopReading(f"An extended header is longer than {walk.budget.limits.header_bytes} bytes.")
    data, padding = _take_data(walk, header.length)
    if header.kind in {_PAX, _PAX_GLOBAL}:
        records = _pax_records(data)
        if any(key.startswith("GNU.sparse") for key in records):
            walk.issues.add("The tar has a sparse file.")
        if header.kind == _PAX_GLOBAL:
            if not _NAMING_KEYS.isdisjoint(records):
                raise StopReading("A global extended header names members or sizes.")
            return
        if extended.pax is not None:
            raise StopReading("A member has two extended headers.")
        extended.pax = records
        return
    value, end, _ = data.partition(b"\0")
    if not end and padding[:1] not in {b"", b"\0"}:
        # Some programs read on to the next zero byte, others stop where the header says that the name ends.
        raise StopReading("A long name goes on behind its end.")
    if (extended.name if header.kind == _GNU_NAME else extended.link) is not None:
        raise StopReading("A member has two long names.")
    if header.kind == _GNU_NAME:
        extended.name = value
    else:
        extended.link = value


def _pax_records(data: bytes) -> dict[str, str]:
    records: dict[str, str] = {}
    at = 0
    while at < len(data):
        digits, blank, _ = data[at : at + 8].partition(b" ")
        if not blank or not digits.isdigit() or not at + len(digits) + 4 <= at + int(digits) <= len(data):
            raise StopReading("An extended header is malformed.")
        record = data[at : at + int(digits)]
        at += int(digits)
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not key or not equals or record[-1:] != b"\n":
            raise StopReading("An extended header is malformed.")
        name = key.decode("utf-8", "backslashreplace")
        if name in records:
            raise StopReading(f"An extended header gives {quoted(name)} twice.")
        try:
            records[name] = value.decode("utf-8")
        except UnicodeDecodeError as error:
            if name in _NAMING_KEYS:
                raise StopReading("A name in an extended header is not UTF-8.") from error
            records[name] = ""
    return records


def _resolve(walk: _Walk, header: _Header, extended: _Extended) -> tuple[str, str] | None:
    """Return the member's path and link as text, extended headers applied; None (and a fault) if unreadable."""
    pax: Mapping[str, str] = extended.pax or {}
    if ("path" in pax and extended.name is not None) or ("linkpath" in pax and extended.link is not None):
        raise StopReading("A member is named by two extended headers.")
    name = header.name if extended.name is None else extended.name
    if "hdrcharset" in pax and pax["hdrcharset"] != "ISO-IR 10646 2000 UTF-8":
        raise StopReading("An extended header is not UTF-8.")
    if "size" in pax and (not _DECIMAL.match(pax["size"]) or int(pax["size"]) != header.length):
        raise StopReading(f"The headers of {shown(name)} state different sizes.")
    path = pax["path"] if "path" in pax else walk.paths.decode(name)
    link = pax["linkpath"] if "linkpath" in pax else walk.paths.decode(extended.link or header.link)
    return None if path is None or link is None else (path, link)


def _read_member(walk: _Walk, header: _Header, extended: _Extended) -> None:
    names = _resolve(walk, header, extended)
    path, link = names if names is not None else ("", "")
    accepted = names is not None and _take_path(walk, header, path)
    path = path.rstrip("/")
    if header.kind not in _REGULAR:
        if header.length:
            raise StopReading(f"The member {quoted(path)} has bytes though it is no file.")
        if not accepted:
            return
        if header.kind == _FOLDER:
            walk.folders.add(path)
        else:
            walk.links[path] = link
            _check_link(walk, header.kind, path, link)
        return
    kept = _take_file(walk, path, header.length, walk.wanted(path) if accepted else 0)
    if accepted:
        walk.members[path] = Member(path, header.length, None)
    if kept is not None:
        walk.kept[path] = kept


def _take_path(walk: _Walk, header: _Header, path: str) -> bool:
    """Check kind and path of a member; tells whether it has a place in the tree."""
    if header.kind in _SPECIAL:
        walk.issues.add(f"The member {quoted(path)} is {_SPECIAL[header.kind]}.")
        return False
    if header.kind not in _REGULAR | {_HARD_LINK, _SYMBOLIC_LINK, _FOLDER}:
        walk.issues.add(f"The member {quoted(path)} is of unknown type {quoted(chr(header.kind))}.")
        return False
    folder = header.kind == _FOLDER
    plain = path[:-1] if folder and path.endswith("/") else path
    return walk.paths.safe(plain) and walk.paths.add(plain, folder=folder)


def _take_file(walk: _Walk, path: str, length: int, keep: int) -> bytes | None:
    """Read past a member's bytes; returns them when they are wanted."""
    if length > keep > 0:
        walk.issues.add(f"{quoted(path)} is longer than {keep} bytes.")
        keep = 0
    if keep:
        walk.budget.keep(length)
        return _take_data(walk, length)[0]
    left = length + -length % _BLOCK
    while left:
        chunk = walk.stream.take(min(left, READ_BYTES))
        if not chunk:
            raise StopReading("The tar is cut short inside a member.")
        left -= len(chunk)
    return None


def _check_link(walk: _Walk, kind: int, path: str, link: str) -> None:
    """Refuse links that could lead out of the top folder.

    A symbolic link may climb only at its beginning: then its way is the same through real folders and through other
    links, each of which stays inside too. A hard link names an earlier regular file.
    """
    if kind == _HARD_LINK:
        if link not in walk.members:
            walk.issues.add(f"The hard link {quoted(path)} does not lead to an earlier file of the archive.")
        return
    segments = [segment for segment in link.split("/") if segment not in {"", "."}]
    climbs = next((count for count, segment in enumerate(segments) if segment != ".."), len(segments))
    depth = len(PurePosixPath(path).parts) - 1
    plain = ".." not in segments[climbs:] and "\\" not in link and "\0" not in link
    if not link or link.startswith("/") or not plain or climbs >= depth:
        walk.issues.add(f"The link {quoted(path)} leads out of the top folder, or may.")


def _check_tree(walk: _Walk) -> None:
    paths = [*walk.members, *walk.folders, *walk.links]
    if not paths:
        walk.issues.add("The tar is empty.")
    tops = sorted({path.partition("/")[0] for path in paths})
    if len(tops) > 1:
        walk.issues.add(f"All members must lie in one top folder; there are {', '.join(map(quoted, tops[:3]))}.")
    for path in [*walk.members, *walk.links]:
        if "/" not in path:
            walk.issues.add(f"The member {quoted(path)} lies beside the top folder.")
