"""What a path of documentation means, how its members are served, and what a browser may do with them. Pure.

Source: contract devpi sections 7 and 13; ADR 0025.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

from countermark.core.digest import Sha256
from countermark.core.names import InvalidName, NormalizedName, parse_project_name
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.names import release_key
from shared.formats.python.versions import parsed
from shared.reading.answers import CORS, NOSNIFF, Headers

INDEX_PAGE = "index.html"
"""What a folder shows."""

DOC_SEGMENT = "+doc"
"""The segment of a path after which documentation begins; `+d` is devpi's frame around it, which is not made here."""

_PLACE_SEGMENTS = 2
"""Segments of a path that name the index."""

MAX_PATH = 1024
"""Characters of a path within documentation."""

_NO_SUCH_VERSION = 200
"""Characters of a version; none is longer."""


class Which(Enum):
    """What stands in place of a version."""

    LATEST = "latest"
    """The newest with documentation."""
    STABLE = "stable"
    """The newest of those that are no pre-releases."""


@dataclass(frozen=True, slots=True)
class DocWanted:
    """A page or another file of documentation.

    Attributes:
        version: as written in the path, or which one.
        path: within the documentation; ends with a slash where a folder is meant.
    """

    project: NormalizedName
    version: str | Which
    path: str

    @property
    def named(self) -> tuple[str, str] | None:
        """The version as releases spell it, and what equal versions have in common; None for any."""
        if isinstance(self.version, Which):
            return None
        version = parsed(self.version)
        written = self.version if version is None else str(version)
        return written, release_key(written)

    def missing(self) -> ServiceError:
        """Return what is told when there is no documentation."""
        stable = "stable " if self.version is Which.STABLE else ""
        return ServiceError(ErrorKind.NOT_FOUND, f"No {stable}documentation available.")

    def not_in_it(self) -> ServiceError:
        """Return what is told when there is documentation without this file."""
        shown = self.path[:300].encode("ascii", "backslashreplace").decode("ascii")
        return ServiceError(ErrorKind.NOT_FOUND, f"File {shown} not found in documentation.")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The address is another one: `location` is relative to the path that was asked for."""

    location: str


def wanted_at(path: str, query: bytes) -> DocWanted | Elsewhere:
    """Return what a path of documentation means: `/{owner}/{index}/{project}/{version}/+doc/...`.

    Project names in another spelling, devpi's `+d` and the documentation's root lie elsewhere.

    Args:
        path: decoded, of the face `DOC`.
        query: goes along.

    Raises:
        ServiceError: NOT_FOUND; no project can have this name, or no documentation this path.
    """
    segments = path[1:].split("/")
    written, version, inside = segments[2], segments[3], segments[5:]
    try:
        project = parse_project_name(written)
    except InvalidName as error:
        raise ServiceError(ErrorKind.NOT_FOUND, "No documentation available.") from error
    if len(version) > _NO_SUCH_VERSION or not version.isprintable() or len(path) > 2 * MAX_PATH:
        raise ServiceError(ErrorKind.NOT_FOUND, "No documentation available.")
    asked_root = not inside or inside == [""]
    if written != project or segments[4] != DOC_SEGMENT or asked_root:
        rest = [INDEX_PAGE] if asked_root else inside
        return Elsewhere(_relative(segments, [*segments[:2], project, version, DOC_SEGMENT, *rest], query))
    wanted = DocWanted(project, _which(version), "/".join(inside))
    if len(wanted.path) > MAX_PATH:
        raise wanted.not_in_it()
    return wanted


def member_path(wanted: DocWanted, members: Container[str]) -> str | Elsewhere:
    """Return which member answers: the one asked for, or the index page of a folder.

    Raises:
        ServiceError: NOT_FOUND; there is none.
    """
    page = f"{wanted.path.removesuffix('/')}/{INDEX_PAGE}"
    if wanted.path.endswith("/"):
        if page in members:
            return page
    elif wanted.path in members:
        return wanted.path
    elif page in members:
        # Links of the page are relative to the folder.
        return Elsewhere(f"{quote(wanted.path.rpartition('/')[2])}/")
    raise wanted.not_in_it()


def _which(version: str) -> str | Which:
    return next((which for which in Which if which.value == version), version)


def _relative(asked: list[str], meant: list[str], query: bytes) -> str:
    """Return a reference from one path to another of the same index, whatever prefix the host puts before both."""
    up = "../" * (len(asked) - 1 - _PLACE_SEGMENTS)
    below = "/".join(quote(segment, safe="+!") for segment in meant[_PLACE_SEGMENTS:])
    return f"{up}{below}" + (f"?{query.decode('latin-1')}" if query else "")


@dataclass(frozen=True, slots=True)
class MediaType:
    """How files with an extension are served.

    Attributes:
        page: whether scripts of it run as a page's own: it gets `EQUIPMENT`.
        shared: whether pages without an origin may read them: what fonts, scripts' data and styles need.
        saved: whether browsers keep them and show nothing.
    """

    name: bytes
    shared: bool = False
    saved: bool = False
    page: bool = False


_TEXT = MediaType(b"text/plain; charset=utf-8", shared=True)
_UNKNOWN = MediaType(b"application/octet-stream", shared=True, saved=True)

_MEDIA_TYPES: dict[str, MediaType] = {
    "html": MediaType(b"text/html; charset=utf-8", page=True),
    "htm": MediaType(b"text/html; charset=utf-8", page=True),
    "xml": MediaType(b"application/xml"),
    "svg": MediaType(b"image/svg+xml"),
    "css": MediaType(b"text/css; charset=utf-8", shared=True),
    "js": MediaType(b"text/javascript; charset=utf-8", shared=True),
    "mjs": MediaType(b"text/javascript; charset=utf-8", shared=True),
    "json": MediaType(b"application/json", shared=True),
    "map": MediaType(b"application/json", shared=True),
    "wasm": MediaType(b"application/wasm", shared=True),
    "txt": _TEXT,
    "rst": _TEXT,
    "md": _TEXT,
    "csv": _TEXT,
    "py": _TEXT,
    "png": MediaType(b"image/png", shared=True),
    "jpg": MediaType(b"image/jpeg", shared=True),
    "jpeg": MediaType(b"image/jpeg", shared=True),
    "gif": MediaType(b"image/gif", shared=True),
    "webp": MediaType(b"image/webp", shared=True),
    "avif": MediaType(b"image/avif", shared=True),
    "ico": MediaType(b"image/x-icon", shared=True),
    "woff": MediaType(b"font/woff", shared=True),
    "woff2": MediaType(b"font/woff2", shared=True),
    "ttf": MediaType(b"font/ttf", shared=True),
    "otf": MediaType(b"font/otf", shared=True),
    "mp3": MediaType(b"audio/mpeg", shared=True),
    "mp4": MediaType(b"video/mp4", shared=True),
    "webm": MediaType(b"video/webm", shared=True),
    # Shown by a program of the browser's own, which does not start in a sandbox.
    "pdf": MediaType(b"application/pdf", shared=True, saved=True),
}

_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,8})\Z")

CONTENT_SECURITY_POLICY = (
    b"sandbox allow-scripts allow-forms allow-popups allow-popups-to-escape-sandbox allow-downloads; "
    b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; font-src 'self' data:; media-src 'self'; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What documentation may do: its scripts run, but in an origin of their own that is nobody's, and load nothing from
other hosts. Never `allow-same-origin`: the pages lie on the host of the API. Source: ADR 0025."""

EQUIPMENT = (
    b'<script>for(const n of["localStorage","sessionStorage"])try{self[n]}catch{const m=new Map;'
    b"Object.defineProperty(self,n,{configurable:true,value:{getItem:k=>m.get(String(k))??null,"
    b"setItem:(k,v)=>{m.set(String(k),String(v))},removeItem:k=>{m.delete(String(k))},clear:()=>m.clear(),"
    b"key:i=>[...m.keys()][i]??null,get length(){return m.size}}})}</script>"
)
"""What a page needs beside its own to work without an origin: a storage that forgets. Reading the real one raises, and
the themes of Sphinx and MkDocs end their scripts then, search among them. Source: ADR 0025."""

HEAD_BYTES = 64 * 1024
"""Bytes in which the head of a page begins."""

# Bounded, and without "<": a page of nothing but beginnings of heads must not cost the square of its length.
_HEAD = re.compile(rb"<head(?:\s[^<>]{0,512})?>", re.IGNORECASE)

STRICT: Headers = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY),
    NOSNIFF,
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
"""On every answer below `+doc`. No policy on openers or resources: either would shut out the page's own files."""


def media_type(path: str) -> MediaType:
    """Return how a file is served, by its extension alone; what is unknown is never shown."""
    found = _EXTENSION.search(path)
    return _UNKNOWN if found is None else _MEDIA_TYPES.get(found[1].lower(), _UNKNOWN)


def equipped(beginning: bytes) -> bytes:
    """Return a page's beginning with `EQUIPMENT` in its head; a page without a head stays as it is.

    Args:
        beginning: `HEAD_BYTES` or more of the page, or all.
    """
    head = _HEAD.search(beginning, 0, HEAD_BYTES)
    if head is None:
        return beginning
    return beginning[: head.end()] + EQUIPMENT + beginning[head.end() :]


def etag_of(sha256: Sha256) -> bytes:
    """Return the entity tag of every file of a documentation: with another zip, all may have changed."""
    return f'"{sha256}"'.encode()


def kept_headers(etag: bytes, *, open_: bool) -> Headers:
    """Return the headers of a 200 and of a 304.

    Args:
        open_: whether everyone may read the index.
    """
    if open_:
        return (b"etag", etag), (b"cache-control", b"max-age=60"), *STRICT
    return (b"etag", etag), (b"cache-control", b"private, max-age=60"), (b"vary", b"Authorization"), *STRICT


def described(kind: MediaType, length: int, kept: Headers, *, open_: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers of a file of `length` bytes."""
    headers = [(b"content-type", kind.name), (b"content-length", b"%d" % length), *kept]
    if kind.saved:
        headers.append((b"content-disposition", b"attachment"))
    if kind.shared and open_:
        headers += CORS
    return headers
