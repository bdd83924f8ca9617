"""Reads a zip in memory as the download service reads one in the store."""

from __future__ import annotations

from shared.formats.zip_directory import (
    DEFAULT_LIMITS,
    TAIL_BYTES,
    Directory,
    DirectoryLimits,
    Unpacker,
    find_directory,
    read_directory,
)


def directory_of(data: bytes, limits: DirectoryLimits = DEFAULT_LIMITS) -> Directory:
    """Return the directory of an archive.

    Raises:
        UnreadableZip: it has none.
    """
    place = find_directory(data[-TAIL_BYTES:], len(data), limits)
    return read_directory(data[place.start : place.stop], place, limits)


def unpack(data: bytes, path: str, chunk: int = 4096, limits: DirectoryLimits = DEFAULT_LIMITS) -> bytes | None:
    """Return a member, fed `chunk` bytes at a time; None when there is none of this path.

    Raises:
        UnreadableZip: the archive or the member cannot be read.
    """
    member = directory_of(data, limits).member(path)
    if member is None:
        return None
    unpacker, found = Unpacker(member), bytearray()
    for start in range(member.start, member.stop, chunk):
        for piece in unpacker.pieces(data[start : min(start + chunk, member.stop)]):
            found += piece
            assert len(found) <= member.length
        if unpacker.fed:
            break
    unpacker.finish()
    return bytes(found)
