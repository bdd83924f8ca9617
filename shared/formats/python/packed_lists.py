"""Lists of projects of any length, packed: rows in the order in which they are listed, read part by part. Pure.

700,000 names are 9 MB as text and 4 MB packed, but a hundred MB as objects: whoever reads such a list has a few
thousand rows of it in memory.
Source: contract python-index section 5.1; ADR 0028.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import zstandard

from shared.zstd import LEVEL

Row = tuple[str, int | None]
"""Normalised name of a project, and the serial of its page, None where none is known."""

PART_ROWS = 2_000
"""Rows of a part at the most."""

_MOST_AT_ONCE = 16 << 10
"""Bytes that are unpacked at a time; names become some three times as many."""


def pack_rows(rows: Iterable[Row]) -> tuple[bytes, int]:
    """Return rows, packed, and how many there are. Blocking."""
    packing = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    packed, number = [], 0
    for part in parted(rows):
        number += len(part)
        text = "".join(f"{name}\n" if serial is None else f"{name} {serial}\n" for name, serial in part)
        packed.append(packing.compress(text.encode("ascii")))
    return b"".join([*packed, packing.flush()]), number


def unpack_rows(packed: bytes) -> Iterator[list[Row]]:
    """Yield the rows that `pack_rows` packed, in parts. Blocking.

    Raises:
        ValueError: they are damaged.
    """
    unpacking, rest = zstandard.ZstdDecompressor().decompressobj(), b""
    try:
        for begin in range(0, len(packed), _MOST_AT_ONCE):
            *lines, rest = (rest + unpacking.decompress(packed[begin : begin + _MOST_AT_ONCE])).split(b"\n")
            yield from parted(map(_row, lines))
    except zstandard.ZstdError as error:
        raise ValueError("a kept list is damaged") from error
    if rest or not unpacking.eof:
        raise ValueError("a kept list is damaged: it breaks off")


def parted(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows in parts of `PART_ROWS`."""
    left = iter(rows)
    while part := list(islice(left, PART_ROWS)):
        yield part


def joined_rows(parts: Iterable[Sequence[Row]]) -> Iterator[Row]:
    """Yield the rows of parts."""
    return (row for part in parts for row in part)


def _row(line: bytes) -> Row:
    name, _, serial = line.decode("ascii").partition(" ")
    return name, int(serial) if serial else None
