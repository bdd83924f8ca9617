"""What memory holds of a file that was asked for: the answer's headers, the bytes of small ones, or the refusal."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from services.download.rules import Span
from shared.errors import ServiceError
from shared.fetching.wanted import Wanted
from shared.ids import FileId, IndexId
from shared.objects.interface import Key
from shared.reading.answers import CORS, NO_STORE, NOSNIFF, Headers
from shared.reading.headers import http_date
from shared.service import Prepared

ABSENT = "absent"
"""Group of what is known not to exist in an index; it ends with the index's next head."""

OCTETS, PROVENANCE = b"application/octet-stream", b"application/vnd.pypi.integrity.v1+json"
JSON = b"application/json"
"""Content-Type of files, of provenance objects and of lists of bundles. Source: contract python-index section 1.8."""

LASTING, PASSING = b"max-age=31536000, immutable", b"max-age=600"
"""How long what never changes under its address may be kept, and a provenance object, to which bundles are added."""

OVERHEAD = 2048
"""Bytes that an entry weighs beside its body, roughly."""

PER_GROUP = 200
"""Bytes that each of an entry's groups weighs, roughly."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """The hosted file that bytes are of, or belong to: in the index whose signed metadata vouch for it."""

    owner: IndexId
    id: FileId
    file_name: FileName
    sha256: Sha256


@dataclass(slots=True, eq=False)
class Entry:
    """A file, or its `.metadata`, that is served.

    Attributes:
        counted: the file whose downloads are counted, None for `.metadata`.
        key: where its bytes lie, on the side of the store where its index keeps files.
        etag: the digest in quotes: the bytes under an address never change.
        kept: headers of every answer, also of a 304.
        body: the bytes, checked, when the file is small.
        groups: what it is dropped with, each once; see `shared.reading.shelf`.
        until: bounds how long it is remembered (monotonic seconds); None for what a publication drops.
        source: where it comes from when that is an upstream: its bytes may have to be fetched first.
        hosted: the file that was published; None for what a publication does not vouch for.
        page: the mirror whose page lists the file, and when its upstream was asked for that; None for other files.
    """

    counted: FileId | None
    key: Key
    public: bool
    sha256: Sha256
    length: Length
    modified: datetime
    etag: bytes
    kept: Headers
    body: bytes | None
    groups: tuple[Hashable, ...]
    kind: bytes
    full: Prepared
    not_modified: Prepared
    size: int
    until: float | None = None
    source: Wanted | None = None
    hosted: Hosted | None = None
    page: tuple[IndexId, datetime] | None = None
    lags: None = None

    def part(self, span: Span) -> list[tuple[bytes, bytes]]:
        """Return the headers of a 206 with these bytes."""
        where = b"bytes %d-%d/%d" % (span.start, span.stop - 1, self.length)
        return [*self._described(span.stop - span.start), (b"content-range", where)]

    def elsewhere(self, url: str) -> Prepared:
        """Return the answer that sends a client to a URL of the store, which soon ends and so is kept by nobody."""
        varying = [header for header in self.kept if header[0] == b"vary"]
        headers = [(b"location", url.encode("ascii")), (b"content-length", b"0"), NO_STORE, *varying, NOSNIFF, *CORS]
        return Prepared(302, headers, b"")

    def of_kind(self, kind: bytes, body: bytes) -> Prepared:
        """Return the whole answer under a Content-Type that depends on what was asked for."""
        varying = [(b"vary", b"Accept")]
        headers = [header for header in described(self.kept, self.length, kind) if header[0] != b"accept-ranges"]
        return Prepared(200, [*headers, *varying], body)

    def out_of_range(self) -> Prepared:
        """Return the answer to a range that lies outside the file."""
        where = (b"content-range", b"bytes */%d" % self.length)
        return Prepared(416, [where, (b"content-length", b"0"), (b"accept-ranges", b"bytes"), NOSNIFF, *CORS], b"")

    def _described(self, length: int) -> list[tuple[bytes, bytes]]:
        return described(self.kept, length, self.kind)


@dataclass(slots=True, eq=False)
class Refused:
    """A file that is not served, and why; `until` bounds how long it is remembered (monotonic seconds)."""

    error: ServiceError
    groups: tuple[Hashable, ...]
    until: float | None
    size: int = field(init=False)
    lags: None = None

    def __post_init__(self) -> None:
        """Account for what is held."""
        self.size = OVERHEAD + PER_GROUP * len(self.groups)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the bytes of an address lie and how they are known; `counted` as in `Entry`.

    Attributes:
        kind: Content-Type.
        caching: how long they may be kept without asking again.
    """

    counted: FileId | None
    key: Key
    public: bool
    sha256: Sha256
    length: Length
    modified: datetime
    kind: bytes = OCTETS
    caching: bytes = LASTING


def make_entry(stored: Stored, body: bytes | None, groups: tuple[Hashable, ...], *, open_: bool) -> Entry:
    """Return the entry of a file; its answers are made here, once.

    Args:
        open_: whether everyone may read it; decides Cache-Control and Vary.
    """
    etag = f'"{stored.sha256}"'.encode()
    caching = (b"public, " if open_ else b"private, ") + stored.caching
    kept = [(b"etag", etag), (b"last-modified", http_date(stored.modified)), (b"cache-control", caching), *CORS]
    if not open_:
        kept.append((b"vary", b"Authorization"))
    headers = tuple(kept)
    return Entry(
        counted=stored.counted,
        key=stored.key,
        public=stored.public,
        sha256=stored.sha256,
        length=stored.length,
        modified=stored.modified,
        etag=etag,
        kept=headers,
        body=body,
        groups=groups,
        kind=stored.kind,
        full=Prepared(200, described(headers, stored.length, stored.kind), body or b""),
        not_modified=Prepared(304, headers, b""),
        size=OVERHEAD + PER_GROUP * len(groups) + len(body or b""),
    )


def described(kept: Headers, length: int, kind: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with `length` bytes.

    Never Content-Encoding: installers ask for the bytes as they are and check their digest.
    Source: contract python-index section 1.5.4.
    """
    return [
        (b"content-type", kind),
        (b"content-length", b"%d" % length),
        (b"accept-ranges", b"bytes"),
        *kept,
        NOSNIFF,
    ]
