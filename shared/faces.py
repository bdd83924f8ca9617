"""Which face of which index a path means, and which service answers it. Pure; used by the gateway and by every service,
so that no two of them read a path differently.

`path` is always the decoded path of the ASGI scope, in which `+` and `%2B` are the same (contract python-index
section 1.1.6).
Source: architecture section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from countermark.core.names import IndexName, InvalidName, parse_index_name, parse_owner


class FaceKind(StrEnum):
    """A protocol that an index speaks; the value is the path segment that begins it, where there is one."""

    INDEX = ""
    """The index itself: uploads are posted here; devpi's document of it is read, made, changed and removed here."""
    SIMPLE = "+simple"
    FILE = "+f"
    TUF = "+tuf"
    JSON = "pypi"
    """The JSON API (contract python-index section 1.9)."""
    API = "+api"
    """devpi's discovery, of the host, an account or an index; `rest` is the account's name where only that is named."""
    LOGIN = "+login"
    STATUS = "+status"
    USER = "user"
    """devpi's document of an account; `rest` is its name."""
    PROJECT = "project"
    """devpi's document of a project; `rest` is its name as written, and a slash where one followed."""
    VERSION = "version"
    """devpi's document of a release; `rest` is project, slash, version as written, and a slash where one followed."""
    AT = "+at"
    """The index as it stood at some moment; `rest` is the moment as written, slash, and a face of those that read."""
    INTEGRITY = "+integrity"
    """Provenance objects by name (contract python-index section 1.8); `rest` is project, slash, version, slash, file
    name, and `/provenance`."""
    DOC = "+doc"
    """Uploaded documentation; `rest` is project, slash, version, slash, and the path within."""


@dataclass(frozen=True, slots=True)
class Face:
    """A path, taken apart.

    Attributes:
        index: the index meant, None for the deployment's default index.
        kind: which protocol.
        rest: what follows the face's own segment, without a leading slash.
        base: the path in front of the face's segment, with its trailing slash: what pages' links are relative to.
    """

    index: IndexName | None
    kind: FaceKind
    rest: str
    base: str


_BY_SEGMENT = {
    kind.value: kind for kind in (FaceKind.SIMPLE, FaceKind.FILE, FaceKind.TUF, FaceKind.JSON, FaceKind.INTEGRITY)
}
_OF_THE_HOST = {f"/{kind.value}": kind for kind in (FaceKind.API, FaceKind.LOGIN, FaceKind.STATUS)}
_DOC_SEGMENTS = frozenset(["+doc", "+d"])

READS = frozenset(["GET", "HEAD", "OPTIONS"])
"""Methods that change nothing."""

GATEWAY, UPLOAD, INDEX, DOWNLOAD = "gateway", "upload", "index", "download"
SIGNING = "signing"
"""Answers ceremonies alone, and below `/api/v1` only."""

_SERVICES = {
    FaceKind.API: (GATEWAY, GATEWAY),
    FaceKind.LOGIN: (GATEWAY, GATEWAY),
    FaceKind.STATUS: (GATEWAY, GATEWAY),
    FaceKind.USER: (GATEWAY, GATEWAY),
    FaceKind.SIMPLE: (INDEX, INDEX),
    FaceKind.JSON: (INDEX, INDEX),
    FaceKind.AT: (INDEX, INDEX),
    FaceKind.PROJECT: (INDEX, UPLOAD),
    FaceKind.VERSION: (INDEX, UPLOAD),
    FaceKind.FILE: (DOWNLOAD, UPLOAD),
    FaceKind.DOC: (DOWNLOAD, UPLOAD),
    FaceKind.INTEGRITY: (DOWNLOAD, DOWNLOAD),
}
"""Who answers a face when it is read, and when it is to be changed; of the other two more than their kind decides."""

_SHORT = 512
"""Characters of a path that is remembered: no more than half a megabyte of them is."""


def parse_face(path: str) -> Face | None:
    """Take a path of the API host apart; None when it belongs to no face of an index.

    `/simple/` and `/+simple/` are the default index's pages, `/pypi/` its JSON API, `/legacy/` its upload URL; below
    each the siblings answer too (`/legacy/+simple/`, `/+f/`), since clients compute them from the URL they were given.
    """
    # Each of the layers that a request passes reads its path.
    return _remembered(path) if len(path) <= _SHORT else _parsed(path)


def _parsed(path: str) -> Face | None:
    if path in _OF_THE_HOST:
        return Face(None, _OF_THE_HOST[path], "", "/")
    first, _, rest = path[1:].partition("/")
    if first == "simple":
        return Face(None, FaceKind.SIMPLE, rest, "/")
    if first in _BY_SEGMENT:
        return Face(None, _BY_SEGMENT[first], rest, "/")
    if first == "legacy":
        return _below_default("/legacy/", rest)
    name, _, after = rest.partition("/")
    if name in ("", FaceKind.API):
        return None if after else _of_account(first, FaceKind.API if name else FaceKind.USER)
    try:
        index = _index_named(f"{first}/{name}")
    except InvalidName:
        return None
    return _below(index, f"/{first}/{name}/", after)


_remembered = lru_cache(maxsize=1024)(_parsed)

_index_named = lru_cache(maxsize=256)(parse_index_name)
"""All the paths of an index have its name; one that is remembered is no longer than names may be."""


def service_for(face: Face, method: str = "GET") -> str:
    """Return the name of the service that answers a face: `gateway`, `upload`, `index` or `download`."""
    if face.kind is FaceKind.INDEX:
        # The upload URL of the default index is no index of devpi's.
        return UPLOAD if face.index is None or method == "POST" else GATEWAY
    if face.kind is FaceKind.TUF:
        return DOWNLOAD if face.rest.startswith(("files/", "attestations/")) else INDEX
    reading, changing = _SERVICES[face.kind]
    return reading if method in READS else changing


def _below_default(base: str, rest: str) -> Face | None:
    """Read what follows the upload URL of the default index: the faces of clients that put theirs below it."""
    segment, _, after = rest.partition("/")
    if not rest:
        return Face(None, FaceKind.INDEX, "", base)
    kind = _BY_SEGMENT.get(segment)
    return None if kind is None else Face(None, kind, after, base)


def _of_account(name: str, kind: FaceKind) -> Face | None:
    try:
        return Face(None, kind, parse_owner(name), "/")
    except InvalidName:
        return None


def _as_of(index: IndexName, base: str, rest: str) -> Face:
    """Read what follows `+at/`. Bytes never change under their address, so that a file is the same at every moment."""
    moment, _, after = rest.partition("/")
    segment, slash, below = after.partition("/")
    if moment and slash and segment == FaceKind.FILE:
        return Face(index, FaceKind.FILE, below, f"{base}{FaceKind.AT}/{moment}/")
    return Face(index, FaceKind.AT, rest, base)


def _below(index: IndexName, base: str, rest: str) -> Face | None:
    """Read what follows an index."""
    if not rest:
        return Face(index, FaceKind.INDEX, "", base)
    segment, _, after = rest.partition("/")
    if rest == FaceKind.API:
        return Face(index, FaceKind.API, "", base)
    if segment == FaceKind.AT:
        return _as_of(index, base, after)
    kind = _BY_SEGMENT.get(segment)
    # A project may be called pypi: what the JSON API answers ends so.
    if kind is not None and (kind is not FaceKind.JSON or rest.removesuffix("/").endswith("/json")):
        return Face(index, kind, after, base)
    parts = rest.removesuffix("/").split("/")
    if len(parts) >= 3 and parts[2] in _DOC_SEGMENTS:
        return Face(index, FaceKind.DOC, "/".join((*parts[:2], *rest.split("/")[3:])), base)
    if segment.startswith("+") or len(parts) > 2:
        return None
    return Face(index, FaceKind.PROJECT if len(parts) == 1 else FaceKind.VERSION, rest, base)
