"""Lists of projects as documents: short ones like pages, long ones packed and written part by part.

The list of the public index has 35 MB as JSON and as much again as HTML. Of a long list the compressed forms are kept,
5 MB each; whoever asks for it uncompressed gets it while it is unpacked.
Source: architecture sections 5.7 and 11.5; contract python-index section 1.3.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import brotli
import orjson
import zstandard

from services.index.documents import (
    BROTLI_QUALITY,
    GZIP_LEVEL,
    OVERHEAD,
    Document,
    headers_of,
    page_shape,
    place,
    tag_of,
)
from services.index.rules import Coding, Media
from services.index.settings import Limits
from shared.formats.python.html import project_list_html, project_list_html_parts
from shared.formats.python.packed_lists import Row, joined_rows, pack_rows, unpack_rows
from shared.formats.python.pages import project_list_json, project_list_json_parts
from shared.reading.access import Place
from shared.zstd import LEVEL

LISTED = "listed"
"""Group of the lists of projects that an index is part of."""

_GZIP_WBITS = 31
"""Of zlib: with gzip's header, which says no time, so that equal lists have equal bytes."""

_MOST_AT_ONCE = 16 << 10
"""Bytes of a packed list that are unpacked at a time."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A form of a long list as it is without compression."""

    etag: bytes
    length: int


@dataclass(slots=True, eq=False)
class LongList(Document):
    """A long list: `body` are its rows, packed, and `length` is theirs. It has compressed variants alone."""

    plain: dict[Media, Plain] = field(default_factory=dict)

    def make(self, media: Media, coding: Coding) -> int:
        """Make a compressed variant; returns how many bytes it grew by. Blocking."""
        compressor, packed, digest, length = _compressor(coding), [], hashlib.sha256(), 0
        for text in self._parts(media):
            digest.update(text)
            length += len(text)
            packed.append(compressor.compress(text))
        body = b"".join([*packed, compressor.flush()])
        self.variants[place(media, coding)] = self.variant(media, coding, body)
        self.plain[media] = Plain(tag_of(digest.hexdigest(), media), length)
        return OVERHEAD + len(body)

    def let_go(self) -> int:
        """Do nothing: the rows are packed."""
        return 0

    def headers(self, media: Media) -> list[tuple[bytes, bytes]]:
        """Return the headers of a form without compression; a variant of it was made."""
        plain = self.plain[media]
        return headers_of(self.shape, media, Coding.IDENTITY, plain.etag, plain.length)

    async def unpacked(self, media: Media) -> AsyncIterator[bytes]:
        """Yield a form without compression; its zstd variant was made."""
        variant = self.variants[place(media, Coding.ZSTD)]
        assert variant is not None
        unpacking, packed = zstandard.ZstdDecompressor().decompressobj(), variant.full.body
        for begin in range(0, len(packed), _MOST_AT_ONCE):
            yield await asyncio.to_thread(unpacking.decompress, packed[begin : begin + _MOST_AT_ONCE])

    def _parts(self, media: Media) -> Iterator[bytes]:
        parts = project_list_json_parts if media is Media.JSON else project_list_html_parts
        return parts(self.shape.serial or 0, unpack_rows(self.body))


async def list_document(limits: Limits, place: Place, serial: int, projects: Sequence[Row], begun: float) -> Document:
    """Return the list of these projects.

    Args:
        projects: in the order they are to be listed.
        begun: when they began to be looked up, in monotonic seconds.
    """
    if len(projects) > limits.big_list:
        packed, number = await asyncio.to_thread(pack_rows, projects)
        return _long(limits, place, serial, None, (packed, number), begun)
    body = await asyncio.to_thread(project_list_json, serial, projects)
    return Document(page_shape(place.open, serial), body, place.groups(LISTED), html=list_html)


async def packed_list(
    limits: Limits, place: Place, serial: int, stale_since: datetime | None, rows: tuple[bytes, int], begun: float
) -> Document:
    """Return the list of projects that are packed.

    Args:
        rows: as `pack_rows` returns them; others as for `list_document`.
    """
    if rows[1] > limits.big_list:
        return _long(limits, place, serial, stale_since, rows, begun)
    body = await asyncio.to_thread(lambda: project_list_json(serial, joined_rows(unpack_rows(rows[0]))))
    return Document(page_shape(place.open, serial, stale_since), body, place.groups(LISTED), html=list_html)


def _long(
    limits: Limits, place: Place, serial: int, stale_since: datetime | None, rows: tuple[bytes, int], begun: float
) -> LongList:
    packed, number = rows
    document = LongList(page_shape(place.open, serial, stale_since), packed, place.groups(LISTED))
    # The longer it takes to render, the longer it may lag: the largest for a minute.
    document.lags = limits.list_seconds * max(1.0, min(number / limits.list_rows, limits.list_slowest))
    document.until = begun + document.lags
    return document


def list_html(document: bytes) -> bytes:
    """Return the HTML form of a project list from its JSON form."""
    listed = orjson.loads(document)
    projects = [(project["name"], project.get("_last-serial")) for project in listed["projects"]]
    return project_list_html(listed["meta"]["_last-serial"], projects)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Brotli:
    def __init__(self) -> None:
        self._compressor = brotli.Compressor(quality=BROTLI_QUALITY)

    def compress(self, data: bytes, /) -> bytes:
        return bytes(self._compressor.process(data))

    def flush(self) -> bytes:
        return bytes(self._compressor.finish())


def _compressor(coding: Coding) -> _Compressor:
    match coding:
        case Coding.GZIP:
            return zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WBITS)
        case Coding.BROTLI:
            return _Brotli()
        case Coding.ZSTD:
            return zstandard.ZstdCompressor(level=LEVEL).compressobj()
        case Coding.IDENTITY:
            raise ValueError("a long list is sent uncompressed while it is unpacked, and not kept so")
