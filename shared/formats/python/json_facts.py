"""What a mirror takes over from the JSON API of its upstream: what the page of the project does not say. Pure.

The page decides which releases and files there are, their digests and marks; a document adds what a release says of
itself, known vulnerabilities, and digests of further algorithms. Nothing here is checked by anybody, so it is taken by
shape alone: texts, lists and maps of texts where each belongs, and the rest is left out. A document that is another
project's, or another version's, is refused.
Source: contract python-index sections 1.9 and 5.1 item 9; architecture section 11.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.names import InvalidName, NormalizedName, parse_project_name
from shared.formats.python.names import release_key
from shared.formats.python.simple_pages import MOST_FILES, MOST_VALUES, has_too_many_values
from shared.zstd import pack, unpack

MOST_VULNERABILITIES = 1_000
"""Of one release; the public index has some thirty for its worst."""

TEXTS = frozenset(
    [
        *("author", "author_email", "bugtrack_url", "description", "description_content_type", "docs_url"),
        *("download_url", "home_page", "keywords", "license", "license_expression", "maintainer", "maintainer_email"),
        *("platform", "requires_python", "summary"),
    ]
)
LISTS = frozenset(["classifiers", "dynamic", "license_files", "provides_extra", "requires_dist"])

_LISTS_OF_VULNERABILITIES = frozenset(["aliases", "fixed_in"])

_PAGES_OWN = frozenset(
    ["downloads", "name", "package_url", "project_url", "release_url", "version", "yanked", "yanked_reason"]
)
"""Keys of `info` that are this registry's to say."""

_MAX_TEXT = 8192
_MAX_KEY = 64
_MD5 = re.compile(r"[0-9a-f]{32}\Z")
_BLAKE2B = re.compile(r"[0-9a-f]{64}\Z")
_WORD = re.compile(r"[a-zA-Z0-9_.]{1,64}\Z")


class UnreadableFacts(ValueError):
    """A document is none of the JSON API, or not the one that was asked for; the message says why."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a document says of a file, for the digest it gives; "" is what it does not say."""

    sha256: Sha256
    md5: str = ""
    blake2b_256: str = ""
    package_type: str = ""
    python_version: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class JsonFacts:
    """What is taken over of a document.

    Attributes:
        display_name: as the project writes itself.
        version: which release `info` and `vulnerabilities` are about.
        info: keys of the API's `info`, without those that this registry says itself.
        files: by name.
        vulnerabilities: objects of the API's shape.
        ownership: as the API has it, None when it says nothing of use.
    """

    display_name: str
    version: str
    serial: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    vulnerabilities: Sequence[Mapping[str, Any]] = ()
    ownership: Mapping[str, Any] | None = None

    def about(self, version: str) -> JsonFacts:
        """Return what holds for a version of the project: all of it for the same one, else what is said of files."""
        if release_key(self.version) == release_key(version):
            return self
        return replace(self, version=version, info={}, vulnerabilities=())


def read_facts(body: bytes, project: NormalizedName, version: str | None) -> JsonFacts:
    """Return what is taken over of a document. Blocking.

    Args:
        version: whose document was asked for, None for the project's.

    Raises:
        UnreadableFacts: it is none, or another one.
    """
    if has_too_many_values(body):
        raise UnreadableFacts(f"it has more than {MOST_VALUES} values")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableFacts(f"it is no JSON: {error}") from error
    info = document.get("info") if isinstance(document, dict) else None
    if not isinstance(info, dict):
        raise UnreadableFacts("it has no object `info`")
    name, written = info.get("name"), info.get("version")
    if not _is_name_of(name, project):
        raise UnreadableFacts(f"it is about {str(name)[:100]!r}, and {project} was asked for")
    if not isinstance(written, str) or not 0 < len(written) <= 256:
        raise UnreadableFacts("it does not say which version it is about")
    if version is not None and release_key(written) != release_key(version):
        raise UnreadableFacts(f"it is about version {written[:100]!r}, and {version} was asked for")
    serial = document.get("last_serial")
    return JsonFacts(
        display_name=str(name),
        version=written,
        serial=serial if isinstance(serial, int) and not isinstance(serial, bool) and 0 < serial < 1 << 62 else None,
        info=_info(info),
        files=_files(document),
        vulnerabilities=_vulnerabilities(document.get("vulnerabilities")),
        ownership=_ownership(document.get("ownership")),
    )


def pack_facts(facts: JsonFacts) -> bytes:
    """Return what was taken over as the catalogue keeps it. Blocking.

    Raises:
        UnreadableFacts: it holds what cannot be written down, such as a number of a thousand digits.
    """
    try:
        # The classes' fields, in order: `unpack_facts` and this are each other's.
        return pack(orjson.dumps(facts))
    except (TypeError, ValueError) as error:
        raise UnreadableFacts(f"it cannot be kept: {error}") from error


def unpack_facts(packed: bytes) -> JsonFacts:
    """Return what `pack_facts` kept. Blocking."""
    said = orjson.loads(unpack(packed))
    said["files"] = {name: FileFacts(**file) for name, file in said["files"].items()}
    return JsonFacts(**said)


def _info(said: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in said.items():
        if key in _PAGES_OWN or key.startswith("_") or len(key) > _MAX_KEY:
            continue
        if key in TEXTS:
            usable = isinstance(value, str)
        elif key in LISTS:
            usable = _is_texts(value)
        elif key == "project_urls":
            usable = isinstance(value, dict) and _is_texts(list(value.values()))
        else:
            usable = _is_plain(value)
        if usable and value is not None:
            found[key] = value
    return found


def _files(document: Mapping[str, Any]) -> dict[str, FileFacts]:
    found: dict[str, FileFacts] = {}
    for raw in _raw_files(document):
        name, digests = raw.get("filename"), raw.get("digests")
        if not isinstance(name, str) or len(name) > 256 or not isinstance(digests, dict):
            continue
        try:
            sha256 = parse_sha256(str(digests.get("sha256")).lower())
        except InvalidDigest:
            continue
        facts = FileFacts(
            sha256,
            md5=_matching(_MD5, digests.get("md5") or raw.get("md5_digest")),
            blake2b_256=_matching(_BLAKE2B, digests.get("blake2b_256")),
            package_type=_matching(_WORD, raw.get("packagetype")),
            python_version=_matching(_WORD, raw.get("python_version")),
            comment=_short(raw.get("comment_text")),
        )
        found.setdefault(name, facts)
        if len(found) > MOST_FILES:
            raise UnreadableFacts(f"it lists more than {MOST_FILES} files")
    return found


def _raw_files(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    releases = document.get("releases")
    lists = [*releases.values()] if isinstance(releases, dict) else []
    for files in [document.get("urls"), *lists]:
        if isinstance(files, list):
            yield from (file for file in files if isinstance(file, dict))


def _vulnerabilities(said: object) -> list[dict[str, Any]]:
    """Return known vulnerabilities key by key, also keys unknown here, as far as they have the shape of the API's."""
    listed = said if isinstance(said, list) else []
    kept = [one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str)]
    return [
        {key: value for key, value in one.items() if len(key) <= _MAX_KEY and _is_of_vulnerability(key, value)}
        for one in kept[:MOST_VULNERABILITIES]
    ]


def _is_of_vulnerability(key: str, value: object) -> bool:
    """Return whether a value has a shape in which whoever reads it, here as well, can have it under a key."""
    return _is_texts(value) or (_is_plain(value) and key not in _LISTS_OF_VULNERABILITIES)


def _ownership(said: object) -> dict[str, Any] | None:
    if not isinstance(said, dict) or not isinstance(said.get("roles"), list):
        return None
    roles = [
        {"role": one["role"], "user": one["user"]}
        for one in said["roles"][:1000]
        if isinstance(one, dict) and _is_texts([one.get("role"), one.get("user")])
    ]
    organization = said.get("organization")
    return {"roles": roles, "organization": organization if isinstance(organization, str) else None}


def _is_name_of(said: object, project: NormalizedName) -> bool:
    try:
        return isinstance(said, str) and parse_project_name(said) == project
    except InvalidName:
        return False


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _matching(pattern: re.Pattern[str], value: object) -> str:
    return value if isinstance(value, str) and pattern.match(value) else ""


def _short(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _MAX_TEXT else ""
