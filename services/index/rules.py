"""What is answered to which request for a page: content negotiation and the names of metadata files. Pure.

Source: contract python-index sections 1.1 and 1.4; RFC 9110 section 12; trust contract section 2.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from urllib.parse import parse_qsl, quote

from countermark.core.digest import Sha256
from countermark.core.names import InvalidName, NormalizedName, TargetPath, parse_project_name, parse_target_path
from shared.faces import Face, FaceKind
from shared.formats.python.metadata import normalised_version
from shared.reading.headers import asks_for_pages, is_installer

MAX_RANGES = 64
"""Media ranges or codings of one header that are read."""

MAX_QUERY = 2048
"""Bytes of a query that are read; `?format=` needs about 60."""


MAX_VERSION = 256
"""Characters of a version that is looked for."""

SIGNED_ROOT = "../../"
"""What the links of signed page documents begin with (architecture section 11.4)."""


class Media(IntEnum):
    """A form of a page; the value is its place among a document's variants."""

    JSON = 0
    V1_HTML = 1
    HTML = 2


class Coding(IntEnum):
    """A content coding; the value is its place among a document's variants."""

    IDENTITY = 0
    GZIP = 1
    BROTLI = 2
    ZSTD = 3


CONTENT_TYPES = (
    b"application/vnd.pypi.simple.v1+json",
    b"application/vnd.pypi.simple.v1+html",
    b"text/html; charset=utf-8",
)
"""Content-Type by `Media`. JSON exactly so: poetry parses nothing else as JSON (contract section 1.1.3)."""

CODING_TOKENS = ("identity", "gzip", "br", "zstd")
"""Token of Content-Encoding by `Coding`."""

OFFERED = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html, text/html"
"""What a 406 names."""

_NAMES = {
    "application/vnd.pypi.simple.v1+json": Media.JSON,
    "application/vnd.pypi.simple.latest+json": Media.JSON,
    "application/vnd.pypi.simple.v1+html": Media.V1_HTML,
    "application/vnd.pypi.simple.latest+html": Media.V1_HTML,
    "text/html": Media.HTML,
}
_TYPES = {Media.JSON: "application", Media.V1_HTML: "application", Media.HTML: "text"}
_PREFERRED = (Coding.ZSTD, Coding.BROTLI, Coding.GZIP, Coding.IDENTITY)
"""On equal terms: what costs a client the least time to read comes first."""

_METADATA_NAME = re.compile(r"([1-9][0-9]{0,9})\.([a-z][a-z0-9]{0,15}(?:-[0-9a-f]{1,8})?)\.json\Z")
_HASHED_TARGET = re.compile(r"(?P<folder>[a-z]+/[^/]{1,128})/(?P<sha256>[0-9a-f]{64})\.(?P<name>[^/]{1,200})\Z")

_TRUST_TARGET = re.compile(r"(trust/[A-Za-z0-9][A-Za-z0-9._-]{0,199}|trusted_root\.json|signing_config\.v0\.2\.json)\Z")
"""What trust may sign, as `countermark.core.ceremony.tree` has it: loading that brings the whole TUF library."""

_HASHED_TRUST_TARGET = re.compile(r"(?P<folder>(?:trust/)?)(?P<sha256>[0-9a-f]{64})\.(?P<name>[^/]{1,200})\Z")


_SHORT = 1024
"""Characters of a header whose meaning is remembered; real clients send a dozen of them."""


def choose_media(accept: str | None, query: bytes = b"") -> Media | None:
    """Return the form a client likes best, None when it takes none of ours (406).

    `?format=` beats the Accept header. Without one, or where only `*/*` matches, the answer is text/html, as the public
    index does: browsers, scripts and hatch send those. On equal terms an exact name beats a wildcard, and JSON HTML.
    """
    asked = _formats_in(query) if query else []
    if asked:
        return _NAMES.get(asked[0]) if len(asked) == 1 else None
    if accept is None or not accept.strip():
        return Media.HTML
    return _media_remembered(accept) if len(accept) <= _SHORT else _media_liked(accept)


def _media_liked(accept: str) -> Media | None:
    found = dict.fromkeys(Media, (-1, 0.0))
    for name, quality in _weighted(accept):
        for media in Media:
            specificity = _specificity(name, media)
            if specificity >= 0:
                # Two names of one form (v1 and latest) count with the better of their weights.
                found[media] = max(found[media], (specificity, quality))
    acceptable = [media for media, (_, quality) in found.items() if quality > 0]

    def liking(media: Media) -> tuple[float, int, int]:
        specificity, quality = found[media]
        return quality, specificity, int(media) if specificity == 0 else -int(media)

    return max(acceptable, key=liking, default=None)


_media_remembered = lru_cache(maxsize=256)(_media_liked)


def choose_coding(accept_encoding: str | None) -> Coding:
    """Return the content coding a client likes best among ours; identity when it names none of them."""
    if accept_encoding is None:
        return Coding.IDENTITY
    return _coding_remembered(accept_encoding) if len(accept_encoding) <= _SHORT else _coding_liked(accept_encoding)


def _coding_liked(accept_encoding: str) -> Coding:
    weights = dict(_weighted(accept_encoding))
    others = weights.get("*", 0.0)
    best, best_quality = Coding.IDENTITY, weights.get("identity", 0.0)
    for coding in reversed(_PREFERRED):
        quality = weights.get(CODING_TOKENS[coding], others)
        if quality > 0 and quality >= best_quality:
            best, best_quality = coding, quality
    return best


_coding_remembered = lru_cache(maxsize=256)(_coding_liked)


@dataclass(frozen=True, slots=True)
class ListWanted:
    """The list of an index's projects."""


@dataclass(frozen=True, slots=True)
class PageWanted:
    """A project's page; `root` is what its links begin with: where the index is, as seen from the page. A few are
    known: what a request says of its host is none of them."""

    project: NormalizedName
    root: str = SIGNED_ROOT


@dataclass(frozen=True, slots=True)
class JsonWanted:
    """A project's document of the JSON API, or that of one version."""

    project: NormalizedName
    version: str | None


@dataclass(frozen=True, slots=True)
class MetadataWanted:
    """A TUF metadata file; `version` is None for the timestamp, the one file that is replaced."""

    role: str
    version: int | None


@dataclass(frozen=True, slots=True)
class TargetWanted:
    """A target under the name that carries its digest."""

    target: TargetPath
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The canonical address is `location`: relative to the one asked for, so that it holds behind any proxy.

    `status` is 301 where it is the same for all clients, 302 where others get something else here.
    """

    location: str
    status: int = 301


Wanted = ListWanted | PageWanted | JsonWanted | MetadataWanted | TargetWanted | Elsewhere


def wanted_at(path: str, face: Face) -> Wanted | None:
    """Return what a path of the reading faces means; None when it means nothing.

    Args:
        path: the decoded path, of which `face` was read.

    Source: contract python-index sections 1.2.1 and 1.2.2; architecture section 3.
    """
    if face.kind is FaceKind.SIMPLE:
        if not face.rest:
            return ListWanted() if path.endswith("/") else Elsewhere(f"{path.rpartition('/')[2]}/")
        return _page_at(face.rest)
    if face.kind is FaceKind.JSON:
        return _json_at(face.rest)
    if face.kind is FaceKind.TUF:
        folder, slash, name = face.rest.partition("/")
        if folder == "targets":
            return parse_hashed_target(name)
        if folder == "metadata" or not slash:
            return parse_metadata_name(name if slash else folder)
    return None


def _page_at(rest: str) -> PageWanted | Elsewhere | None:
    name, slash, more = rest.partition("/")
    if more:
        return None
    try:
        project = parse_project_name(name)
    except InvalidName:
        return None
    if name == project and slash:
        return PageWanted(project)
    return Elsewhere(f"../{project}/" if slash else f"{project}/")


def chooses_page(face: Face, user_agent: str | None, accept: str | None) -> bool:
    """Return whether a request to devpi's document of a project is for its simple page instead.

    Installers are often given the index's own address (`pip -i https://host/owner/index`). Whoever names devpi's JSON
    gets that.
    Source: contract devpi sections 1 (item 11), 7 and 8.
    """
    return face.kind is FaceKind.PROJECT and asks_for_pages(user_agent, accept)


def page_of(face: Face) -> Elsewhere | None:
    """Return where the simple page of a project is, from the address of devpi's document of it; None for no project."""
    name = face.rest.removesuffix("/")
    try:
        project = parse_project_name(name)
    except InvalidName:
        return None
    return Elsewhere(f"{'../' if face.rest.endswith('/') else ''}+simple/{project}/", 302)


def unslashed_page(face: Face, media: Media | None, user_agent: str | None) -> PageWanted | None:
    """Return the page that is answered directly though its address lacks the slash at the end; None: it is redirected.

    Installers and whoever wants JSON get it at once, with links that hold from there. Source: contract devpi section 8.
    """
    if face.kind is not FaceKind.SIMPLE or "/" in face.rest or not (media is Media.JSON or is_installer(user_agent)):
        return None
    try:
        project = parse_project_name(face.rest)
    except InvalidName:
        return None
    return PageWanted(project, "../") if project == face.rest else None


def _json_at(rest: str) -> JsonWanted | Elsewhere | None:
    """Read `{project}/json` or `{project}/{version}/json`; a slash may follow. Source: contract section 1.9.1."""
    parts = rest.removesuffix("/").split("/")
    if len(parts) not in (2, 3) or parts[-1] != "json":
        return None
    given = None if len(parts) == 2 else parts[1]
    version = None if given is None else normalised_version(given[:MAX_VERSION])
    try:
        project = parse_project_name(parts[0])
    except InvalidName:
        return None
    if given is not None and (version is None or len(given) > MAX_VERSION):
        return None
    if parts[0] == project and given == version:
        return JsonWanted(project, version)
    return Elsewhere("../" * rest.count("/") + "/".join([project, *([quote(version)] if version else []), "json"]))


def parse_metadata_name(text: str) -> MetadataWanted | None:
    """Read the name of a metadata file as TUF clients ask for it; None for any other text."""
    if text == "timestamp.json":
        return MetadataWanted("timestamp", None)
    match = _METADATA_NAME.match(text)
    return None if match is None or match[2] == "timestamp" else MetadataWanted(match[2], int(match[1]))


def parse_hashed_target(text: str) -> TargetWanted | None:
    """Read a target's hash-prefixed path as TUF clients ask for it; None for any other text."""
    of_trust = _HASHED_TRUST_TARGET.match(text)
    if of_trust is not None and _TRUST_TARGET.match(of_trust["folder"] + of_trust["name"]):
        return TargetWanted(TargetPath(of_trust["folder"] + of_trust["name"]), Sha256(of_trust["sha256"]))
    match = _HASHED_TARGET.match(text)
    if match is None:
        return None
    try:
        target = parse_target_path(f"{match['folder']}/{match['name']}")
    except InvalidName:
        return None
    return TargetWanted(target, Sha256(match["sha256"]))


def _formats_in(query: bytes) -> list[str]:
    """Return what `format` parameters of a query say; a `+` may be sent raw, though in a query it means a space."""
    try:
        pairs = parse_qsl(query[:MAX_QUERY].decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_RANGES)
    except ValueError:
        return []
    return [value.strip().replace(" ", "+").lower() for key, value in pairs if key == "format"]


def _specificity(name: str, media: Media) -> int:
    """Return how closely a media range names a form: 2 by name, 1 by its type, 0 by `*/*`, -1 not at all."""
    if _NAMES.get(name) is media:
        return 2
    if name == "*/*":
        return 0
    return 1 if name == f"{_TYPES[media]}/*" else -1


def _weighted(header: str) -> list[tuple[str, float]]:
    """Read a list of names with weights; what cannot be read is left out, parameters other than `q` are ignored."""
    found = []
    for item in header.split(",", MAX_RANGES)[:MAX_RANGES]:
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                quality = _quality(value.strip())
        if name and quality >= 0:
            found.append((name, quality))
    return found


def _quality(text: str) -> float:
    """Return a weight between 0 and 1, or -1 for a text that is none."""
    try:
        value = float(text)
    except ValueError:
        return -1.0
    return value if 0 <= value <= 1 else -1.0
