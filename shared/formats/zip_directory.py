"""Reads single members of a zip that lies elsewhere, by its central directory. Pure: the caller fetches ranges.

For archives that nobody checked before they were stored: nothing is unpacked, a member is looked up by its exact path
and read alone, under limits. Members that cannot be served safely (paths that climb, links, encrypted ones, unknown
methods) are not there. Members that overlap, or a directory that does not fit its archive, make the whole unreadable.

1. `find_directory` from the archive's last `TAIL_BYTES`.
2. `read_directory` from the range that it names.
3. For a member: its local header and data lie in `Member.start` to `Member.stop`; an `Unpacker` takes these bytes.

Source: APPNOTE.TXT 6.3.10 sections 4.3 and 4.5.3; contract devpi section 13; architecture section 10.
"""

from __future__ import annotations

import stat
import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from shared.formats.archive import path_fault

TAIL_BYTES = 22 + 65_535 + 20 + 56
"""Bytes at the end of an archive that hold its end records: the longest comment, and what ZIP64 has in front of it."""

PIECE_BYTES = 256 * 1024
"""Bytes of a member that are unpacked in one step."""

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END64, _END64_LOCATOR = b"PK\x06\x06", b"PK\x06\x07"
_LOCAL_FIELDS = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL_FIELDS = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_END_FIELDS = struct.Struct("<4sHHHHLLH")
_END64_FIELDS = struct.Struct("<4sQHHLLQQQQ")
_END64_LOCATOR_FIELDS = struct.Struct("<4sLQL")

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64 = 0x0001
_ENCRYPTED, _PATCHED, _STRONG, _MASKED, _UTF8 = 0x0001, 0x0020, 0x0040, 0x2000, 0x0800
_REFUSED_FLAGS = _ENCRYPTED | _PATCHED | _STRONG | _MASKED
_STORED, _DEFLATED = 0, 8
_SPARE_BYTES = 4096
"""Bytes that deflate may need beside twice a member's length: what packers write stays far below."""

_PER_MEMBER = 250
"""Bytes of memory for each member beside the directory's own, roughly."""


class UnreadableZip(Exception):
    """The archive, or the member, cannot be read; the message says why, for logs."""


@dataclass(frozen=True, slots=True)
class DirectoryLimits:
    """How much of an archive is looked at.

    Attributes:
        members: of an archive, folders and unusable ones included.
        directory_bytes: of its central directory.
        member_bytes: of one member, unpacked; longer ones are not there.
    """

    members: int = 50_000
    directory_bytes: int = 8 << 20
    member_bytes: int = 64 << 20


DEFAULT_LIMITS = DirectoryLimits()


@dataclass(frozen=True, slots=True)
class DirectoryPlace:
    """Where the central directory of an archive lies, and how many records it should have."""

    start: int
    stop: int
    records: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member that can be read; local header and packed data lie in bytes `start` to `stop` of the archive."""

    start: int
    stop: int
    raw_name: bytes
    method: int
    crc: int
    packed: int
    length: int


class Directory:
    """The members of an archive that can be read, by path. Compact: a record is read when it is asked for."""

    def __init__(self, raw: bytes, places: dict[str, int], starts: array[int]) -> None:
        """For `read_directory`: places are path -> offset of the record in `raw`; `starts` ends with the directory."""
        self._raw = raw
        self._places = places
        self._starts = starts

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly."""
        return len(self._raw) + _PER_MEMBER * len(self._places) + 8 * len(self._starts)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, path: object) -> bool:
        return path in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def member(self, path: str) -> Member | None:
        """Return the member of this exact path."""
        at = self._places.get(path)
        if at is None:
            return None
        record = _Record(self._raw, at)
        following = self._starts[bisect_right(self._starts, record.offset)]
        # The member's own header may have more extra fields than the directory says, and nothing else before the data.
        stop = min(following, record.offset + _LOCAL_FIELDS.size + 2 * _FULL16 + record.packed)
        return Member(record.offset, stop, record.raw_name, record.method, record.crc, record.packed, record.length)


def find_directory(tail: bytes, length: int, limits: DirectoryLimits = DEFAULT_LIMITS) -> DirectoryPlace:
    """Return where the central directory lies.

    Args:
        tail: the last bytes of the archive: `TAIL_BYTES` of them, or all.
        length: of the whole archive in bytes.

    Raises:
        UnreadableZip: there is none, it is too large, or its place cannot be.
    """
    at = _end_record(tail)
    _, disk, directory_disk, here, records, size, start, _ = _END_FIELDS.unpack_from(tail, at)
    end = length - len(tail) + at
    if _FULL16 in {here, records} or _FULL32 in {size, start}:
        end -= _END64_LOCATOR_FIELDS.size + _END64_FIELDS.size
        disk, directory_disk, here, records, size, start = _end64(tail, at, end)
    if disk or directory_disk or here != records:
        raise UnreadableZip("the archive is one of several")
    if start + size != end:
        raise UnreadableZip("the central directory does not end where the end record begins")
    if records > limits.members or size > limits.directory_bytes:
        raise UnreadableZip(f"the archive has {records} members, its directory {size} bytes: that is too many")
    if records * _CENTRAL_FIELDS.size > size:
        raise UnreadableZip("the central directory is too short for its members")
    return DirectoryPlace(start, end, records)


def read_directory(raw: bytes, place: DirectoryPlace, limits: DirectoryLimits = DEFAULT_LIMITS) -> Directory:
    """Return the members that a central directory lists. Of two with the same path the later one counts.

    Args:
        raw: the bytes from `place.start` to `place.stop`.

    Raises:
        UnreadableZip: the records are malformed, or members overlap or lie outside.
    """
    places: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    at = 0
    for _ in range(place.records):
        record = _Record(raw, at)
        spans.append((record.offset, record.offset + _LOCAL_FIELDS.size + len(record.raw_name) + record.packed))
        path = record.path()
        if path is not None and record.length <= limits.member_bytes:
            places[path] = at
        elif path is not None:
            places.pop(path, None)
        at = record.end
    if at != len(raw):
        raise UnreadableZip("the central directory is longer than its members")
    return Directory(raw, places, _starts(spans, place.start))


class Unpacker:
    """Turns the bytes from `Member.start` on into the member's own, chunk by chunk.

    It never gives more than the directory announced, and the last piece only when the checksum is right. Every method
    raises `UnreadableZip` when the archive contradicts its directory, or is damaged.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._header = bytearray()
        self._packed_left = member.packed
        self._left = member.length
        self._crc = 0
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk brings, in pieces of at most `PIECE_BYTES`; what follows the member is dropped."""
        data = self._data_in(chunk)[: self._packed_left]
        self._packed_left -= len(data)
        if self._inflater is None:
            for start in range(0, len(data), PIECE_BYTES):
                yield self._counted(data[start : start + PIECE_BYTES])
            return
        while data and not self._inflater.eof:
            piece = self._inflate(data)
            data = self._inflater.unconsumed_tail
            if piece:
                yield self._counted(piece)
        while not self._inflater.eof and (piece := self._inflate(b"")):
            yield self._counted(piece)

    @property
    def fed(self) -> bool:
        """Whether nothing more need be read."""
        return not self._packed_left and self._header_read

    def finish(self) -> None:
        """Return when the whole member was given."""
        if not self.fed or self._left or self._crc != self._member.crc:
            raise UnreadableZip("a member is cut short")

    _header_read = False

    def _inflate(self, data: bytes) -> bytes:
        assert self._inflater is not None
        try:
            # One byte more than announced, which is never 0: that would mean "without limit".
            return self._inflater.decompress(data, min(PIECE_BYTES, self._left + 1))
        except zlib.error as error:
            raise UnreadableZip("a member cannot be inflated") from error

    def _counted(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        self._crc = zlib.crc32(piece, self._crc)
        if self._left < 0:
            raise UnreadableZip("a member is longer than its header says")
        if self._left == 0 and self._crc != self._member.crc:
            raise UnreadableZip("a member is damaged: its checksum does not match")
        return piece

    def _data_in(self, chunk: bytes) -> bytes:
        """Return what a chunk holds of the packed data: all of it, once the local header is over."""
        if self._header_read:
            return chunk
        self._header += chunk
        begins = self._data_start()
        if begins is None:
            return b""
        data = bytes(self._header[begins:])
        self._header_read = True
        self._header.clear()
        return data

    def _data_start(self) -> int | None:
        """Return where the data begins in what was fed, None when more must be fed to tell."""
        if len(self._header) < _LOCAL_FIELDS.size:
            return None
        fields = _LOCAL_FIELDS.unpack_from(self._header)
        flags, method = fields[2], fields[3]
        name_length, extra_length = int(fields[9]), int(fields[10])
        member = self._member
        if fields[0] != _LOCAL or flags & _REFUSED_FLAGS or method != member.method:
            raise UnreadableZip("a member's own header disagrees with the directory")
        begins = _LOCAL_FIELDS.size + name_length + extra_length
        if begins + member.packed > member.stop - member.start:
            raise UnreadableZip("a member reaches into the next one")
        if len(self._header) < begins:
            return None
        if bytes(self._header[_LOCAL_FIELDS.size : _LOCAL_FIELDS.size + name_length]) != member.raw_name:
            raise UnreadableZip("a member's own header has another name than the directory")
        return begins


class _Record:
    """One record of a central directory.

    Raises:
        UnreadableZip: it is malformed.
    """

    __slots__ = ("_attributes", "_flags", "crc", "end", "length", "method", "offset", "packed", "raw_name")

    def __init__(self, raw: bytes, at: int) -> None:
        if at + _CENTRAL_FIELDS.size > len(raw):
            raise UnreadableZip("the central directory is cut short")
        fields = _CENTRAL_FIELDS.unpack_from(raw, at)
        if fields[0] != _CENTRAL:
            raise UnreadableZip("the central directory is malformed")
        self._flags, self.method, self.crc = fields[3], fields[4], fields[7]
        packed, length, name_length, extra_length, comment_length, disk = fields[8:14]
        self._attributes = fields[15] >> 16
        begins = at + _CENTRAL_FIELDS.size
        self.end = begins + name_length + extra_length + comment_length
        if disk or self.end > len(raw):
            raise UnreadableZip("the central directory is malformed")
        self.raw_name = raw[begins : begins + name_length]
        extra = raw[begins + name_length : begins + name_length + extra_length]
        self.length, self.packed, self.offset = _long_sizes(extra, (length, packed, fields[16]))

    def path(self) -> str | None:
        """Return the member's path, None for a folder and for what cannot be served safely."""
        if self._flags & _REFUSED_FLAGS or self.method not in {_STORED, _DEFLATED}:
            return None
        if self.method == _STORED and self.packed != self.length:
            return None
        if self.packed > 2 * self.length + _SPARE_BYTES:
            # Blocks that inflate to nothing: reading them all would cost what `DirectoryLimits` does not count.
            return None
        if stat.S_IFMT(self._attributes) not in {0, stat.S_IFREG}:
            return None
        path = self._decoded()
        return None if path is None or path.endswith("/") or path_fault(path) is not None else path

    def _decoded(self) -> str | None:
        try:
            return self.raw_name.decode("utf-8")
        except UnicodeDecodeError:
            # The historical encoding, which only names without the UTF-8 mark may have.
            return None if self._flags & _UTF8 else self.raw_name.decode("cp437")


def _long_sizes(extra: bytes, short: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return length, packed length and offset, those that overflow from the ZIP64 block."""
    if _FULL32 not in short:
        return short
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        block = extra[at + 4 : at + 4 + size]
        if kind == _ZIP64:
            count = short.count(_FULL32)
            if len(block) < 8 * count:
                break
            long = iter(struct.unpack_from(f"<{count}Q", block))
            length, packed, offset = (next(long) if value == _FULL32 else value for value in short)
            return length, packed, offset
        at += 4 + size
    raise UnreadableZip("a member's ZIP64 sizes are missing")


def _starts(spans: list[tuple[int, int]], directory: int) -> array[int]:
    """Return where members begin, in order, and where the directory does.

    Raises:
        UnreadableZip: two of them share bytes, or one lies outside.
    """
    spans.sort()
    before = 0
    for start, stop in spans:
        if start < before:
            raise UnreadableZip("members overlap")
        before = stop
    if before > directory:
        raise UnreadableZip("a member reaches into the central directory")
    return array("Q", [start for start, _ in spans] + [directory])


def _end_record(tail: bytes) -> int:
    """Return where the end record begins: the last one whose comment ends with the archive."""
    at = tail.rfind(_END)
    while at >= 0:
        if at + _END_FIELDS.size <= len(tail):
            comment_length = _END_FIELDS.unpack_from(tail, at)[7]
            if at + _END_FIELDS.size + comment_length == len(tail):
                return at
        at = tail.rfind(_END, 0, at)
    raise UnreadableZip("the file is not a zip archive")


def _end64(tail: bytes, at: int, start: int) -> tuple[int, int, int, int, int, int]:
    """Return the ZIP64 end record that lies at `start` of the archive, right before its locator and `at`."""
    locator_at = at - _END64_LOCATOR_FIELDS.size
    record_at = locator_at - _END64_FIELDS.size
    if record_at < 0:
        raise UnreadableZip("the ZIP64 end record is missing")
    signature, disk, offset, disks = _END64_LOCATOR_FIELDS.unpack_from(tail, locator_at)
    if signature != _END64_LOCATOR or disk or disks > 1 or offset != start:
        raise UnreadableZip("the ZIP64 locator does not name the record before it")
    fields = _END64_FIELDS.unpack_from(tail, record_at)
    if fields[0] != _END64 or fields[1] != _END64_FIELDS.size - 12:
        raise UnreadableZip("the ZIP64 end record is malformed")
    _, _, _, _, disk, directory_disk, here, records, size, directory = fields
    return disk, directory_disk, here, records, size, directory
