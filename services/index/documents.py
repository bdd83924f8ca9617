"""A document in memory, and the answers derived from it: each form and coding is made once, when first asked for.

The signed bytes are the JSON answer; HTML and the compressed forms are derived from them, off the event loop, and kept.
Nearly every client takes compressed answers: then a large document's own bytes are kept compressed as well.
Source: architecture sections 5.7 and 11.4; contract python-index section 1.4.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import count

import brotli

from services.index.rules import CODING_TOKENS, CONTENT_TYPES, Coding, Media
from shared.ids import IndexId
from shared.reading.answers import CORS, NO_STORE, NOSNIFF
from shared.reading.headers import http_date
from shared.service import Prepared
from shared.threads import QUICK
from shared.zstd import MAX_UNPACKED, pack, unpack

GZIP_LEVEL, BROTLI_QUALITY = 6, 4
"""Measured on a page of 100 files (49 kB, mostly digests): 11.7 and 10.0 kB in 0.7 and 0.4 ms (`shared.zstd`: 9.8 kB in
0.1 ms). Next levels gain nothing on such pages; the highest save an eighth for 30 to 180 times the time."""


def place(media: Media, coding: Coding) -> int:
    """Return where a variant stands among a document's variants."""
    return int(media) * len(Coding) + int(coding)


_VARIANTS, _PACKED = len(Media) * len(Coding), place(Media.JSON, Coding.ZSTD)
_NUMBERS = count(1)
OVERHEAD = 1024
"""Bytes that a document's objects, and the headers and objects of each variant, weigh beside the bodies."""

_PER_GROUP = 300
"""Bytes that each of a document's groups weighs."""

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

_OF_BODIES = frozenset((b"content-type", b"content-length", b"content-encoding", NOSNIFF[0], PAGE_POLICY[0]))
"""Headers that say something of a body, and so are not on a 304."""


@dataclass(slots=True)
class Variant:
    """One form in one coding: the whole answer, and the answer when the client has it already."""

    etag: bytes
    full: Prepared
    _not_modified: Prepared | None = None

    @property
    def not_modified(self) -> Prepared:
        """The answer without a body, made when a client has it already for the first time."""
        if self._not_modified is None:
            self._not_modified = unchanged(self.full.headers)
        return self._not_modified


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
        kept: its bytes, the JSON form or a metadata file; None where those of its zstd variant are enough: see `body`.
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
        length: of its bytes, uncompressed.
        size: bytes of memory.
    """

    shape: Shape
    kept: bytes | None
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
    making: asyncio.Lock | None = None
    length: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        """Account for what is held from the beginning."""
        self.length, self.size = len(self.body), self.weight()

    @property
    def body(self) -> bytes:
        """Its bytes. Blocking, for some milliseconds, when it is large and was asked for compressed; see `text`."""
        kept = self.kept
        if kept is not None:
            return kept
        packed = self.variants[_PACKED]
        assert packed is not None, "it is made before the bytes are let go of"
        return unpack(packed.full.body)

    async def text(self) -> bytes:
        """Return its bytes, unpacked in a thread where that is needed."""
        kept = self.kept
        return await asyncio.to_thread(lambda: self.body) if kept is None else kept

    def make(self, media: Media, coding: Coding) -> int:
        """Make a variant; returns how many bytes the document grew by, below 0 when it shrank. Blocking."""
        before = self.weight()
        body = text = self.body
        if media is not Media.JSON and self.html is not None:
            text = self.html(body)
        packed = text if coding is Coding.IDENTITY else _compress(text, coding)
        if coding is not Coding.IDENTITY and len(packed) < len(text):
            made = self.variant(media, coding, packed)
        else:
            # What compression does not make smaller (a timestamp, a list of nothing) goes out as it is.
            plain = place(media, Coding.IDENTITY)
            made = self.variants[plain] = self.variants[plain] or self.variant(media, Coding.IDENTITY, text)
        self.variants[place(media, coding)] = made
        if made.full.body is body:
            self.kept = body
        return self.weight() - before

    def let_go(self) -> int:
        """Keep the bytes of a large document compressed, unless an answer shows them as they are; returns as `make`.
        Blocking: some milliseconds for a megabyte.
        """
        kept, before = self.kept, self.weight()
        if kept is None or not QUICK < self.length <= MAX_UNPACKED:
            return 0
        if any(variant is not None and variant.full.body is kept for variant in self.variants):
            return 0
        packed = self.variants[_PACKED] or self.variant(Media.JSON, Coding.ZSTD, pack(kept))
        if len(packed.full.body) < self.length:
            # In this order: others read them meanwhile.
            self.variants[_PACKED] = packed
            self.kept = None
        return self.weight() - before

    def weight(self) -> int:
        """Return the bytes of memory of all that was made so far."""
        made = {id(variant): variant for variant in self.variants if variant is not None}.values()
        bodies = {id(body): len(body) for body in (self.kept or b"", *(variant.full.body for variant in made))}
        return OVERHEAD * (1 + len(made)) + _PER_GROUP * len(self.groups) + sum(bodies.values())

    def variant(self, media: Media, coding: Coding, body: bytes) -> Variant:
        """Return the variant whose bytes, compressed, are `body`."""
        etag = tag_of(hashlib.sha256(body).hexdigest(), media)
        headers = headers_of(self.shape, media, coding, etag, len(body))
        return Variant(etag, Prepared(self.status, tuple(headers), body))


def tag_of(digest: str, media: Media) -> bytes:
    """Return the entity tag of a form, by the digest of its bytes as they are sent.

    The forms text/html and v1+html are the same bytes under another type, so the tag names the form as well.
    """
    return f'"{digest[:32]}-{int(media)}"'.encode()


def headers_of(shape: Shape, media: Media, coding: Coding, etag: bytes, length: int) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer."""
    content_type = shape.content_types[media if len(shape.content_types) > 1 else 0]
    of_body = [_header(b"content-type", content_type), (b"content-length", b"%d" % length)]
    headers = [*of_body, (b"etag", etag), *_common_headers(shape), NOSNIFF]
    if coding is not Coding.IDENTITY:
        headers.append(_header(b"content-encoding", CODING_TOKENS[coding].encode()))
    if b"html" in content_type:
        headers.append(PAGE_POLICY)
    return headers


def unchanged(headers: Iterable[tuple[bytes, bytes]]) -> Prepared:
    """Return the 304 of an answer with these headers: with those of them that do not say something of a body."""
    return Prepared(304, tuple(header for header in headers if header[0] not in _OF_BODIES), b"")


def absent(open_: bool, text: bytes, groups: tuple[Hashable, ...], until: float) -> Document:
    """Return what is kept of something that does not exist: the same 404 whatever form is asked for."""
    document = Document(Shape(open_, (b"no-store", b"no-store")), text, groups, until=until, status=404)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    answer = Prepared(404, [*headers, NO_STORE, vary(open_, forms=True), NOSNIFF, *CORS], text)
    document.variants = [Variant(b"", answer)] * _VARIANTS
    document.size = document.weight()
    return document


@lru_cache
def vary(open_: bool, *, forms: bool) -> tuple[bytes, bytes]:
    """Return the Vary header of an answer that everyone gets, or of one for those who may.

    Args:
        forms: whether there is more than one form to choose by the Accept header.
    """
    return (
        b"vary",
        (b"Accept, " if forms else b"") + (b"Accept-Encoding" if open_ else b"Accept-Encoding, Authorization"),
    )


@lru_cache
def _header(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Return a header that many documents have: one for all of them."""
    return name, value


def page_shape(open_: bool, serial: int, stale_since: datetime | None = None) -> Shape:
    """Return the shape of pages and project lists."""
    return Shape(open_, PAGE_CACHING, serial, CONTENT_TYPES, stale_since)


def _common_headers(shape: Shape) -> list[tuple[bytes, bytes]]:
    """Return the headers that a 304 must repeat (RFC 9110 section 15.4.5), and those that pages in browsers need."""
    headers = [
        vary(shape.open, forms=len(shape.content_types) > 1),
        _header(b"cache-control", shape.caching[0 if shape.open else 1]),
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
