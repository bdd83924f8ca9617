"""Where a path of the API host leads. Pure: a path in, a destination out, no look at anything else.

Source: architecture section 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from countermark.core.names import RESERVED_OWNERS, InvalidName, parse_owner
from shared.errors import ErrorKind
from shared.faces import DOWNLOAD, GATEWAY, INDEX, SIGNING, UPLOAD, Face, parse_face, service_for

SERVICES = (UPLOAD, INDEX, DOWNLOAD, SIGNING)
"""Names of the services that answer requests."""

OWN_API_PREFIXES = ("/api/v1/", "/_/secrets/", "/_/oidc/", "/.well-known/")
"""Where the gateway itself answers machines, unless a service does below."""

QUERY_PREFIX = "/v1/"
"""Where advisories are asked for in the shape of the OSV API: a POST there changes nothing."""

_SERVICE_ROUTES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(QUERY_PREFIX), INDEX),
    (re.compile(r"/api/v1/trust(/|\Z)"), SIGNING),
    (re.compile(r"/api/v1/verify/"), DOWNLOAD),
    (re.compile(r"/api/v1/files/"), UPLOAD),
    (re.compile(r"/api/v1/indexes/[^/]+/[^/]+/(projects|files)(/|\Z)"), UPLOAD),
    (re.compile(r"/api/v1/indexes/[^/]+/[^/]+/(publications|head|explain|holds|mirrors)(/|\Z)"), INDEX),
    (re.compile(r"/api/v1/indexes/[^/]+/[^/]+/(downloads|attestations)(/|\Z)"), DOWNLOAD),
    (re.compile(r"/api/v1/indexes/[^/]+/[^/]+/(approvals|approval-demands)(/|\Z)"), SIGNING),
    (re.compile(r"/api/v1/approval-keys(/|\Z)"), SIGNING),
)
"""Beginning of a path -> service, for our own API and OSV's; the first that matches counts."""

_API_PREFIXES = ("/api/v1/", QUERY_PREFIX)
"""How each path begins that one of these matches: an index's do not, and are tried with none."""

MAX_PATH = 2048
"""Bytes of a path as sent; the longest of ours (two names, two digests, a file name) stays under 600."""

_REPLICATION = "/+changelog/"
"""What replicas of a devpi-server ask; refused as there, unless it is enabled (contract devpi section 16)."""

_ENCODED_SEPARATOR = re.compile(rb"%(2f|5c|00)", re.IGNORECASE)
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f\\\ufffd]|//|/\.\.?(?:/|\Z)")
"""In a decoded path: a character that no path has, an empty segment (but the last), a `.` or `..` segment."""

_FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")


class Own(Enum):
    """What the gateway itself answers on the API host."""

    HEALTHZ = "/healthz"
    READYZ = "/readyz"
    ROOT = "/"
    API = "/api/v1/"


@dataclass(frozen=True, slots=True)
class ToService:
    """A service answers; it reads the path again by the same rules, and refuses methods itself."""

    service: str


@dataclass(frozen=True, slots=True)
class Devpi:
    """A document of devpi's API that the gateway writes: the host's, an account's, an index's."""

    face: Face


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Nothing is there, or nothing for anybody; `detail` is for the client."""

    detail: str
    kind: ErrorKind = ErrorKind.NOT_FOUND


Destination = ToService | Own | Devpi | Nowhere

_OWN = {own.value: own for own in Own}
_TO_SERVICE = {service: ToService(service) for service in SERVICES}


def route(path: str, raw_path: bytes, method: str = "GET") -> Destination:
    """Return where a path leads.

    Args:
        path: the decoded path of the ASGI scope.
        raw_path: the path as sent, without the query; empty when the server does not know it.
    """
    if not plainly_written(path, raw_path):
        return Nowhere(
            "There is nothing at this address: a path has no empty, '.' or '..' segment and no encoded separator."
        )
    if path in _OWN:
        return _OWN[path]
    if path.startswith(_API_PREFIXES):
        for beginning, service in _SERVICE_ROUTES:
            if beginning.match(path):
                return _TO_SERVICE[service]
    if path.startswith(OWN_API_PREFIXES):
        return Own.API
    if path.startswith("/api/"):
        return Nowhere("There is no such route in this API.")
    if path.startswith(_REPLICATION):
        return Nowhere("Replication protocol disabled: a deployment grows by processes.", ErrorKind.FORBIDDEN)
    face = parse_face(path)
    if face is None:
        return Nowhere("There is nothing at this address. An index is at /owner/index/, its pages are below +simple/.")
    service = service_for(face, method)
    return Devpi(face) if service == GATEWAY else _TO_SERVICE[service]


def plainly_written(path: str, raw_path: bytes) -> bool:
    """Return whether a path means one thing only, to every part that will read it.

    Refused: more than `MAX_PATH` bytes, empty segments (but the last), `.` and `..` also when they were sent encoded,
    encoded slashes, backslashes and NUL, control characters, and bytes that are no UTF-8.
    """
    if len(raw_path) > MAX_PATH or len(path) > MAX_PATH or not path.startswith("/"):
        return False
    return (b"%" not in raw_path or not _ENCODED_SEPARATOR.search(raw_path)) and not _AMBIGUOUS.search(path)


def misnamed(path: str) -> str | None:
    """Return what is wrong with a path by which somebody wants to make an account or an index, in devpi's words; None
    when it is no such path.
    """
    segments = path.strip("/").split("/")
    if len(segments) > 2 or segments[0].startswith("+") or not all(segments):
        return None
    try:
        parse_owner(segments[0])
        kind, name = "indexname", segments[-1]
    except InvalidName:
        kind, name = "username", segments[0]
    if name.lower() in RESERVED_OWNERS:
        return f"username '{name}' is reserved for a path of this host."
    shown = name[:100].encode("ascii", "backslashreplace").decode()
    if _DEVPI_NAME.match(name):
        return (
            f"{kind} '{shown}' cannot be used here: use 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit."
        )
    return f"{kind} '{shown}' contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked."


_DEVPI_NAME = re.compile(r"[^\x00-,/:-?\[-^`{-\x7f]+\Z")
"""What devpi takes for a name: no control character, space or ASCII punctuation but `-`, `.`, `@`, `_`."""


def is_form_like(method: str, content_type: str) -> bool:
    """Return whether a request comes from an upload tool, which shows plain text to people and nothing else."""
    return method == "POST" and content_type.partition(";")[0].strip().lower() in _FORM_TYPES
