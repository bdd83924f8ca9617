"""Which face of which index a path means, and which service answers it. Pure; used by the gateway and by every service,
so that no two of them read a path differently.

`path` is always the decoded path of the ASGI scope, in which `+` and `%2B` are the same (contract python-index
section 1.1.6).
Source: architecture section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from countermark.core.names import IndexName, InvalidName, parse_index_name


class FaceKind(StrEnum):
    """A protocol that an index speaks; the value is the path segment that begins it, where there is one."""

    INDEX = ""
    """The index itself: uploads are posted here."""
    SIMPLE = "+simple"
    FILE = "+f"
    TUF = "+tuf"
    JSON = "pypi"
    """The JSON API (contract python-index section 1.9)."""


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


_BY_SEGMENT = {kind.value: kind for kind in FaceKind if kind is not FaceKind.INDEX}


def parse_face(path: str) -> Face | None:
    """Take a path of the API host apart; None when it belongs to no face of an index.

    `/simple/` and `/+simple/` are the default index's pages, `/pypi/` its JSON API, `/legacy/` its upload URL; below
    each the siblings answer too (`/legacy/+simple/`, `/+f/`), since clients compute them from the URL they were given.
    """
    first, slash, rest = path[1:].partition("/")
    if first == "simple":
        return Face(None, FaceKind.SIMPLE, rest, "/")
    if first in _BY_SEGMENT:
        return Face(None, _BY_SEGMENT[first], rest, "/")
    if first == "legacy":
        return _below(None, "/legacy/", rest)
    if not slash:
        return None
    name, _, after = rest.partition("/")
    try:
        index = parse_index_name(f"{first}/{name}")
    except InvalidName:
        return None
    return _below(index, f"/{first}/{name}/", after)


def service_for(face: Face) -> str:
    """Return the name of the service that answers a face: `upload`, `index` or `download`."""
    match face.kind:
        case FaceKind.INDEX:
            return "upload"
        case FaceKind.SIMPLE | FaceKind.JSON:
            return "index"
        case FaceKind.FILE:
            return "download"
        case FaceKind.TUF:
            return "download" if face.rest.startswith("files/") else "index"


def _below(index: IndexName | None, base: str, rest: str) -> Face | None:
    if not rest:
        return Face(index, FaceKind.INDEX, "", base)
    segment, _, after = rest.partition("/")
    kind = _BY_SEGMENT.get(segment)
    return None if kind is None else Face(index, kind, after, base)
