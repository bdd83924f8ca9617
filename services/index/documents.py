"""A document in memory, and the answers derived from it: each form and coding is made once, when first asked for.

The signed bytes are the JSON answer; HTML and the compressed forms are derived from them, off the event loop, and kept.
Source: architecture sections 5.7 and 11.4; contract python-index section 1.4.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

import brotli

from services.index.rules import CODING_TOKENS, CONTENT_TYPES, Coding, Media
from shared.ids import IndexId
from shared.reading.answers import CORS, NO_STORE, NOSNIFF
from shared.reading.headers import http_date
from shared.service import Prepared
from shared.zstd import pack

GZIP_LEVEL, BROTLI_QUALITY = 6, 4
"""Measured on a page of 100 files (49 kB, mostly digests): 11.7 and 10.0 kB in 0.7 and 0.4 ms (`shared.zstd`: 9.8 kB in
0.1 ms). Next levels gain nothing on such pages; the highest save an eighth for 30 to 180 times the time."""

_VARIANTS = len(Media) * len(Coding)
_NUMBERS = count(1)
OVERHEAD = 2048
"""Bytes that a variant's headers and objects weigh beside its body, roughly."""

_PER_GROUP = 200
"""Bytes that each of a document's groups weighs, roughly."""

PAGE_CACHING = (b"public, max-age=0, must-revalidate", b"private, max-age=0, must-revalidate")
"""Cache-Control of pages that everyone may read, and of others.

The public index lets pages be kept for ten minutes, and with that uv does not see a fresh publish on the same machine
for as long (contract python-index section 1.4.2). Here a publish is to be visible at once, and asking again costs a 304
from memory; so every client and every cache in between asks again, with our strong entity tag.
"""

IMMUTABLE_CACHING = (b"public, max-age=31536000, immutable", b"private, max-age=31536000, immutable")
"""Cache-Control of what never changes under its name (trust contract section 2.6)."""

TIMESTAMP_CACHING = (b"public, max-age=5", b"private, max-age=5")
"""Cache-Control of the timestamp: at most 30 seconds are allowed (trust contract section 2.6); 5 let a crowd of clients
share one answer and delay a publish by no more."""

STALE = b"x-countermark-stale-since"
"""Header of what should have been confirmed by an upstream that gives no answer: when it last was."""

PAGE_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
"""A page needs neither scripts nor styles, and holds text that strangers wrote."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One form in one coding: the whole answer, and the answer when the client has it already."""

    etag: bytes
    full: Prepared
    not_modified: Prepared


@dataclass(frozen=True, slots=True)
class Shape:
    """What the answers of a document have in common.

    Attributes:
        open: whether everyone may read it; decides Vary and Cache-Control.
        caching: Cache-Control when open and when not.
        serial: value of X-PyPI-Last-Serial, None where there is none.
        content_types: by `Media`; one entry when there is one form only.
        stale_since: since when what is shown was not confirmed, when it should have been (RFC 9111 section 5.1: Age).
    """

    open: bool
    caching: tuple[bytes, bytes]
    serial: int | None = None
    content_types: tuple[bytes, ...] = (b"application/json",)
    stale_since: datetime | None = None


@dataclass(slots=True, eq=False)
class Document:
    """A page, project list, metadata file or target.

    Attributes:
        groups: what it is dropped with, each once; see `shared.reading.shelf`.
        variants: by `place`, as far as they were made.
        until: monotonic seconds after which it is out of date, None for as long as it is kept.
        lags: seconds for which a big project list may lag behind its index, None for all else.
        ends: monotonic seconds after which it is out of date whatever its index says, None for never.
        upstreams: of what shows mirrors: when each one's upstream was asked for what is shown of it.
        heads: of a list that shows more than stages: the sum of their serials that it was made with.
        status: 200, or 404 for what is known not to exist.
        number: no other document of this process has it.
        made_of: the number of the one it was cut from, 0 for most.
    """

    shape: Shape
    body: bytes
    groups: tuple[Hashable, ...]
    html: Callable[[bytes], bytes] | None = None
    until: float | None = None
    lags: float | None = None
    ends: float | None = None
    upstreams: Mapping[IndexId, datetime] = field(default_factory=dict)
    heads: int | None = None
    status: int = 200
    number: int = field(default_factory=_NUMBERS.__next__)
    made_of: int = 0
    variants: list[Variant | None] = field(default_factory=lambda: [None] * _VARIANTS)
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    size: int = 0

    def __post_init__(self) -> None:
        """Account for what is held from the beginning."""
        self.size = len(self.body) + OVERHEAD + _PER_GROUP * len(self.groups)

    def make(self, media: Media, coding: Coding) -> int:
        """Make a variant and the uncompressed one it comes from; returns how many bytes it grew by. Blocking."""
        grown = 0
        plain = self.variants[place(media, Coding.IDENTITY)]
        if plain is None:
            body = self.body if media is Media.JSON or self.html is None else self.html(self.body)
            plain = self.variant(media, Coding.IDENTITY, body)
            grown += OVERHEAD + (0 if body is self.body else len(body))
            self.variants[place(media, Coding.IDENTITY)] = plain
        if coding is Coding.IDENTITY:
            return grown
        packed = _compress(plain.full.body, coding)
        # What compression does not make smaller (a timestamp, a list of nothing) goes out as it is.
        made = self.variant(media, coding, packed) if len(packed) < len(plain.full.body) else plain
        self.variants[place(media, coding)] = made
        return grown + OVERHEAD + (len(packed) if made is not plain else 0)

    def variant(self, media: Media, coding: Coding, body: bytes) -> Variant:
        """Return the variant whose bytes, compressed, are `body`."""
        etag = tag_of(hashlib.sha256(body).hexdigest(), media)
        headers, common = headers_of(self.shape, media, coding, etag, len(body))
        return Variant(etag, Prepared(self.status, headers, body), Prepared(304, common, b""))


def tag_of(digest: str, media: Media) -> bytes:
    """Return the entity tag of a form, by the digest of its bytes as they are sent.

    The forms text/html and v1+html are the same bytes under another type, so the tag names the form as well.
    """
    return f'"{digest[:32]}-{int(media)}"'.encode()


def headers_of(
    shape: Shape, media: Media, coding: Coding, etag: bytes, length: int
) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Return the headers of an answer, and those of its 304."""
    content_type = shape.content_types[media if len(shape.content_types) > 1 else 0]
    common = [(b"etag", etag), *_common_headers(shape)]
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % length), *common, NOSNIFF]
    if coding is not Coding.IDENTITY:
        headers.append((b"content-encoding", CODING_TOKENS[coding].encode()))
    if b"html" in content_type:
        headers.append(PAGE_POLICY)
    return headers, common


def absent(open_: bool, text: bytes, groups: tuple[Hashable, ...], until: float) -> Document:
    """Return what is kept of something that does not exist: the same 404 whatever form is asked for."""
    document = Document(Shape(open_, (b"no-store", b"no-store")), text, groups, until=until, status=404)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    answer = Prepared(404, [*headers, NO_STORE, vary(open_, forms=True), NOSNIFF, *CORS], text)
    document.variants = [Variant(b"", answer, answer)] * _VARIANTS
    return document


def place(media: Media, coding: Coding) -> int:
    """Return where a variant stands among a document's variants."""
    return int(media) * len(Coding) + int(coding)


def vary(open_: bool, *, forms: bool) -> tuple[bytes, bytes]:
    """Return the Vary header of an answer that everyone gets, or of one for those who may.

    Args:
        forms: whether there is more than one form to choose by the Accept header.
    """
    return (
        b"vary",
        (b"Accept, " if forms else b"") + (b"Accept-Encoding" if open_ else b"Accept-Encoding, Authorization"),
    )


def page_shape(open_: bool, serial: int, stale_since: datetime | None = None) -> Shape:
    """Return the shape of pages and project lists."""
    return Shape(open_, PAGE_CACHING, serial, CONTENT_TYPES, stale_since)


def _common_headers(shape: Shape) -> list[tuple[bytes, bytes]]:
    """Return the headers that a 304 must repeat (RFC 9110 section 15.4.5), and those that pages in browsers need."""
    headers = [
        vary(shape.open, forms=len(shape.content_types) > 1),
        (b"cache-control", shape.caching[0 if shape.open else 1]),
        *CORS,
    ]
    if shape.serial is not None:
        headers.append((b"x-pypi-last-serial", b"%d" % shape.serial))
    if shape.stale_since is not None:
        headers.append((STALE, http_date(shape.stale_since)))
    return headers


def _compress(body: bytes, coding: Coding) -> bytes:
    match coding:
        case Coding.GZIP:
            # Without a time in its header, so that equal pages have equal bytes and tags in every replica.
            return gzip.compress(body, GZIP_LEVEL, mtime=0)
        case Coding.BROTLI:
            return bytes(brotli.compress(body, quality=BROTLI_QUALITY))
        case Coding.ZSTD:
            return pack(body)
        case Coding.IDENTITY:
            return body
